# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Steps that failover and failback share: stop, record the store, switch the code, switch the flags, start, verify
the connection.
"""

from __future__ import annotations

import socket
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from ..errors import ApplicationError, ResilienceError, StepFailed, VerificationFailed
from ..sessions.published import reconcile
from ..sessions.record import FILES, StoreOfRecord
from ..steps.engine import Notes, Result, Step
from .context import FailoverContext, companies_text
from .envfile import EnvFile, changed_content, read_values, remembered, restored_content
from .health import LOGGED_OUT, OPEN, ApplicationHealth, log_size
from .processes import is_alive, wait_for
from .services import Service, ServiceStatus, wrong_flags

#: why the record was not copied to PostgreSQL, where nobody expects that it is
NO_ANSWER = "PostgreSQL does not answer"
_POLL_SECONDS = 0.05
_SHUTDOWN_SECONDS = 30.0
#: What Baileys may have used up before it is asked: a pre-key goes with the first message of a contact, which brings a
#: session with it, so the number falls only where a known device renews its session. Never more than a twentieth: to a
#: small session ten keys are much.
_KEYS_USED_UP = 10
_KEYS_USED_UP_SHARE = 0.05


class StopApplication(Step[FailoverContext]):
    """The one writer ends here, before anybody else may write."""

    name = "stop"
    title = "stop the application"
    budget_seconds = 40.0

    def holds(self, context: FailoverContext, result: Result) -> bool:
        return bool(context.state().done("start")) or not context.service.status().running

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        before = context.result("preflight").get("service", {})
        _refuse_if_it_ran_again(context)
        # From the moment it is told to stop it answers nobody; a resumed run has been down since the first time.
        stopped_at = context.result_or_empty("stop").get("stopped_at") or time.time()
        notes.keep(was_running=before.get("running", True), stopped_at=stopped_at, pids=before.get("pids", []))
        context.service.stop()
        return {"was_running": before.get("running", True), "pids": before.get("pids", []), "stopped_at": stopped_at}

    def verify(self, context: FailoverContext, result: Result) -> None:
        alive = [pid for pid in result["pids"] if is_alive(pid)]
        if alive:
            raise ApplicationError(
                f"pid {alive[0]} still lives",
                operation="stop service",
                subject=context.settings.application.service.name,
                hint="end it by hand: two writers would destroy the session",
            )

    def undo(self, context: FailoverContext, result: Result) -> None:
        """Back where its sessions live, as it was: running only if it ran before. A run that moved one more company
        finds the application on the new store, and leaves it there.
        """
        if not result.get("was_running", True):
            return
        if context.state().done(self.name):
            # The old process has ended; one that runs now was started by somebody else, with flags of its own.
            if context.service.status().running:
                context.service.stop()
        elif _runs_as_before(context, result.get("pids", [])):
            return
        context.service.start(context.flags(context.store_in_use()))


def _refuse_if_it_ran_again(context: FailoverContext) -> None:
    """Between a stop and a later resume a reboot may have started the application again, on the store that its flags
    still name. What it wrote there since is in no copy of ours.
    """
    state = context.state()
    if not state.done("stop") or "start" in state.started:
        return
    status = context.service.status()
    if not status.running or _runs_on_target(context, status.pids):
        return
    raise StepFailed(
        f"the application was started again after it was stopped, and ran on {context.origin_store} since",
        operation="stop service",
        subject=context.settings.application.service.name,
        hint="this run's copies are older than its sessions: take the run back with undo, then begin a new one",
    )


def _runs_on_target(context: FailoverContext, pids: Sequence[int]) -> bool:
    """By .env and by the process's own environment, which wins over it."""
    flags = dict(context.flags(context.target))
    in_file = read_values(EnvFile(context.settings.application.env_path).read(), list(flags))
    return in_file == flags and not any(wrong_flags(pid, flags, strict=False) for pid in pids)


