# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Steps that failover and failback share: record the store, switch the code, switch the flags, start. The stop and the
connection have files of their own.
"""

from __future__ import annotations

import socket
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, Mapping, Sequence

from .._thirdparty import require
from ..errors import ApplicationError, ResilienceError, VerificationFailed
from ..postgres import connect_within
from ..sessions.published import read_published, reconcile
from ..sessions.record import FILES, StoreOfRecord
from ..steps.engine import Notes, Result, Step
from .context import FailoverContext, companies_text
from .envfile import EnvFile, changed_content, read_values, remembered, restored_content
from .health import log_size
from .live import choose_mode, seal
from .live_steps import all_went_over, let_go_on, still_sealed
from .processes import identity_of
from .services import ServiceStatus

#: why the record was not copied to PostgreSQL, where nobody expects that it is
NO_ANSWER = "PostgreSQL does not answer"
_TOLD_SECONDS = 1.0


class RecordStore(Step[FailoverContext]):
    """Durable on this host before the new writer starts; in PostgreSQL too when it answers."""

    name = "record_store"
    title = "record where the sessions live"
    budget_seconds = 15.0

    def holds(self, context: FailoverContext, result: Result) -> bool:
        return not context.live or bool(context.state().no_return) or still_sealed(context)

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        companies = context.moved_companies()
        if context.live:
            seal(context, companies)
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
        told = result.get("published") != NO_ANSWER or _is_told(context, before)
        context.record.restore(before, by=f"undo of {context.run_id}", told=told)
        _publish(context, list(before))


def _is_told(context: FailoverContext, before: Mapping[str, StoreOfRecord]) -> bool:
    """Whether PostgreSQL came back meanwhile and was told by the mirror's service."""
    try:
        connection = connect_within(
            context.settings.database, _TOLD_SECONDS, operation="read published store of record"
        )
    except ResilienceError:
        return False
    try:
        with connection.cursor() as cursor:
            published = read_published(cursor, list(before))
    except (ResilienceError, require("psycopg2").Error):
        return True  # nobody can say: then what is told later has to be newer
    finally:
        connection.close()
    return any(published[company].epoch > entry.epoch for company, entry in before.items() if company in published)


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
    title = "start the application on the new store, or let it go on there"

    def __init__(self, stop_seconds: float) -> None:
        # An undo stops it; and where running sessions did not go on, all of their commits were waited for first.
        self.budget_seconds = 75.0 + stop_seconds

    def holds(self, context: FailoverContext, result: Result) -> bool:
        return all_went_over(context) if context.live else context.service.status().running

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        if context.live:
            return let_go_on(context, notes)
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
    """The service and the sessions as they are before anything is touched, and how they will move."""
    status = check_service(context)
    mode = choose_mode(context)
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
        "mode": mode.name,
        "why_not_live": mode.why_not_live,
    }
