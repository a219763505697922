# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What a drill does on the application's host, one call a stage: begin, watch, check, end. Breaking and healing happen
on the host of the fault (``broken``), failover and failback are those of every night.

``<state>/drill`` holds the drill that is open, ``<state>/drills`` the records of those that ended.
"""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence

from .. import __version__
from ..clock import age_seconds, now_iso, utc_now
from ..errors import Busy, StepFailed, UsageError
from ..failover.daily_check import check_readiness
from ..failover.operations import Operation
from ..failover.settings import FailoverSettings
from ..files import make_private_directory, read_json, write_durably, write_json
from ..postgres import session
from ..sessions.record import POSTGRES, StoreRecord
from ..steps.lease import HostLease
from . import detection, keys
from .record import as_markdown, make_record

_OPEN, _KEYS, _ANSWERED, _DETECTION = "current.json", "keys.json", "answered", "detection.json"
_POLL_SECONDS = 0.5
#: what a drill may take beyond its fault: a team that fails back, the record
_AFTERWARDS_SECONDS = 1800.0


@dataclass
class OpenDrill:
    """A drill that has begun and not ended. ``fault`` is what the operator chose, with the host that it acts on."""

    drill: str
    operator: str
    began_at: str
    max_seconds: float
    fault: Dict[str, Any]
    by: str
    versions: Dict[str, str]
    companies: List[str]
    salt: str
    runs_before: List[str]
    checks: Dict[str, Any] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Nobody can be at work on it any more."""
        return age_seconds(self.began_at) > self.max_seconds + _AFTERWARDS_SECONDS


