# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""May these files replace the rows that are there? The store of record is asked first, then the rows themselves.

A row is *newer* when it is neither what was exported nor what the files hold nor what an import that was taken back
wrote (:mod:`imported`), and was written after the files became the session: somebody wrote to PostgreSQL meanwhile, and
a human has to say which of the two is the session. Where no time tells when a row was written, it counts as newer.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ..clock import from_iso, utc_now
from ..errors import Conflict
from ..postgres import server_now
from .codec import short_id
from .directory_source import DirectorySource
from .imported import Imported, Written
from .manifest import Manifest
from .record import POSTGRES, StoreOfRecord
from .verify import KeyName

_TAKE_ALL_THE_SAME = (
    "nothing was imported, since older keys break a session; compare with session_verify, and only if a human has"
    " decided that these files are the session set accept_old_copy (for a failback: failover_accept_data_loss)"
)


@dataclass(frozen=True)
class ImportOptions:
    """``reference_time`` (ISO 8601, the database's clock): since when the files are the session. Left out, since when
    the store of record has the company on files; without an entry there, each manifest's snapshot time.

    ``record`` holds the store of record's entries; ``accept_old_copy`` passes over what they say against the files.
    """

    reference_time: Optional[str] = None
    record: Mapping[str, StoreOfRecord] = field(default_factory=dict)
    newer_rows: str = "refuse"
    accept_old_copy: bool = False
    dry_run: bool = False
    #: rows that an earlier import of ours wrote are not newer, whoever took it back
    imported: Optional[Imported] = None


class Row(NamedTuple):
    """What PostgreSQL holds for one key: digest of the canonical content (None when it does not decode) and when it
    was written (None when nothing tells).
    """

    sha256: Optional[str]
    updated_at: Optional[str]


class ImportGuard:
    """Raises Conflict for a company whose rows must not be replaced by its files."""

    def __init__(self, cursor: Any, source: DirectorySource, options: ImportOptions) -> None:
        self._cursor = cursor
        self._source = source
        self._options = options

    def check(self, company: str, overwritten: Dict[KeyName, Row]) -> None:
        """``overwritten`` are the rows that would be updated or deleted; there may be none."""
        entry = self._options.record.get(company)
        if entry is not None and not self._options.accept_old_copy:
            self._refuse_old_copy(company, entry)
        if overwritten and self._options.newer_rows != "overwrite":
            self._refuse_newer(company, entry, overwritten)

    def _refuse_old_copy(self, company: str, entry: StoreOfRecord) -> None:
        place = self._source.home.directory(company)
        if entry.store == POSTGRES:
            cause = f"lives in PostgreSQL since {entry.since} (epoch {entry.epoch}), and the files are an older copy"
        elif not self._is_place_of(entry, company):
            cause = f"lives on files in {entry.place} since {entry.since}, and {place} is another copy"
        else:
            # The manifest names the epoch of the copy that the files were made from; so does the record.
            epoch = self._source.info_of(company).epoch if entry.lineage else 0
            if epoch >= entry.lineage or self._source.manifest(company) is None:
                return
            cause = f"was exported in epoch {epoch}, and the session has lived elsewhere since (epoch {entry.lineage})"
        raise Conflict(cause, operation="import company", subject=company, hint=_TAKE_ALL_THE_SAME)

    def _is_place_of(self, entry: StoreOfRecord, company: str) -> bool:
        home = self._source.home
        return not entry.place or os.path.realpath(entry.place) in (
            os.path.realpath(home.directory(company)),
            os.path.realpath(home.path),
        )

    def _refuse_newer(self, company: str, entry: Optional[StoreOfRecord], overwritten: Dict[KeyName, Row]) -> None:
        manifest = self._source.manifest(company)
        exported = {(e.type, e.id): e.sha256 for e in manifest.entries()} if manifest else {}
        ours = self._options.imported.recall(company) if self._options.imported else Written(set())
        foreign = {
            name: row
            for name, row in overwritten.items()
            if row.sha256 is None or (exported.get(name) != row.sha256 and not ours.holds(name, row.sha256))
        }
        limit = self._limit(entry, manifest)
        newer, untold = _judge(foreign, limit)
        if limit is None and untold:
            cause = "would be overwritten or deleted, and without a manifest nothing tells which of the two is newer"
            hint = (
                "set reference_time to the moment since when the files are the session; or compare with"
                " session_verify, and if the files are the session set newer_rows to overwrite"
            )
        elif newer:
            cause = "are newer than the files"
            hint = (
                "somebody wrote to PostgreSQL after the switch; stop that writer, compare with session_verify, and if"
                " the files are the session set newer_rows to overwrite"
            )
        elif untold:
            cause = "are neither what was exported nor what the files hold, and no time tells when they were written"
            hint = (
                "session_tables names no updated_at, or it is empty in these rows: a second writer cannot be told from"
                " the application's last writes before the switch; stop every writer, compare with session_verify, and"
                " if the files are the session set newer_rows to overwrite"
            )
        else:
            return
        found = newer or untold
        raise Conflict(
            f"{len(found)} rows in PostgreSQL {cause} ({_examples(found)})",
            operation="import company",
            subject=company,
            hint=hint,
        )

    def _limit(self, entry: Optional[StoreOfRecord], manifest: Optional[Manifest]) -> Optional[datetime]:
        """Rows written after this moment of the database's clock are newer; None when nothing tells the moment."""
        if self._options.reference_time:
            return from_iso(self._options.reference_time)
        if entry is not None and entry.store != POSTGRES and entry.since:
            # By this host's clock; the difference of the two clocks is allowed for.
            return from_iso(entry.since) + (from_iso(server_now(self._cursor)) - utc_now())
        return from_iso(manifest.header.source.snapshot_at) if manifest else None


def _judge(rows: Mapping[KeyName, Row], limit: Optional[datetime]) -> Tuple[List[KeyName], List[KeyName]]:
    """The rows that are newer than ``limit``, and those of which nothing tells whether they are."""
    newer: List[KeyName] = []
    untold: List[KeyName] = []
    for name, row in rows.items():
        if limit is None or row.updated_at is None:
            untold.append(name)
        elif from_iso(row.updated_at) > limit:
            newer.append(name)
    return newer, untold


def _examples(names: List[KeyName]) -> str:
    """Up to three, ids hashed."""
    return ", ".join(f"{key_type} {short_id(key_id)}" if key_id else key_type for key_type, key_id in names[:3])
