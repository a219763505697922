# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Which Baileys the two codes hold: sessions that one major version wrote are not all found by another."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import ResilienceError
from .code import read_prepared
from .context import FailoverContext

_PACKAGES = ("baileys", "@whiskeysockets/baileys")


def baileys_version(directory: Path) -> str:
    """The version installed in a code's node_modules; empty when there is none that can be read."""
    for name in _PACKAGES:
        try:
            return str(json.loads((directory / "node_modules" / name / "package.json").read_text("utf-8"))["version"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return ""


def baileys_difference(context: FailoverContext) -> str:
    """What a failover to the prepared code would lose because it holds another major version; empty when nothing."""
    if not context.switches_code:
        return ""
    try:
        prepared = read_prepared(context.settings)
    except ResilienceError:
        return ""  # the preflight refuses it, with its reason
    here = baileys_version(context.code.origin())
    there = baileys_version(Path(prepared.worktree)) if prepared else ""
    if not here or not there or here.split(".", maxsplit=1)[0] == there.split(".", maxsplit=1)[0]:
        return ""
    return (
        f"the code on PostgreSQL holds Baileys {here}, the prepared one {there}: Baileys 7 keeps the sessions of"
        " contacts with a LID where Baileys 6 does not look for them, so messages of those chats cannot be decrypted"
        " after a failover. HINT: give both codes the same major version (package.json of the tag or archive), then"
        " run failover_prepare.yml again"
    )
