# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Reading the mirror: a :class:`SessionSource` that needs no database, usable while the mirror's writer runs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

from ...clock import age_seconds
from ...errors import StoreError, UsageError
from ...sessions.model import KeySink, RawCreds, RawKey, SourceInfo
from .layout import DATABASE_FILE, open_reader, translated


@dataclass(frozen=True)
class Incident:
    """Why the mirror holds back. ``at`` is ISO 8601 by this host's clock; ``details`` are numbers by key type."""

    id: int
    company: str
    kind: str
    at: str
    details: Dict[str, Any]


@dataclass(frozen=True)
class CompanyState:
    """What the mirror has of one company.

    ``good``: Baileys can use it. ``age_seconds``: of the copy, since the last scan that included the company.
    ``problems`` tells everything that is not as it should be, also what leaves the copy good. ``epoch`` is that of the
    store of record when it was copied. ``held_keys`` are gone in the database and still offered here.
    """

    company: str
    good: bool
    age_seconds: float
    epoch: int
    store: str
    counts: Dict[str, int] = field(default_factory=dict)
    problems: List[str] = field(default_factory=list)
    incidents: List[Incident] = field(default_factory=list)
    bad_keys: int = 0
    held_keys: int = 0

    @property
    def keys(self) -> int:
        return sum(self.counts.values())


