# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The loop that keeps the mirror: one scan after the other, each bounded, and an honest word about the last one."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Callable, ContextManager, Dict, Iterator, List, Optional, Protocol, Set, Tuple

from ...clock import age_seconds, now_iso, to_iso, utc_now
from ...errors import Busy, Misconfigured, Refused, ResilienceError
from ...files import make_private_directory
from ...locks import held
from ...postgres import ConnectParams
from ...progress import Progress, Silent
from ...sessions.mirror_age import MirrorAge, write_mirror_age
from ...sessions.model import TableMapping
from . import change_log
from .database import ScanSource, ServerState, open_scan
from .layout import DATABASE_FILE, SCAN_LOCK, SERVICE_LOCK
from .policy import DeletionLimits
from .scan import Placement, Scan
from .status import MirrorStatus, mirror_status, write_attempt
from .store import LastScan, MirrorStore

#: store of record: company -> ("postgres" or "files", epoch)
StoreOf = Callable[[str], Tuple[str, int]]

#: how a scan found out what changed
UNCHANGED, LOG, VERSIONS, THOROUGH = "unchanged", "log", "versions", "thorough"
_LOCK_WAIT_SECONDS = 20.0
_LONGEST_PAUSE_SECONDS = 30.0
_PRUNE_EVERY_SECONDS = 300.0
#: of the companies, so much is read again in one scan when it is time: a scan must stay short
_DUE_SHARE = 0.01


@dataclass(frozen=True)
class MirrorTuning:
    """``versions_every_seconds``: with the change log, how often the row versions are compared all the same;
    ``thorough_every_seconds``: how often every value is read again.
    """

    deadline_seconds: float = 15.0
    versions_every_seconds: float = 600.0
    thorough_every_seconds: float = 21600.0
    limits: DeletionLimits = field(default_factory=DeletionLimits)


@dataclass(frozen=True)
class ScanReport:
    """One complete scan. ``mode``: unchanged (nothing was committed since), log, versions or thorough."""

    mode: str
    snapshot_at: str
    lsn: Optional[str]
    companies: int
    companies_changed: int
    keys_read: int
    duration_seconds: float
    note: str = ""


class AfterScan(Protocol):
    """What else the service does (chores.py); ``problem`` becomes part of the mirror's status."""

    @property
    def problem(self) -> str: ...

    def after_scan(self, *, answered: bool) -> bool:
        """Returns whether the next scan is due at once."""


def _everywhere_postgres(_company: str) -> Tuple[str, int]:
    return ("postgres", 0)


