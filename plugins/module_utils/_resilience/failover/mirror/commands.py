# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What `baileys-resilience mirror ...` does: run, once, status, acknowledge, adopt-database."""

from __future__ import annotations

import signal
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Tuple

from ...errors import StoreError, UsageError
from ...progress import Progress, Silent
from ...sessions.record import StoreOfRecord, StoreRecord
from ..settings import FailoverSettings
from .chores import Chores
from .loop import Mirror, ScanReport, StoreOf
from .reader import CompanyState
from .status import MirrorStatus, mirror_status

ACTIONS = ("run", "once", "status", "acknowledge", "adopt-database")


@dataclass(frozen=True)
class Ran:
    """The service ended because it was asked to."""

    directory: str
    exit_code: int = 0

    def as_dict(self) -> Dict[str, Any]:
        return asdict(self)

    def lines(self) -> List[str]:
        return [f"mirror {self.directory}: stopped"]


@dataclass(frozen=True)
class Once:
    scan: ScanReport
    exit_code: int = 0

    def as_dict(self) -> Dict[str, Any]:
        return asdict(self.scan)

    def lines(self) -> List[str]:
        scan = self.scan
        told = [
            f"mirrored {scan.companies} companies as of {scan.snapshot_at} in {scan.duration_seconds:.2f} s"
            f" ({scan.mode}: {scan.companies_changed} companies changed, {scan.keys_read} keys read)"
        ]
        return told + ([f"note: {scan.note}"] if scan.note else [])


@dataclass(frozen=True)
class Status:
    """Exit code 0: usable and on time; 9: late; 6: there is nothing to use."""

    status: MirrorStatus

    @property
    def exit_code(self) -> int:
        if not self.status.usable:
            return StoreError.exit_code
        return 9 if self.status.late else 0

    def as_dict(self) -> Dict[str, Any]:
        return self.status.as_dict()

    def lines(self) -> List[str]:
        status = self.status
        if not status.usable:
            return [f"mirror {status.directory}: {status.problem}"]
        late = ", LATE" if status.late else ""
        told = [
            f"mirror {status.directory}: {status.age_seconds or 0:.0f} s old{late} (snapshot {status.snapshot_at}),"
            f" {len(status.companies)} companies, {status.bytes_on_disk / 1e6:.1f} MB"
        ]
        if status.attempt.blind_since:
            told.append(f"blind since {status.attempt.blind_since}: {status.attempt.error}")
        if status.attempt.note:
            told.append(f"note: {status.attempt.note}")
        return told + [line for each in status.companies for line in _company_lines(each)]


@dataclass(frozen=True)
class Acknowledged:
    company: str
    keys_dropped: int
    exit_code: int = 0

    def as_dict(self) -> Dict[str, Any]:
        return asdict(self)

    def lines(self) -> List[str]:
        return [f"company {self.company}: {self.keys_dropped} keys dropped; the mirror follows the database again"]


@dataclass(frozen=True)
class Adopted:
    directory: str
    exit_code: int = 0
    next_step: str = field(default="the next scan compares everything with the database that answers then")

    def as_dict(self) -> Dict[str, Any]:
        return asdict(self)

    def lines(self) -> List[str]:
        return [f"mirror {self.directory}: {self.next_step}"]


def run(mirror: Mirror) -> Ran:
    """Keep the mirror until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    mirror.run(stop)
    return Ran(str(mirror.directory))


def once(mirror: Mirror) -> Once:
    return Once(mirror.scan_once())


def status(directory: Path) -> Status:
    return Status(mirror_status(directory))


def acknowledge(mirror: Mirror, company: str) -> Acknowledged:
    """Let the deletion (or the missing creds) of a company happen in the mirror too."""
    if not company:
        raise UsageError(
            "no company named", operation="acknowledge", hint="name the company whose deletion was meant: --company ID"
        )
    return Acknowledged(company, mirror.acknowledge(company))


def adopt_database(mirror: Mirror) -> Adopted:
    mirror.adopt_database()
    return Adopted(str(mirror.directory))


def mirror_for(
    settings: FailoverSettings, progress: Progress, interval_seconds: float = 10.0, *, use_change_log: bool = False
) -> Mirror:
    """The mirror of a host's settings, which asks the host's store of record."""
    if not settings.mirror_dir:
        raise UsageError("no mirror is configured", operation="mirror", hint="set mirror_dir in the configuration")
    return Mirror(
        settings.database, settings.tables, Path(settings.mirror_dir), interval_seconds,
        store_of=store_of(settings.state), use_change_log=use_change_log, progress=progress,
    )  # fmt: skip


def store_of(state_dir: Path) -> StoreOf:
    """Look-ups in the store of record of this host. A failover may be under way, so the file is looked at each time,
    but read again only when it was replaced: a scan asks for a thousand companies.
    """
    record = StoreRecord(state_dir)
    seen: Any = None
    entries: Dict[str, StoreOfRecord] = {}

    def look_up(company: str) -> Tuple[str, int]:
        nonlocal seen, entries
        now = record.version()
        if now is None or now != seen:
            seen, entries = now, record.all()
        entry = entries.get(company, StoreOfRecord())
        return entry.store, entry.epoch

    return look_up


def dispatch(
    action: str,
    settings: FailoverSettings,
    progress: Progress,
    *,
    interval_seconds: float = 10.0,
    company: str = "",
    use_change_log: bool = False,
    age_file: str = "",
) -> Any:
    """Run one action; the result has as_dict(), lines() and exit_code."""
    mirror = mirror_for(settings, progress or Silent(), interval_seconds, use_change_log=use_change_log)
    mirror.age_file = Path(age_file) if age_file else None
    mirror.chores = chores = Chores(settings, mirror, progress or Silent())
    if action == "run":
        return run(mirror)
    if action == "once":
        found = once(mirror)
        chores.after_scan(answered=True)
        return found
    if action == "status":
        return status(mirror.directory)
    if action == "acknowledge":
        return acknowledge(mirror, company)
    if action == "adopt-database":
        return adopt_database(mirror)
    raise UsageError("no such action", operation="mirror", subject=action, hint=f"one of {', '.join(ACTIONS)}")


def _company_lines(state: CompanyState) -> List[str]:
    word = "good" if state.good else "NOT GOOD"
    return [f"  {state.company}: {word}, {state.keys} keys, {state.age_seconds:.0f} s old, epoch {state.epoch}"] + [
        f"    {problem}" for problem in state.problems
    ]