def _runs_as_before(context: FailoverContext, pids: Sequence[int]) -> bool:
    """A stop that had no effect at all: the old process serves its sessions as ever.

    A process that was told to stop and still shuts down would be a second writer beside the one started now, so it is
    waited for. Raises ApplicationError when it neither ends nor serves.
    """
    service, name = context.service, context.settings.application.service.name
    if wait_for(lambda: not _still_there(service, pids), _SHUTDOWN_SECONDS):
        return False
    health = context.health(context.store_in_use())
    if any(each.connection == OPEN for each in health.companies.values()):
        return True
    raise ApplicationError(
        f"it was told to stop and still lives after {_SHUTDOWN_SECONDS:g} s"
        + (f" (pid {', '.join(map(str, pids))})" if pids else ""),
        operation="start service",
        subject=name,
        hint="end it by hand if it hangs, then: baileys-resilience failover undo",
    )


def _still_there(service: Service, pids: Sequence[int]) -> bool:
    return any(is_alive(pid) for pid in pids) if pids else service.status().running


class RecordStore(Step[FailoverContext]):
    """Durable on this host before the new writer starts; in PostgreSQL too when it answers."""

    name = "record_store"
    title = "record where the sessions live"
    budget_seconds = 15.0

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        companies = moved_companies(context)
        # Of the first attempt: a run that was cut off behind the move would note the new store as the old one.
        earlier = context.result_or_empty(self.name).get("before")
        before = earlier or {company: asdict(context.record.get(company)) for company in companies}
        notes.keep(before=before)
        places = (
            {company: str(context.home.directory(company)) for company in companies} if context.target == FILES else {}
        )
        exported = context.result_or_empty("export").get("sessions", {})
        moved = context.record.move(
            companies,
            context.target,
            by=context.run_id,
            places=places,
            copied_from={company: session["epoch"] for company, session in exported.items() if "epoch" in session},
        )
        return {
            "before": before,
            "stores": {c: asdict(e) for c, e in moved.items()},
            "published": _publish(context, companies),
        }

    def verify(self, context: FailoverContext, result: Result) -> None:
        wrong = [company for company in result["stores"] if context.record.get(company).store != context.target]
        if wrong:
            raise VerificationFailed(
                f"the record does not say {context.target} for {companies_text(wrong)}",
                operation="record store",
                subject=str(context.record.path),
                hint="somebody else wrote the record: see the journals under runs/",
            )

    def undo(self, context: FailoverContext, result: Result) -> None:
        before = {company: StoreOfRecord(**entry) for company, entry in result.get("before", {}).items()}
        context.record.restore(before, by=f"undo of {context.run_id}")
        _publish(context, list(before))


def _publish(context: FailoverContext, companies: Sequence[str]) -> str:
    """Tell PostgreSQL, if it answers. Returns "yes" or why not: the record on this host is the one that counts, and
    the mirror's service tells PostgreSQL later what it was not told now.
    """
    sources = context.result_or_empty("choose_source").get("sources")
    if sources and not any(source["kind"] == "primary" and source["answers"] for source in sources):
        return NO_ANSWER
    try:
        return reconcile(context.record, context.settings.database, context.settings.host, companies).sentence
    except ResilienceError as exc:
        return exc.cause


class SwitchCode(Step[FailoverContext]):
    """Two renames; everything slow was done by the preparation."""

    name = "switch_code"
    title = "switch the code"
    budget_seconds = 20.0

    def holds(self, context: FailoverContext, result: Result) -> bool:
        return not context.switches_code or context.code.on_files() == (context.target == FILES)

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        if not context.switches_code:
            return {"switched": False, "reason": "the deployed code runs on both stores"}
        earlier = context.result_or_empty("switch_code")
        origin = earlier.get("origin") or str(context.code.origin())
        # Another run may have switched it before, for other companies: then there is nothing for an undo to take back.
        was_there = earlier.get("was_there", context.code.on_files() == (context.target == FILES))
        notes.keep(origin=origin, was_there=was_there)
        if context.target == FILES:
            context.code.to_files(Path(origin))
        else:
            context.code.to_origin(Path(origin))
        git = context.code.repair_git()
        return {"switched": not was_there, "origin": origin, "was_there": was_there, "git": git}

    def verify(self, context: FailoverContext, result: Result) -> None:
        if context.switches_code and context.code.on_files() != (context.target == FILES):
            raise VerificationFailed(
                "the application's directory does not lead to the code meant",
                operation="switch code",
                subject=context.settings.application.dir,
                hint="look at it with ls -l",
            )

    def undo(self, context: FailoverContext, result: Result) -> None:
        if not context.switches_code or "origin" not in result or result.get("was_there"):
            return
        if context.target == FILES:
            context.code.to_origin(Path(result["origin"]))
        else:
            context.code.to_files(Path(result["origin"]))
        context.code.repair_git()


