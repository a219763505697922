# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The writing side of the mirror's database. One scan is one transaction: readers see the old state or the new one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Set, Tuple

from ...clock import now_iso
from ...errors import KeyUndecodable
from ...sessions.codec import encode_key
from .database import CredsRow, Row, ServerState, place_of
from .layout import meta, open_writer, translated

_PUT = """
INSERT INTO keys (company, type, id, version, content, sha256, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (company, type, id) DO UPDATE SET version = excluded.version, content = excluded.content,
    sha256 = excluded.sha256, updated_at = excluded.updated_at, gone_incident = NULL, bad_since = NULL,
    bad_reason = NULL
"""
_PUT_BAD = """
INSERT INTO keys (company, type, id, version, bad_since, bad_reason) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (company, type, id) DO UPDATE SET version = excluded.version, gone_incident = NULL,
    bad_since = coalesce(keys.bad_since, excluded.bad_since), bad_reason = excluded.bad_reason
"""
_FOLLOW_GONE = "DELETE FROM keys WHERE company = ? AND (type, id) IN (SELECT type, id FROM gone)"
_KEEP_GONE = (
    "UPDATE keys SET gone_incident = ?, version = '' WHERE company = ? AND (type, id) IN (SELECT type, id FROM gone)"
)
_CHANGED = """
SELECT seen.version FROM seen LEFT JOIN keys ON keys.company = ? AND keys.type = seen.type AND keys.id = seen.id
WHERE keys.version IS NOT seen.version
"""
_KEPT_SCANS = 200


@dataclass
class Kept:
    """What the mirror has of one company, apart from its keys."""

    company: str
    content: Optional[bytes]
    creds_version: str
    fingerprint: str
    epoch: int
    store: str
    aside_at: Optional[str]
    present: bool
    problem: Optional[str]

    @property
    def creds(self) -> Optional[Dict[str, Any]]:
        # Decoded when asked for: most scans need the creds of few companies.
        return _value(self.content)


@dataclass(frozen=True)
class StoredCreds:
    """Creds as the mirror has them."""

    content: bytes
    updated_at: Optional[str]


@dataclass(frozen=True)
class LastScan:
    started_at: str
    snapshot_at: str
    snapshot: str
    timeline: str
    started: str
    kind: str


