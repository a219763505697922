# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Has a session gone on in the new store? The question before every undo."""

from __future__ import annotations

from pathlib import Path

from ..errors import SessionDataError, StoreError, VerificationFailed
from ..sessions.directory_source import DirectorySource
from ..sessions.manifest import MANIFEST_FILE, read_entries
from ..sessions.postgres_store import open_snapshot
from ..sessions.record import FILES
from ..sessions.verify import compare, inspect_company, verify_directory
from .client_source import client_files
from .context import FailoverContext


def session_moved_on(context: FailoverContext) -> str:
    """Evidence that a session has written to the new store since it was made, although nobody saw it connect; empty
    when there is none.

    Asked before an undo whose run was cut off: the journal may have ended before the point of no return was written.
    """
    try:
        companies = context.state().results.get("verify", {}).get("companies", [])
        for company in companies:
            if _is_nowhere_else(context, company):
                return f"company {company} has in {context.target} alone what it wrote while the database was away"
            if _differs(context, company):
                return f"company {company} has written to {context.target} since"
    except SessionDataError as exc:
        return exc.cause
    return ""


def _is_nowhere_else(context: FailoverContext, company: str) -> bool:
    """A session that moves in an outage lets its journal go once it is in its new store, and one that was in memory
    alone never had any: what was written since the outage began is not in the old store, then.
    """
    if not context.result_or_empty("stop").get("drained", {}).get(company, {}).get("outage"):
        return False
    try:
        client_files(context.settings).copy(company)
    except StoreError:
        return True
    return False


def _has_new_files(place: Path) -> bool:
    """A new chat is a new file, which leaves all that the manifest knows as it was."""
    known = {entry.file for entry in read_entries(place / MANIFEST_FILE)[1]}
    return any(path.name not in known for path in place.glob("*.json"))


def _differs(context: FailoverContext, company: str) -> bool:
    place = context.home.directory(company)
    if context.target == FILES:
        if not place.exists():
            return False
        try:
            verify_directory(place)
        except VerificationFailed:
            return True
        return _has_new_files(place)
    with open_snapshot(context.settings.database, context.settings.tables) as snapshot:
        return bool(
            compare(
                inspect_company(DirectorySource(context.home), company).digests,
                inspect_company(snapshot, company).digests,
            )
        )
