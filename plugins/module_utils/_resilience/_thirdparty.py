# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The one place where packages outside the standard library are imported.

A failed import must not break ``import`` of the library: ansible-test imports every module without them, and a host
where only ``session_info`` is used needs no sentry-sdk. Callers ask for what they need with :func:`require`.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import ToolMissing

#: import name -> package on PyPI, for the sentence that says what to install
PACKAGES = {
    "psycopg2": "psycopg2-binary",
    "cryptography": "cryptography",
    "sentry_sdk": "sentry-sdk",
    "yaml": "pyyaml",
    "rich": "rich",
    "jinja2": "jinja2",
    "prometheus_client": "prometheus-client",
    "hdrh": "hdrhistogram",
}


def require(name: str) -> ModuleType:
    """Import ``name`` (dotted names allowed) or raise :class:`ToolMissing` with the package to install."""
    try:
        return importlib.import_module(name)
    except ImportError as exc:
        package = PACKAGES.get(name.split(".", 1)[0], name)
        raise ToolMissing(
            f"Python package {package} cannot be imported: {exc}",
            operation="import",
            subject=name,
            hint=f"run the role baileys.resilience.toolkit on this host, or: pip install {package}",
        ) from exc