class Mirror:
    """The writer of one mirror directory. Several may exist (the service, a failover that wants one scan now): each
    scan takes a lock, and only one service runs.
    """

    def __init__(
        self,
        params: ConnectParams,
        tables: TableMapping,
        directory: Path,
        interval_seconds: float = 10.0,
        *,
        store_of: StoreOf = _everywhere_postgres,
        use_change_log: bool = False,
        tuning: Optional[MirrorTuning] = None,
        progress: Optional[Progress] = None,
    ) -> None:
        self.directory = Path(directory)
        self._params = params
        self._tables = tables
        self._interval = interval_seconds
        self._store_of = store_of
        self._use_log = use_change_log
        self._tuning = tuning or MirrorTuning()
        self._progress: Progress = progress or Silent()
        self._pruned_at = 0.0
        self._log_problem = ""
        self.chores: Optional[AfterScan] = None
        #: where the age is published for those who may not read the mirror; None: nowhere
        self.age_file: Optional[Path] = None

    def scan_once(self, *, thorough: bool = False) -> ScanReport:
        """One scan now. Raises Busy when another one does not end, a DatabaseError when the database does not answer,
        Misconfigured when it is another database than the mirrored one.
        """
        make_private_directory(self.directory)
        with _lock(self.directory / SCAN_LOCK, _LOCK_WAIT_SECONDS, "another scan of this mirror runs"):
            started_at, started = now_iso(), time.monotonic()
            try:
                report = self._scan(started_at, started, thorough)
            except ResilienceError as exc:
                write_attempt(self.directory, started_at, self._interval, error=exc)
                self._publish_age(started_at, exc)
                raise
            problems = [report.note, self.chores.problem if self.chores else ""]
            write_attempt(self.directory, started_at, self._interval, note="; ".join(filter(None, problems)))
            self._publish_age(started_at)
        self._prune()
        return report

    sync_now = scan_once

    def run(self, stop: threading.Event) -> None:
        """Scan until ``stop`` is set. A failed scan is told and tried again; only another service ends this (Busy)."""
        make_private_directory(self.directory)
        with _lock(self.directory / SERVICE_LOCK, 0.0, "another service keeps this mirror"):
            failures = 0
            while not stop.is_set():
                begun = time.monotonic()
                try:
                    report = self.scan_once()
                    failures = 0
                    self._progress.note("mirror scan", mode=report.mode, keys_read=report.keys_read,
                                        seconds=round(report.duration_seconds, 3))  # fmt: skip
                except ResilienceError as exc:
                    failures += 1
                    self._progress.note("mirror scan failed", error=exc.code, cause=exc.cause, hint=exc.hint)
                if self.chores and self.chores.after_scan(answered=failures == 0):
                    continue
                stop.wait(self._pause(failures, time.monotonic() - begun))

    def status(self) -> MirrorStatus:
        return mirror_status(self.directory)

    def acknowledge(self, company: str) -> int:
        """Follow the database in what an incident of this company holds back. Returns the number of keys dropped."""
        with self._locked_store() as store, store.translated("acknowledge incident"):
            store.begin()
            dropped = store.drop_held(company)
            store.resolve_incidents(company, "acknowledged")
            kept = store.companies().get(company)
            if kept is not None and not kept.present:
                store.drop_company(company)
            elif kept is not None:
                store.set_company(company, key_count=store.count_keys(company))
            store.commit()
        return dropped

    def adopt_database(self) -> None:
        """Take the database that answers now for the mirrored one: the next scan compares everything with it."""
        with self._locked_store() as store, store.translated("adopt database"):
            store.begin()
            store.set_meta("system_identifier", "")
            store.set_meta("database", "")
            store.commit()

    def expire_aside(self, after_seconds: float) -> List[str]:
        """Forget what is mirrored of companies that have lived on files for so long: it is of before they moved, and
        void. Their return is read anew. Returns their names.
        """
        if not (self.directory / DATABASE_FILE).exists():
            return []
        with self._locked_store() as store, store.translated("expire mirrored companies"):
            store.begin()
            expired = store.aside_since_before(to_iso(utc_now() - timedelta(seconds=after_seconds)))
            for company in expired:
                store.empty_company(company)
            store.commit()
        return expired

    @contextlib.contextmanager
    def _locked_store(self) -> Iterator[MirrorStore]:
        make_private_directory(self.directory)
        lock = _lock(self.directory / SCAN_LOCK, _LOCK_WAIT_SECONDS, "another scan of this mirror runs")
        with lock, MirrorStore(self.directory) as store:
            yield store

    def _scan(self, started_at: str, started: float, thorough: bool) -> ScanReport:
        with MirrorStore(self.directory) as store, store.translated("write mirror"):
            # Asked before the snapshot: a company that moves meanwhile then carries the epoch of before.
            placements = self._placements(store)
            with open_scan(self._params, self._tables, self._tuning.deadline_seconds) as source:
                store.begin()
                self._check_identity(store, source.state)
                last = store.last_scan()
                mode, note = self._mode(store, source, last, thorough)
                scan = Scan(source, store, placements, self._tuning.limits, last.started_at if last else None)
                scan.due = self._due(store)
                self._apply(scan, mode, last, store, started_at)
                seconds = time.monotonic() - started
                store.record_scan(source.state, mode, started_at, seconds, scan.work)
                store.commit()
                state, work = source.state, scan.work
            number = len(store.companies())
        return ScanReport(
            mode, state.snapshot_at, state.lsn, number, work.companies_changed, work.keys_read,
            time.monotonic() - started, note,
        )  # fmt: skip

    def _placements(self, store: MirrorStore) -> Callable[[str], Placement]:
        known: Dict[str, Placement] = {}

        def look_up(company: str) -> Placement:
            if company not in known:
                known[company] = Placement(*self._store_of(company))
            return known[company]

        for company in store.company_names():
            look_up(company)
        return look_up

    def _apply(self, scan: Scan, mode: str, last: Optional[LastScan], store: MirrorStore, started_at: str) -> None:
        if mode == LOG and last is not None:
            scan.by_log(last.snapshot)
        elif mode == VERSIONS:
            scan.by_versions()
        elif mode == THOROUGH:
            scan.thoroughly()
            store.set_meta("thorough_at", started_at)
        if mode in (VERSIONS, THOROUGH):
            store.set_meta("versions_at", started_at)

    def _mode(
        self, store: MirrorStore, source: ScanSource, last: Optional[LastScan], thorough: bool
    ) -> Tuple[str, str]:
        """How to find out what changed, and what keeps the change log from being used."""
        state = source.state
        if last is None or thorough or not store.meta("thorough_at") or last.timeline != state.timeline:
            # On another timeline (point-in-time restore) a row version may stand for another row.
            return THOROUGH, ""
        if last.started != state.started:
            # A crash with synchronous_commit = off may do the same to a few rows: read all again, company by company.
            store.forget_reads()
            return VERSIONS, ""
        if self._moved(store):
            return VERSIONS, ""
        # Equal snapshots see the same transactions, hence the same rows. Not in recovery: there the text of a snapshot
        # does not name those in progress.
        same = last.snapshot == state.snapshot and state.kind == "primary" == last.kind
        if same and not self._due(store):
            return UNCHANGED, ""
        mode, note = self._log_or_versions(store, source, last)
        return mode, note or self._log_problem

    def _log_or_versions(self, store: MirrorStore, source: ScanSource, last: LastScan) -> Tuple[str, str]:
        if not self._use_log:
            return VERSIONS, ""
        if source.state.kind != "primary":
            return VERSIONS, "the change log is read on a primary only"
        problem = change_log.unusable(source, last.snapshot)
        if problem or age_seconds(store.meta("versions_at")) > self._tuning.versions_every_seconds:
            return VERSIONS, problem
        return LOG, ""

    def _due(self, store: MirrorStore) -> Set[str]:
        before = to_iso(utc_now() - timedelta(seconds=self._tuning.thorough_every_seconds))
        return store.due(before, _DUE_SHARE)

    def _moved(self, store: MirrorStore) -> bool:
        """Whether the store of record says something else than when the mirror last looked."""
        for kept in store.companies().values():
            now_in, epoch = self._store_of(kept.company)
            if (kept.aside_at is None) != (now_in == "postgres") or (now_in == "postgres" and epoch != kept.epoch):
                return True
        return False

    def _check_identity(self, store: MirrorStore, state: ServerState) -> None:
        found = {
            "system_identifier": state.system_identifier,
            "database": state.dbname,
            "tables": f"{self._tables.auth} {self._tables.keys}",
        }
        for name, value in found.items():
            known = store.meta(name)
            if known and known != value:
                raise Misconfigured(
                    f"another database answers: its {name.replace('_', ' ')} is {value}, the mirrored one's is {known}",
                    operation="scan for the mirror",
                    subject=self._params.where,
                    hint="correct the address; if this database replaces the old one: baileys-resilience mirror "
                    "adopt-database, or name another mirror directory",
                )
            if not known:
                store.set_meta(name, value)
                store.set_meta("thorough_at", "")

    def _publish_age(self, tried_at: str, error: Optional[ResilienceError] = None) -> None:
        """Tell the monitor. What keeps us from it is no reason to end a scan."""
        if self.age_file is None:
            return
        scanned, unusable, aside = "", "", False
        try:
            with MirrorStore(self.directory) as store:
                last, names = store.last_scan(), store.company_names()
            scanned = last.started_at if last else ""
            aside = bool(names) and all(self._store_of(each)[0] != "postgres" for each in names)
        except ResilienceError as exc:
            unusable = exc.cause
        try:
            self.age_file.parent.mkdir(mode=0o755, exist_ok=True)
            write_mirror_age(self.age_file, MirrorAge(scanned, tried_at, str(error or ""), unusable, aside))
        except (ResilienceError, OSError) as exc:
            self._progress.note("age of the mirror not published", why=str(exc))

    def _prune(self) -> None:
        if not self._use_log or time.monotonic() - self._pruned_at < _PRUNE_EVERY_SECONDS:
            return
        self._pruned_at = time.monotonic()
        with MirrorStore(self.directory) as store:
            last = store.last_scan()
        if last is None:
            return
        try:
            change_log.prune(self._params, last.snapshot, self._tuning.deadline_seconds)
            self._log_problem = ""
        except Refused as exc:
            self._log_problem = f"the change log grows: {exc.cause}"
            self._progress.note("change log not pruned", cause=exc.cause, hint=exc.hint)
        except ResilienceError as exc:
            self._progress.note("change log not pruned", cause=exc.cause)

    def _pause(self, failures: int, spent_seconds: float) -> float:
        if failures == 0:
            return max(0.0, self._interval - spent_seconds)
        # Jitter, so that the mirrors of many hosts do not all come back to a database in the same second.
        longest = min(_LONGEST_PAUSE_SECONDS, self._interval * 2 ** min(failures - 1, 8))
        return random.uniform(min(1.0, longest / 2), longest)


def _lock(path: Path, wait_seconds: float, cause: str) -> ContextManager[int]:
    return held(
        path,
        wait_seconds,
        Busy(cause, operation="lock mirror", subject=str(path.parent), hint="wait for it, or stop it"),
    )