class SwitchEnv(Step[FailoverContext]):
    name = "switch_env"
    title = "switch the flags in .env"
    budget_seconds = 10.0

    def holds(self, context: FailoverContext, result: Result) -> bool:
        flags = dict(context.flags(context.target))
        return read_values(EnvFile(context.settings.application.env_path).read(), list(flags)) == flags

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        env = EnvFile(context.settings.application.env_path)
        content = env.read()
        flags = context.flags(context.target)
        # The undo needs the old values, not the old file: it holds passwords, and the journal must not.
        first = context.result_or_empty("switch_env").get("before") or remembered(content, list(flags))
        notes.keep(before=first)
        changed = changed_content(content, flags)
        if changed != content:
            env.write(changed)
        return {"before": first, "flags": dict(flags), "changed": changed != content}

    def verify(self, context: FailoverContext, result: Result) -> None:
        if not self.holds(context, result):
            raise VerificationFailed(
                "the flags are not as written",
                operation="switch .env",
                subject=str(context.settings.application.env_path),
                hint="another program rewrites the file: stop it",
            )

    def undo(self, context: FailoverContext, result: Result) -> None:
        before = result.get("before")
        if before is None:
            return
        env = EnvFile(context.settings.application.env_path)
        content = env.read()
        restored = restored_content(content, list(context.flags(context.target)), before)
        if restored != content:
            env.write(restored)


class StartApplication(Step[FailoverContext]):
    name = "start"
    title = "start the application on the new store"
    budget_seconds = 45.0

    def holds(self, context: FailoverContext, result: Result) -> bool:
        return context.service.status().running

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        log_file = context.result("preflight").get("service", {}).get("log_file", "")
        health = context.settings.application.health_on(context.target)
        log_file = health.log_file or log_file
        offset = log_size(log_file)
        notes.keep(log_file=log_file, log_offset=offset, started=True)
        status = context.service.start(context.flags(context.target))
        return {"log_file": log_file, "log_offset": offset, "started": True, "pids": list(status.pids)}

    def undo(self, context: FailoverContext, result: Result) -> None:
        if result.get("started"):
            context.service.stop()