class Drill:
    """The drill of this host."""

    def __init__(self, settings: FailoverSettings) -> None:
        self._settings = settings
        self._dir = settings.state / "drill"
        self._records = settings.state / "drills"

    def refusals(self) -> List[str]:
        """Why none may begin now: each a sentence with what to do. Changes nothing."""
        found = []
        left = self.current()
        if left:
            found.append(str(self._left(left)))
        lease = HostLease(self._settings.state).current()
        if lease:
            found.append(
                f"a {lease.operation} by {lease.operator} is open since {lease.since}."
                " HINT: let it end; if it was cut off, resume or undo it"
            )
        entries = StoreRecord(self._settings.state).all()
        away = [c for c in self._settings.companies if c in entries and entries[c].store != POSTGRES]
        if away:
            found.append(
                f"company {away[0]} lives on files, and a drill begins on PostgreSQL."
                " HINT: run the playbook failback first"
            )
        if not found:
            ready = check_readiness(Operation(self._settings, "failover"))
            found += [f"a failover would not work now: {each}" for each in ready.problems]
        return found

    def current(self) -> Optional[OpenDrill]:
        content = self._read(_OPEN)
        return OpenDrill(**content) if content else None

    def _left(self, left: OpenDrill) -> Busy:
        return Busy(
            f"the drill by {left.operator} is open since {left.began_at}",
            operation="drill",
            subject=left.drill,
            hint="let it end; if it was cut off, heal what it left: -e failover_drill_left=heal",
        )

    def begin(self, told: Mapping[str, Any]) -> OpenDrill:
        """Open a drill: every key as it is now. Raises what refuses it."""
        refused = self.refusals()
        if refused:
            cause, _mark, hint = refused[0].partition(". HINT: ")
            raise StepFailed(cause, operation="begin drill", subject=self._settings.host, hint=hint or "see check")
        salt = keys.new_salt()
        name = re.sub(r"[^A-Za-z0-9._-]", "-", self._settings.host)
        drill = OpenDrill(
            drill=f"{utc_now().strftime('%Y%m%dT%H%M%S')}-drill-{name}",
            operator=str(told["operator"]),
            began_at=now_iso(),
            max_seconds=float(told["max_seconds"]),
            fault=dict(told["fault"]),
            by=str(told["by"]),
            versions={
                "baileys.resilience": __version__,
                "postgresql": self._server_version(),
                "ansible": str(told["ansible"]),
            },
            companies=list(self._settings.companies),
            salt=salt,
            runs_before=self._runs(),
        )
        taken = keys.take(self._settings, POSTGRES, salt)
        make_private_directory(self._dir)
        for name in (_KEYS, _ANSWERED, _DETECTION):
            (self._dir / name).unlink(missing_ok=True)
        self._open(drill)
        write_json(self._dir / _KEYS, keys.to_content(taken))
        return drill

    def _open(self, drill: OpenDrill) -> None:
        """One of two who begin at once wins: the name appears with its whole content, or it was there."""
        staged = self._dir / f"{_OPEN}.{os.getpid()}"
        write_json(staged, asdict(drill))
        try:
            os.link(staged, self._dir / _OPEN)
        except FileExistsError as exc:
            left = self.current()
            raise (self._left(left) if left else Busy("another drill begins", operation="begin drill")) from exc
        finally:
            staged.unlink()

    def watch(self, limit_seconds: float) -> detection.Detection:
        """Probe beside the fault until the database is down; ``<state>/drill/answered`` is there from its first answer
        on.
        """
        self._need_open()
        found = detection.watch_until_down(
            self._settings, limit_seconds, lambda: write_json(self._dir / _ANSWERED, {"at": now_iso()})
        )
        write_json(self._dir / _DETECTION, found.as_dict())
        return found

    def wait_for_store(self, store: str, limit_seconds: float) -> float:
        """Until somebody has moved every company to ``store`` and ended the run. Returns the seconds it took."""
        began = time.monotonic()
        while not self._all_on(store):
            if time.monotonic() - began >= limit_seconds:
                raise StepFailed(
                    f"not every company is on {store} after {limit_seconds:g} s",
                    operation="wait for the team",
                    subject=self._settings.host,
                    hint="the database is healed now; look where the team is: baileys-resilience failover status",
                )
            time.sleep(_POLL_SECONDS)
        return round(time.monotonic() - began, 1)

    def _all_on(self, store: str) -> bool:
        entries = StoreRecord(self._settings.state).all()
        stores = {entries[c].store if c in entries else POSTGRES for c in self._settings.companies}
        return stores == {store} and HostLease(self._settings.state).current() is None

    def check(self, store: str) -> Dict[str, Any]:
        """Every key as ``store`` holds it now against before. Raises when something is lost or wrong."""
        drill = self._need_open()
        before = keys.from_content(self._read(_KEYS))
        if set(before) != set(drill.companies):
            raise StepFailed(
                "nobody wrote down the keys as they were before",
                operation="check every key",
                subject=drill.drill,
                hint="this drill was cut off while it began: -e failover_drill_left=heal",
            )
        now = keys.take(self._settings, store, drill.salt)
        judged = {company: keys.judge(each, now[company]).as_dict() for company, each in before.items()}
        drill.checks[store] = judged
        write_json(self._dir / _OPEN, asdict(drill))
        bad = {company: each["problems"] for company, each in judged.items() if each["problems"]}
        if bad:
            company = sorted(bad)[0]
            raise StepFailed(
                f"company {company}: {'; '.join(bad[company])}",
                operation=f"check every key on {store}",
                subject=self._settings.host,
                hint="read the record; do not rely on a failover before this is understood",
            )
        return judged

    def end(self, told: Mapping[str, Any]) -> Dict[str, Any]:
        """Write the record and close the drill. Returns the record and its Markdown."""
        drill = self._need_open()
        reports = self._reports(drill.runs_before)
        record = make_record(asdict(drill), self._read(_DETECTION), reports, told, self._settings)
        make_private_directory(self._records)
        markdown = as_markdown(record)
        write_json(self._records / f"{drill.drill}.json", record)
        write_durably(self._records / f"{drill.drill}.md", markdown.encode("utf-8"))
        for name in (_KEYS, _ANSWERED, _DETECTION, _OPEN):
            (self._dir / name).unlink(missing_ok=True)
        return {"record": record, "markdown": markdown, "path": str(self._records / f"{drill.drill}.json")}

    def _need_open(self) -> OpenDrill:
        drill = self.current()
        if drill is None:
            raise UsageError(
                "no drill is open",
                operation="drill",
                subject=self._settings.host,
                hint="run the playbook failover_drill",
            )
        return drill

    def _runs(self) -> List[str]:
        return sorted(each.name for each in (self._settings.state / "runs").glob("*"))

    def _reports(self, before: Sequence[str]) -> Dict[str, Dict[str, Any]]:
        """The newest report of each operation since the drill began."""
        found: Dict[str, Dict[str, Any]] = {}
        for run in self._runs():
            path = self._settings.state / "runs" / run / "report.json"
            if run not in before and path.exists():
                report = json.loads(path.read_text("utf-8"))
                found[report["operation"]] = report
        return found

    def _server_version(self) -> str:
        opened = session(self._settings.database, operation="begin drill")
        with opened as (connection, _deadline):
            cursor = connection.cursor()
            cursor.execute("SHOW server_version")
            return str(cursor.fetchone()[0])

    def _read(self, name: str) -> Dict[str, Any]:
        path = self._dir / name
        return read_json(path, hint=f"heal the database, then remove {path}")