class MirrorStore:
    """The open database of the one process that writes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.connection = open_writer(directory)

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> MirrorStore:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()  # an open transaction is rolled back

    def meta(self, name: str) -> str:
        return meta(self.connection, name)

    def set_meta(self, name: str, value: str) -> None:
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def begin(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self.connection.execute("COMMIT")

    def last_scan(self) -> Optional[LastScan]:
        row = self.connection.execute(
            "SELECT started_at, snapshot_at, snapshot, timeline, started, kind FROM scans ORDER BY id DESC LIMIT 1"
        ).fetchone()
        return None if row is None else LastScan(*row)

    def record_scan(self, state: ServerState, mode: str, started_at: str, seconds: float, work: Any) -> None:
        self.connection.execute(
            "INSERT INTO scans (mode, kind, snapshot_at, started_at, finished_at, duration_seconds, lsn, snapshot,"
            " timeline, started, companies_changed, keys_read) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (mode, state.kind, state.snapshot_at, started_at, now_iso(), seconds, state.lsn, state.snapshot,
             state.timeline, state.started, work.companies_changed, work.keys_read),
        )  # fmt: skip
        self.connection.execute("DELETE FROM scans WHERE id <= (SELECT max(id) FROM scans) - ?", (_KEPT_SCANS,))

    def companies(self) -> Dict[str, Kept]:
        rows = self.connection.execute(
            "SELECT company, creds, creds_version, fingerprint, epoch, store, aside_at, present, problem FROM companies"
        )
        return {row[0]: Kept(*row) for row in rows}

    def due(self, before: str, share: float) -> Set[str]:
        """Companies whose values were last read before ``before``, oldest first; ``share`` of all, at least one."""
        total = self.connection.execute("SELECT count(*) FROM companies").fetchone()[0]
        rows = self.connection.execute(
            "SELECT company FROM companies WHERE aside_at IS NULL AND read_at < ? ORDER BY read_at LIMIT ?",
            (before, max(1, int(total * share))),
        )
        return {row[0] for row in rows}

    def forget_reads(self) -> None:
        """Let every company be due."""
        self.connection.execute("UPDATE companies SET read_at = ''")

    def company_names(self) -> List[str]:
        return [row[0] for row in self.connection.execute("SELECT company FROM companies")]

    def add_company(self, company: str, epoch: int, store: str) -> Kept:
        self.connection.execute(
            "INSERT INTO companies (company, creds_version, fingerprint, key_count, epoch, store, present)"
            " VALUES (?, '', '', 0, ?, ?, 1)",
            (company, epoch, store),
        )
        return Kept(company, None, "", "", epoch, store, None, True, None)

    def set_company(self, company: str, **columns: Any) -> None:
        """Set columns of one company; the names come from this package only."""
        assignments = ", ".join(f"{name} = ?" for name in columns)
        self.connection.execute(f"UPDATE companies SET {assignments} WHERE company = ?", (*columns.values(), company))  # noqa: S608

    def put_creds(self, company: str, content: bytes, row: CredsRow) -> None:
        self.set_company(
            company, creds=content, creds_sha256=_digest(content), creds_updated_at=row.updated_at,
            creds_version=row.version, creds_bad_since=None, creds_bad_reason=None,
        )  # fmt: skip

    def stored_creds(self, company: str) -> StoredCreds:
        row = self.connection.execute(
            "SELECT creds, creds_updated_at FROM companies WHERE company = ?", (company,)
        ).fetchone()
        return StoredCreds(row[0], row[1])

    def put_back_creds(self, company: str, creds: StoredCreds, reason: str) -> None:
        """Undo :meth:`put_creds` of this scan. Without a version: the row is judged again in the next one."""
        self.put_creds(company, creds.content, CredsRow(None, creds.updated_at, ""))
        self.keep_creds(company, reason, "")

    def keep_creds(self, company: str, reason: str, version: str) -> None:
        """Go on with the creds of before, and say since when and why."""
        self.connection.execute(
            "UPDATE companies SET creds_bad_since = coalesce(creds_bad_since, ?), creds_bad_reason = ?,"
            " creds_version = ? WHERE company = ?",
            (now_iso(), reason, version, company),
        )

    def put_key(self, company: str, row: Row) -> None:
        """Take over one row; a value that is no key leaves the last good one in its place, flagged."""
        try:
            content = encode_key(row.type, row.id, row.value, company=company)
        except KeyUndecodable as exc:
            self.connection.execute(_PUT_BAD, (company, row.type, row.id, row.version, now_iso(), exc.cause))
            return
        self.connection.execute(
            _PUT, (company, row.type, row.id, row.version, content, _digest(content), row.updated_at)
        )

    def clear_scratch(self) -> None:
        self.connection.execute("DELETE FROM seen")
        self.connection.execute("DELETE FROM gone")

    def saw(self, key_type: str, key_id: str, version: str) -> None:
        self.connection.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", (key_type, key_id, version))

    def missed(self, key_type: str, key_id: str) -> None:
        self.connection.execute("INSERT OR IGNORE INTO gone VALUES (?, ?)", (key_type, key_id))

    def saw_all(self, keys: Iterable[Tuple[str, str, str]]) -> int:
        """Fill ``seen``; returns the number of rows."""
        return int(self.connection.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", keys).rowcount)

    def changed_places(self, company: str) -> List[str]:
        """The ctids of the rows in ``seen`` that the mirror does not hold in that version."""
        # A list, because the keys are written while it is walked; it holds places only, some 60 bytes each.
        return [place_of(row[0]) for row in self.connection.execute(_CHANGED, (company,))]

    def count_keys(self, company: str) -> int:
        return int(self.connection.execute("SELECT count(*) FROM keys WHERE company = ?", (company,)).fetchone()[0])

    def find_gone(self, company: str) -> None:
        """Fill ``gone`` with what the mirror offers and ``seen`` has not."""
        self.connection.execute(
            "INSERT INTO gone SELECT type, id FROM keys WHERE company = ? AND gone_incident IS NULL"
            " AND NOT EXISTS (SELECT 1 FROM seen WHERE seen.type = keys.type AND seen.id = keys.id)",
            (company,),
        )

    def gone_by_type(self, company: str) -> Dict[str, int]:
        """Number of keys by type that ``gone`` names and the mirror offers."""
        rows = self.connection.execute(
            "SELECT gone.type, count(*) FROM gone JOIN keys USING (type, id)"
            " WHERE company = ? AND gone_incident IS NULL GROUP BY 1",
            (company,),
        )
        return {row[0]: row[1] for row in rows}

    def count_offered(self, company: str) -> int:
        query = "SELECT count(*) FROM keys WHERE company = ? AND gone_incident IS NULL"
        return int(self.connection.execute(query, (company,)).fetchone()[0])

    def follow_gone(self, company: str) -> None:
        self.connection.execute(_FOLLOW_GONE, (company,))

    def keep_gone(self, company: str, incident: int) -> None:
        # Without a version: whatever comes back under this name is read.
        self.connection.execute(_KEEP_GONE, (incident, company))

    def open_incident(self, company: str) -> Optional[int]:
        row = self.connection.execute(
            "SELECT id FROM incidents WHERE company = ? AND resolved_at IS NULL ORDER BY id LIMIT 1", (company,)
        ).fetchone()
        return None if row is None else int(row[0])

    def add_incident(self, company: str, kind: str, details: Dict[str, Any]) -> int:
        cursor = self.connection.execute(
            "INSERT INTO incidents (company, kind, at, details) VALUES (?, ?, ?, ?)",
            (company, kind, now_iso(), json.dumps(details, sort_keys=True)),
        )
        return int(cursor.lastrowid or 0)

    def resolve_incidents(self, company: str, resolution: str) -> int:
        cursor = self.connection.execute(
            "UPDATE incidents SET resolved_at = ?, resolution = ? WHERE company = ? AND resolved_at IS NULL",
            (now_iso(), resolution, company),
        )
        return int(cursor.rowcount)

    def count_held(self, company: str) -> int:
        """Keys that are gone in the database and kept here."""
        query = "SELECT count(*) FROM keys WHERE company = ? AND gone_incident IS NOT NULL"
        return int(self.connection.execute(query, (company,)).fetchone()[0])

    def drop_held(self, company: str) -> int:
        cursor = self.connection.execute("DELETE FROM keys WHERE company = ? AND gone_incident IS NOT NULL", (company,))
        return int(cursor.rowcount)

    def drop_company(self, company: str) -> None:
        self.connection.execute("DELETE FROM keys WHERE company = ?", (company,))
        self.connection.execute("DELETE FROM companies WHERE company = ?", (company,))

    def aside_since_before(self, moment: str) -> List[str]:
        """Companies that stand aside since before ``moment``, have a copy here, and no open incident."""
        rows = self.connection.execute(
            "SELECT company FROM companies AS c WHERE aside_at <> '' AND aside_at < ? AND creds IS NOT NULL AND NOT"
            " EXISTS (SELECT 1 FROM incidents AS i WHERE i.company = c.company AND i.resolved_at IS NULL)",
            (moment,),
        )
        return [row[0] for row in rows]

    def empty_company(self, company: str) -> None:
        """Forget the copy. The company itself stays known: that it comes back is seen by it."""
        self.connection.execute("DELETE FROM keys WHERE company = ?", (company,))
        self.set_company(
            company, creds=None, creds_sha256=None, creds_updated_at=None, creds_version="", creds_bad_since=None,
            creds_bad_reason=None, fingerprint="", key_count=0,
        )  # fmt: skip

    def audit_facts(self, company: str, app_state_key: Optional[str]) -> Iterator[Any]:
        """(type, id) of the few keys that the invariants between creds and keys speak of."""
        row = self.connection.execute(
            "SELECT max(CAST(id AS INTEGER)) FROM keys WHERE company = ? AND type = 'pre-key'"
            " AND id NOT GLOB '*[^0-9]*' AND content IS NOT NULL",
            (company,),
        ).fetchone()
        if row[0] is not None:
            yield "pre-key", str(row[0])
        if app_state_key:
            found = self.connection.execute(
                "SELECT 1 FROM keys WHERE company = ? AND type = 'app-state-sync-key' AND id = ?"
                " AND content IS NOT NULL",
                (company, app_state_key),
            ).fetchone()
            if found:
                yield "app-state-sync-key", app_state_key

    def translated(self, operation: str) -> Any:
        return translated(operation, self.directory)


def _value(content: Optional[bytes]) -> Optional[Dict[str, Any]]:
    if content is None:
        return None
    value: Dict[str, Any] = json.loads(content)
    return value


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
