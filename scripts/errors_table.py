# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print docs/errors.md: every error of the library with its name, exit code and meaning.

Names, codes and retryability come from the registry, meanings from the tree at the top of errors.py.
"""

from __future__ import annotations

import re

from baileys_resilience import errors

HEAD = """\
# Errors and exit codes

Made by `make docs` from `plugins/module_utils/_resilience/errors.py`; do not edit.

Every error says what was being done, to what, why it failed and what to do (`HINT:`). Modules return the name in
`error`; commands print it with `--json` and end with the exit code. 0 is success.

| error | exit code | can a retry help | meaning |
|---|---|---|---|
"""
BRANCH = re.compile(r"^[│├└─ ]*(?P<name>[A-Z]\w+)(?: {2,}(?P<meaning>.+?))?(?: \(exit \d+\))?$")


def meanings() -> dict[str, str]:
    """Map class names to what the tree says about them; a leaf without words of its own takes its parent's."""
    found = {m["name"]: m["meaning"] or "" for m in map(BRANCH.match, (errors.__doc__ or "").splitlines()) if m}
    found[errors.ResilienceError.__name__] = "anything that has no name of its own below"
    for kind in errors.registry().values():
        if not found.get(kind.__name__):
            found[kind.__name__] = found.get(kind.__mro__[1].__name__, "")
    return found


def main() -> None:
    words = meanings()
    rows = sorted(errors.registry().items(), key=lambda item: item[1].exit_code)
    lines = (
        f"| `{code}` | {kind.exit_code} | {'yes' if kind.retryable else 'no'} | {words[kind.__name__]} |"
        for code, kind in rows
    )
    print(HEAD + "\n".join(lines))


if __name__ == "__main__":
    main()
