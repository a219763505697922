# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The imports that make the library travel with the module toolkit_library.

`python -m tests.integration.modules.travelling` writes them into the module, from the files that are there.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LIBRARY = ROOT / "plugins" / "module_utils" / "_resilience"
MODULE = ROOT / "plugins" / "modules" / "toolkit_library.py"
PACKAGE = "ansible_collections.baileys.resilience.plugins.module_utils._resilience"
_BLOCK = re.compile(r"(# The imports below .*?\n\n\n)(.*?)(?=def main\(\))", re.DOTALL)


def sources() -> list[Path]:
    """Every source of the library, relative to it."""
    return sorted(path.relative_to(LIBRARY) for path in LIBRARY.rglob("*.py") if "__pycache__" not in path.parts)


def import_functions() -> str:
    """One function a package, since modules of two packages may share a name."""
    written = []
    for package in sorted({path.parent for path in sources()}):
        modules = sorted(p.stem for p in sources() if p.parent == package and p.name != "__init__.py")
        if not modules:
            continue
        names = "".join(f"        {module},\n" for module in modules)
        written.append(
            f"def {'_'.join(('travel', *package.parts))}() -> None:\n"
            f"    from {'.'.join((PACKAGE, *package.parts))} import (  # noqa: F401\n{names}    )\n\n\n"
        )
    return "".join(written)


def with_current_imports(text: str) -> str:
    return _BLOCK.sub(lambda match: match[1] + import_functions(), text)


if __name__ == "__main__":
    MODULE.write_text(with_current_imports(MODULE.read_text(encoding="utf-8")), encoding="utf-8")