class VerifyConnection(Step[FailoverContext]):
    """Success is judged per company against its state before: one that was logged out before is not a failure."""

    name = "verify_connection"
    title = "verify that every session is connected"

    def __init__(self, deadline_seconds: float) -> None:
        self.deadline_seconds = deadline_seconds
        self.budget_seconds = deadline_seconds + 15.0

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        started = context.result_or_empty("start")
        probe = context.probe(
            context.target, log_file=started.get("log_file", ""), log_offset=int(started.get("log_offset", 0))
        )
        companies = moved_companies(context)
        limit = time.monotonic() + self.deadline_seconds
        no_return = bool(context.state().no_return)
        while True:
            health = probe.ask(context.settings.companies)
            verdicts = {company: self._judge(context, health, company) for company in companies}
            if not no_return and any(verdict == OPEN for verdict, _why in verdicts.values()):
                notes.no_return("a session is connected from the new store")
                no_return = True
            waiting = [company for company, (verdict, _why) in verdicts.items() if verdict == "waiting"]
            if not waiting or time.monotonic() > limit:
                return self._conclude(context, verdicts, health)
            time.sleep(_POLL_SECONDS)

    def _judge(self, context: FailoverContext, health: ApplicationHealth, company: str) -> Tuple[str, str]:
        """(open | waiting | excused, why) for one company."""
        now = health.company(company)
        before = context.result("preflight").get("health", {}).get(company, {})
        if now.connection == OPEN and now.store in (None, context.target):
            expected = context.result_or_empty("verify").get("keys", {}).get(company)
            if now.keys is not None and expected and expected - now.keys > _may_be_used_up(expected):
                return "waiting", f"it loaded {now.keys} of {expected} keys"
            return OPEN, ""
        if before.get("connection") == LOGGED_OUT or now.connection == LOGGED_OUT == before.get("connection"):
            return "excused", "it was logged out before"
        if now.connection == OPEN:
            return "waiting", f"it is connected from {now.store}"
        return "waiting", now.last_error or health.problem or f"connection is {now.connection}"

    def _conclude(
        self, context: FailoverContext, verdicts: Dict[str, Tuple[str, str]], health: ApplicationHealth
    ) -> Result:
        failed = {company: why for company, (verdict, why) in verdicts.items() if verdict == "waiting"}
        connected = [company for company, (verdict, _why) in verdicts.items() if verdict == OPEN]
        # Past the point of no return this must not keep the run open: it could be neither completed nor undone, and
        # the way back waits behind it.
        if failed and not connected and not context.state().no_return:
            first = sorted(failed)[0]
            raise ApplicationError(
                f"no session connected within {self.deadline_seconds:g} s (company {first}: {failed[first]})",
                operation="verify connection",
                subject=context.settings.application.service.name,
                hint="see the application's log",
            )
        return {
            "connected": connected,
            "failed": failed,
            "excused": {company: why for company, (verdict, why) in verdicts.items() if verdict == "excused"},
            "keys_loaded": {company: health.company(company).keys for company in connected},
            "degraded": _degraded(context, health, connected),
            "downtime_seconds": round(time.time() - context.result("stop")["stopped_at"], 3),
        }


def _may_be_used_up(keys: int) -> float:
    return min(_KEYS_USED_UP, keys * _KEYS_USED_UP_SHARE)


def _degraded(context: FailoverContext, health: ApplicationHealth, connected: Sequence[str]) -> List[str]:
    """PM2 and systemd tell the process, whose environment was looked into at the start. Where nobody tells, only the
    application can say which store it uses; a log says it by a pattern of its own (see settings).
    """
    asked = context.settings.application.health_on(context.target).kind != "log"
    silent = [company for company in connected if health.company(company).store is None]
    if context.result_or_empty("start").get("pids") or not asked or not silent:
        return []
    return [
        f"nobody can tell which store the process uses (company {companies_text(silent)}): the service manager names no"
        " process, and the application's health no store"
    ]


def moved_companies(context: FailoverContext) -> List[str]:
    """The companies whose data are in the new store, proven: what ``verify`` says."""
    return list(context.result("verify")["companies"])


def check_service(context: FailoverContext) -> ServiceStatus:
    """The service as it is. Raises what keeps it from being stopped and started, and ApplicationError when a switch of
    the code would not reach it.
    """
    status = context.service.status()
    application = context.settings.application
    directory = application.dir.rstrip("/")
    through = [place for place in status.runs_from if f"{place.rstrip('/')}/".startswith(f"{directory}/")]
    if context.switches_code and status.runs_from and not through:
        raise ApplicationError(
            f"the service runs {status.script or ' '.join(status.runs_from)}, which is not below application.dir",
            operation="find service",
            subject=application.service.name,
            hint=f"set application.dir to the directory that it runs from (now {application.dir})",
        )
    return status


def preflight_service(context: FailoverContext) -> Dict[str, Any]:
    """The service and the sessions as they are before anything is touched."""
    status = check_service(context)
    health = context.health(context.origin_store)
    return {
        "service": {
            "running": status.running,
            "pids": list(status.pids),
            "log_file": status.log_file,
            "script": status.script,
        },
        "health": {
            company: asdict(each) for company, each in health.companies.items() if company in context.settings.companies
        },
        "health_answered": health.answered,
        "hostname": socket.gethostname(),
    }
