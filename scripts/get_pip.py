# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install pip into the running interpreter from a wheel in this folder: what get-pip.py does, without a download.

scripts/sanity puts this file into ansible-test's cache under the name that ansible-test looks for.
"""

from __future__ import annotations

import os
import runpy
import sys

PIP_VERSION = "24.2"  # the version that ansible-test of ansible-core 2.19 bootstraps with

# ansible-test runs a copy of this file and names the original in GET_PIP.
FOLDER = os.path.dirname(os.environ.get("GET_PIP", __file__))
# Options that only the real get-pip.py knows.
OWN_OPTIONS = {"--no-setuptools", "--no-wheel"}

if __name__ == "__main__":
    sys.path.insert(0, os.path.join(FOLDER, f"pip-{PIP_VERSION}-py3-none-any.whl"))
    sys.argv = ["pip", "install", "--upgrade", *(a for a in sys.argv[1:] if a not in OWN_OPTIONS)]
    runpy.run_module("pip", run_name="__main__")
