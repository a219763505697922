# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The monitor's page as the role puts it on a host: one file with all of it."""

from __future__ import annotations

import json
from pathlib import Path

FILES = Path(__file__).resolve().parents[2] / "roles" / "health_monitor" / "files" / "page"


def bundled_page() -> str:
    found = {each.name: each.read_text("utf-8") for each in FILES.iterdir() if not each.name.endswith(".d.ts")}
    return json.dumps(found, sort_keys=True)