class MirrorReader:
    """One complete scan, held by a read transaction for as long as the reader is open."""

    def __init__(self, directory: Path, connection: sqlite3.Connection) -> None:
        self.directory = directory
        self._path = directory / DATABASE_FILE
        self._connection = connection
        with translated("read mirror", self._path):
            row = connection.execute(
                "SELECT snapshot_at, lsn, started_at FROM scans ORDER BY id DESC LIMIT 1"
            ).fetchone()
        if row is None:
            raise StoreError(
                "the first scan of the mirror was never finished",
                operation="open mirror",
                subject=str(directory),
                hint="run baileys-resilience mirror once while the database answers; until then use another source",
            )
        self._info = SourceInfo("mirror", str(directory), row[0], row[1])
        self._started_at = row[2]

    @property
    def info(self) -> SourceInfo:
        return self._info

    def info_of(self, company: str) -> SourceInfo:
        row = self._row("SELECT epoch FROM companies WHERE company = ?", company)
        return replace(self._info, epoch=row[0] if row else 0)

    @property
    def age_seconds(self) -> float:
        """Seconds since the snapshot of the last complete scan, by this host's clock alone (clocks differ)."""
        return age_seconds(self._started_at)

    def companies(self) -> List[str]:
        """Companies whose creds the mirror has."""
        return self._column("SELECT company FROM companies WHERE creds IS NOT NULL ORDER BY company")

    def known_companies(self) -> List[str]:
        """These, and the companies whose creds never were usable."""
        return self._column("SELECT company FROM companies ORDER BY company")

    def creds(self, company: str) -> Optional[RawCreds]:
        row = self._row("SELECT creds, creds_sha256, creds_updated_at FROM companies WHERE company = ?", company)
        if row is None or row[0] is None:
            return None
        self._check(row[0], row[1], company)
        return RawCreds(row[0], row[2])

    def stream_keys(self, company: str, sink: KeySink) -> None:
        """Every key of the company, the last good content of each. Raises StoreError when a byte is not as written."""
        number = 0
        for row in self._rows(
            "SELECT type, id, content, updated_at, sha256 FROM keys WHERE company = ? ORDER BY type, id", company
        ):
            number += 1
            if row[2] is not None:
                self._check(row[2], row[4], company)
                sink(RawKey(row[0], row[1], row[2], row[3]))
        expected = self._row("SELECT key_count FROM companies WHERE company = ?", company)
        if expected is not None and expected[0] != number:
            raise self._damaged(f"{number} of {expected[0]} keys can be read", company)

    def company_state(self, company: str) -> CompanyState:
        row = self._row(
            "SELECT creds IS NOT NULL, creds_bad_since, creds_bad_reason, problem, problem_since, epoch, store,"
            " aside_at FROM companies WHERE company = ?",
            company,
        )
        if row is None:
            raise UsageError(
                "the mirror does not know this company",
                operation="read mirror",
                subject=company,
                hint=f"it knows {', '.join(self.known_companies()[:20]) or 'none'}",
            )
        incidents = self.incidents(company)
        held = self._count("gone_incident IS NOT NULL", company)
        bad = self._count("bad_since IS NOT NULL", company)
        by_type = "SELECT type, count(*) FROM keys WHERE company = ? AND content IS NOT NULL GROUP BY 1 ORDER BY 1"
        counts = dict(self._rows(by_type, company))
        return CompanyState(
            company, bool(row[0]) and row[3] is None, age_seconds(row[7] or self._started_at), row[5], row[6],
            counts, _problems(row, bad, held, incidents), incidents, bad, held,
        )  # fmt: skip

    def incidents(self, company: Optional[str] = None) -> List[Incident]:
        """Open incidents, of one company or of all."""
        rows = self._rows(
            "SELECT id, company, kind, at, details FROM incidents WHERE resolved_at IS NULL"
            " AND (?1 IS NULL OR company = ?1) ORDER BY id",
            company,
        )
        return [Incident(row[0], row[1], row[2], row[3], json.loads(row[4])) for row in rows]

    def check(self) -> None:
        """Read the whole database for damage. Raises StoreError with what was found."""
        for (finding,) in self._rows("PRAGMA integrity_check(1)"):
            if finding != "ok":
                raise self._damaged(finding, "")

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> MirrorReader:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _check(self, content: Any, digest: Any, company: str) -> None:
        if not isinstance(content, bytes) or hashlib.sha256(content).digest() != digest:
            raise self._damaged("content that differs from its SHA256", company)

    def _damaged(self, what: str, company: str) -> StoreError:
        return StoreError(
            f"the mirror is damaged: {what}",
            operation="read mirror",
            subject=f"{self._path} {company}".strip(),
            hint="use another source (a backup); remove the directory so that a new mirror is made",
        )

    def _count(self, condition: str, company: str) -> int:
        row = self._row(f"SELECT count(*) FROM keys WHERE company = ? AND {condition}", company)  # noqa: S608
        return int(row[0])

    def _row(self, query: str, *values: Any) -> Any:
        with translated("read mirror", self._path):
            return self._connection.execute(query, values).fetchone()

    def _rows(self, query: str, *values: Any) -> Iterator[Any]:
        with translated("read mirror", self._path):
            yield from self._connection.execute(query, values)

    def _column(self, query: str) -> List[str]:
        return [row[0] for row in self._rows(query)]


def _problems(row: Any, bad: int, held: int, incidents: List[Incident]) -> List[str]:
    problems: List[str] = []
    if row[3]:
        problems.append(f"{row[3]} (since {row[4]})" if row[4] else str(row[3]))
    if row[1]:
        problems.append(
            f"the creds in the database are not usable since {row[1]}: {row[2]}; the last good ones are kept"
        )
    if bad:
        problems.append(
            f"{bad} keys in the database cannot be decoded; the last good content is kept where there was one"
        )
    problems.extend(f"{each.kind} at {each.at}, not acknowledged" for each in incidents)
    if held:
        problems.append(f"{held} keys are gone in the database and kept here")
    if row[7] is not None:
        problems.append(f"the company lives on {row[6]}; this copy is of epoch {row[5]}")
    return problems


def open_mirror(directory: Path) -> MirrorReader:
    """Open the mirror in ``directory`` read-only. Raises StoreError: no mirror, first scan unfinished, another format,
    damaged.
    """
    connection = open_reader(Path(directory))
    try:
        return MirrorReader(Path(directory), connection)
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.close()
        raise
