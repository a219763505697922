# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking a real Baileys what it loads."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).parent / "load.mjs"
KeyName = tuple[str, str]


@dataclass(frozen=True)
class Loaded:
    """``keys`` holds None where the library sees no key."""

    user: str | None
    creds: dict[str, Any]
    keys: dict[KeyName, Any]

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for (key_type, _id), value in self.keys.items():
            if value is not None:
                found[key_type] = found.get(key_type, 0) + 1
        return found


@dataclass(frozen=True)
class Library:
    """One installed version of Baileys."""

    node: str
    package: Path

    @property
    def version(self) -> str:
        version: str = json.loads((self.package / "package.json").read_text())["version"]
        return version

    def load(self, directory: Path, names: Iterable[KeyName]) -> Loaded:
        done = subprocess.run(
            [self.node, PROGRAM, self.package, directory], input=json.dumps(list(names)), capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        answer = json.loads(done.stdout)
        return Loaded(answer["user"], answer["creds"], {(kind, key): value for kind, key, value in answer["keys"]})
