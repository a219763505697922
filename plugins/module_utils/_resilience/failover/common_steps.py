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
from typing import Any, Dict, List, Mapping, Tuple

from ..errors import ApplicationError, ResilienceError, VerificationFailed
from ..sessions.record import FILES, StoreOfRecord, publish
from ..steps.engine import Notes, Result, Step
from .context import FailoverContext, companies_text
from .envfile import EnvFile, changed_content, read_values, remembered, restored_content
from .health import LOGGED_OUT, OPEN, ApplicationHealth, log_size
from .processes import identity_of, is_alive

_POLL_SECONDS = 0.05
#: Baileys consumes a few pre-keys as soon as it is online; a larger gap means that keys were not loaded.
_KEYS_LOADED_SHARE = 0.95


class StopApplication(Step[FailoverContext]):
    """The one writer ends here, before anybody else may write."""

    name = "stop"
    title = "stop the application"

    def __init__(self, stop_seconds: float) -> None:
        self.budget_seconds = stop_seconds + 25.0

    def holds(self, context: FailoverContext, result: Result) -> bool:
        return bool(context.state().done("start")) or not context.service.status().running

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        before = context.result("preflight").get("service", {})
        context.service.status()  # PM2 takes 0.25 s to say which process it is: asked while that still runs
        # From the moment it is told to stop it answers nobody; a resumed run has been down since the first time.
        stopped_at = context.result_or_empty("stop").get("stopped_at") or time.time()
        notes.keep(was_running=before.get("running", True), stopped_at=stopped_at)
        context.service.stop()
        noted = {name: before.get(name, default) for name, default in (("pids", []), ("identities", {}))}
        return {"was_running": before.get("running", True), **noted, "stopped_at": stopped_at}

    def verify(self, context: FailoverContext, result: Result) -> None:
        # After a reboot, or much later, the number may be that of somebody else.
        known = result.get("identities", {})
        alive = [pid for pid in result["pids"] if is_alive(pid) and known.get(str(pid)) in (None, identity_of(pid))]
        if alive:
            raise ApplicationError(
                f"pid {alive[0]} still lives",
                operation="stop service",
                subject=context.settings.application.service.name,
                hint="end it by hand, then resume: two writers would destroy the session",
            )

    def undo(self, context: FailoverContext, result: Result) -> None:
        """Back where its sessions live, as it was: running only if it ran before. A run that moved one more company
        finds the application on the new store, and leaves it there.
        """
        if result.get("was_running", True):
            context.service.start(context.flags(context.store_in_use()))


class RecordStore(Step[FailoverContext]):
    """Durable on this host before the new writer starts; in PostgreSQL too when it answers."""

    name = "record_store"
    title = "record where the sessions live"
    budget_seconds = 15.0

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        companies = moved_companies(context)
        before = {company: asdict(context.record.get(company)) for company in companies}
        notes.keep(before=before)
        places = (
            {company: str(context.home.directory(company)) for company in companies} if context.target == FILES else {}
        )
        moved = context.record.move(companies, context.target, by=context.run_id, places=places)
        return {
            "before": before,
            "stores": {c: asdict(e) for c, e in moved.items()},
            "published": _publish(context, moved),
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
        _publish(context, {company: context.record.get(company) for company in before})


def _publish(context: FailoverContext, entries: Mapping[str, StoreOfRecord]) -> str:
    """Tell PostgreSQL, if it answers. Returns "yes" or why not: the record on this host is the one that counts."""
    sources = context.result_or_empty("choose_source").get("sources")
    if sources and not any(source["kind"] == "primary" and source["answers"] for source in sources):
        return "PostgreSQL does not answer"
    try:
        publish(context.settings.database, entries, context.settings.host)
    except ResilienceError as exc:
        return exc.cause
    return "yes"


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
                hint="look at it with ls -l, then resume or undo",
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
                hint="another program rewrites the file: stop it, then resume",
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

    def __init__(self, stop_seconds: float) -> None:
        self.budget_seconds = 45.0 + stop_seconds  # an undo stops it

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
            if now.keys is not None and expected and now.keys < expected * _KEYS_LOADED_SHARE:
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
                hint="see the application's log; the run can still be undone",
            )
        return {
            "connected": connected,
            "failed": failed,
            "excused": {company: why for company, (verdict, why) in verdicts.items() if verdict == "excused"},
            "keys_loaded": {company: health.company(company).keys for company in connected},
            "downtime_seconds": round(time.time() - context.result("stop")["stopped_at"], 3),
        }


def moved_companies(context: FailoverContext) -> List[str]:
    """The companies whose data are in the new store, proven: what ``verify`` says."""
    return list(context.result("verify")["companies"])


def preflight_service(context: FailoverContext) -> Dict[str, Any]:
    """The service and the sessions as they are before anything is touched."""
    status = context.service.status()
    application = context.settings.application
    if context.switches_code and status.script and not status.script.startswith(application.dir.rstrip("/") + "/"):
        raise ApplicationError(
            f"the service runs {status.script}, which is not below application.dir",
            operation="find service",
            subject=application.service.name,
            hint=f"set application.dir to the directory that it runs from (now {application.dir})",
        )
    health = context.health(context.origin_store)
    return {
        "service": {
            "running": status.running,
            "pids": list(status.pids),
            "identities": {str(pid): identity_of(pid) for pid in status.pids},
            "log_file": status.log_file,
            "script": status.script,
        },
        "health": {
            company: asdict(each) for company, each in health.companies.items() if company in context.settings.companies
        },
        "health_answered": health.answered,
        "health_pid": health.pid,
        "hostname": socket.gethostname(),
    }
