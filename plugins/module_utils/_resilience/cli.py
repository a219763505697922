# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The command ``baileys-resilience``: the same library for a human on a host, for cron and for systemd.

Results go to stdout (``--json`` for machines), what happens meanwhile to stderr. Exit codes are those of
docs/errors.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from . import __version__
from .automatic import commands as automatic
from .cleanup import commands as cleanup
from .cleanup.plan import CleanupSettings
from .cleanup.telling import Teller
from .drill import commands as drill
from .errors import ResilienceError, UsageError
from .failover.configuration import load_settings
from .failover.contacts import need_contacts
from .failover.copies import expire_copies, list_copies
from .failover.daily_check import check_readiness, tell
from .failover.live import AUTO, LIVE, RESTART
from .failover.mirror import commands as mirror
from .failover.mirror import install_change_log
from .failover.operations import Operation, Outcome
from .failover.settings import FailoverSettings
from .failover.source_reports import ORDER
from .health.monitor import arguments as monitor
from .progress import JsonLines, Progress, Terminal
from .sessions.published import create_schema, reconcile
from .sessions.record import StoreRecord
from .sessions.session_tables import create_session_tables

DEFAULT_CONFIG = "/etc/baileys-resilience/failover.json"
INTERRUPTED = 130

Handler = Callable[[argparse.Namespace, FailoverSettings, Progress], "Answer"]


class Answer:
    """What a command found: an object for ``--json``, lines for a human, and the exit code."""

    def __init__(self, content: Mapping[str, Any], lines: Sequence[str], exit_code: int = 0) -> None:
        self.content = content
        self.lines = lines
        self.exit_code = exit_code


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one command; returns its exit code. Errors are one sentence on stderr (an object with ``--json``)."""
    options = _parser().parse_args(arguments)
    progress: Progress = JsonLines() if options.json else Terminal()
    try:
        answer = _answer(options, progress)
    except ResilienceError as exc:
        _write(sys.stderr, [json.dumps(exc.as_dict()) if options.json else f"ERROR: {exc}"])
        return exc.exit_code
    except KeyboardInterrupt:
        _write(sys.stderr, ["interrupted; baileys-resilience failover status says what is open"])
        return INTERRUPTED
    as_json = [json.dumps(answer.content, default=str, sort_keys=True)] if answer.content else []
    text = as_json if options.json else list(answer.lines)
    _write(sys.stdout, text)
    return answer.exit_code


def _answer(options: argparse.Namespace, progress: Progress) -> Answer:
    if options.command in monitor.COMMANDS:
        told = monitor.dispatch(options, progress)
        return Answer(told.content, told.lines, told.exit_code)
    path = options.config or os.environ.get("BAILEYS_RESILIENCE_CONFIG", DEFAULT_CONFIG)
    return _HANDLERS[options.command](options, load_settings(Path(path)), progress)


def _write(stream: Any, lines: Sequence[str]) -> None:
    with contextlib.suppress(OSError):  # nobody reads any more; the exit code and the report still tell
        stream.write("".join(f"{line}\n" for line in lines))
        stream.flush()


def _operation(options: argparse.Namespace, settings: FailoverSettings, progress: Progress) -> Answer:
    policy = settings.policy
    given = {
        "confirm": options.confirm,
        "operator": options.operator,
        "source": options.source,
        "accept_data_loss": options.accept_data_loss or None,
        "newer_rows": options.newer_rows,
        "mode": options.mode,
        "cooldown_seconds": options.cooldown,
    }
    policy = replace(policy, **{name: value for name, value in given.items() if value is not None})
    operation = Operation(replace(settings, policy=policy), options.command, progress=progress)
    if options.action == "plan":
        plan = operation.plan()
        return Answer(plan.as_dict(), plan.sentences(), 11 if plan.blocked else 0)
    if options.action == "status":
        status = operation.status()
        return Answer(status, _status_lines(status))
    # A connection to the host that breaks must not end what has stopped the application.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if options.action == "undo":
        return _outcome(operation.undo(options.reason))
    return _outcome(operation.run() if options.action == "run" else operation.resume())


def _outcome(outcome: Outcome) -> Answer:
    content = {
        "operation": outcome.operation,
        "run": outcome.run,
        "changed": outcome.changed,
        "message": outcome.message,
        "report": outcome.report,
    }
    partial = bool(outcome.report and outcome.report["outcome"] == "partial")
    return Answer(
        content,
        [outcome.message, "", outcome.markdown] if outcome.markdown else [outcome.message],
        11 if partial else 0,
    )


def _status_lines(status: Mapping[str, Any]) -> List[str]:
    lines = [
        f"company {name}: {e['store']}, epoch {e['epoch']}, since {e['since'] or 'ever'}"
        for name, e in status["companies"].items()
    ]
    run = status["open_run"]
    if run:
        lines.append(f"OPEN: {run['operation']} {run['run']} by {run['operator']} since {run['since']}")
    return lines


def _check(options: argparse.Namespace, settings: FailoverSettings, progress: Progress) -> Answer:
    """The daily question: would a failover work now? What has expired goes too, since a mirror need not run here."""
    found = check_readiness(Operation(settings, "failover", progress=progress))
    lines = [f"PROBLEM: {each}" for each in found.problems] or ["a failover would work now"]
    lines += [f"degraded: {each}" for each in found.degraded]
    told = [each.as_dict() for each in tell(settings, found)] if options.notify and found.problems else []
    lines += [f"{each['service']}: {each['detail']}" for each in told]
    removed: List[str] = []
    note = ""
    try:
        removed = [str(path) for path in expire_copies(settings)]
    except ResilienceError as exc:
        note = str(exc)
    lines += [f"removed, expired: {path}" for path in removed] + ([f"note: {note}"] if note else [])
    content = {
        "ready": not found.problems, "problems": found.problems, "degraded": found.degraded, "notified": told,
        "removed": removed, "note": note,
    }  # fmt: skip
    return Answer(content, lines, 3 if found.problems else 0)


def _prepare(options: argparse.Namespace, settings: FailoverSettings, progress: Progress) -> Answer:
    from .failover.code import prepare

    result = dict(prepare(settings))
    state = "prepared" if result["changed"] else "was prepared already"
    return Answer(
        result, [f"{result['source']}: {state} {result.get('commit', '')[:12]} {result.get('worktree', '')}".rstrip()]
    )


def _store(options: argparse.Namespace, settings: FailoverSettings, progress: Progress) -> Answer:
    record = StoreRecord(settings.state)
    told = ""
    if options.action == "set":
        companies = _named(options.company, settings, "set store")
        record.move(companies, options.to, by="by hand", places={})
        told = _publish_by_hand(record, settings, companies)
    entries = {company: vars(record.get(company)) for company in settings.companies}
    lines = _status_lines({"companies": entries, "open_run": None}) + ([told] if told else [])
    return Answer({"companies": entries, "not_published": told}, lines)


def _publish_by_hand(record: StoreRecord, settings: FailoverSettings, companies: Sequence[str]) -> str:
    """Tell PostgreSQL what a human has decided. Returns why not: the record on this host counts all the same."""
    try:
        reconcile(record, settings.database, settings.host, companies, by_hand=True)
    except ResilienceError as exc:
        return f"PostgreSQL was not told: {exc.cause}. Once it answers, the mirror's service tells it"
    return ""


def _named(companies: Optional[Sequence[str]], settings: FailoverSettings, operation: str) -> List[str]:
    foreign = sorted(set(companies or ()) - set(settings.companies))
    if foreign:
        raise UsageError(
            "is not on this host's list",
            operation=operation,
            subject=f"company {foreign[0]}",
            hint=f"the companies of {settings.host} are {', '.join(settings.companies)}",
        )
    return list(companies or settings.companies)


def _copies(options: argparse.Namespace, settings: FailoverSettings, progress: Progress) -> Answer:
    removed = expire_copies(settings) if options.prune else []
    found = list_copies(settings)
    lines = [
        f"{c.kind}\t{c.path}\t{c.files} files\t{c.bytes} bytes\t{c.owner}\t{c.mode}\texpires {c.expires_at or 'never'}"
        f"\t{c.rule}"
        for c in found
    ]
    lines += [f"removed\t{path}" for path in removed]
    return Answer({"copies": [vars(each) for each in found], "removed": [str(p) for p in removed]}, lines)


def _contacts(options: argparse.Namespace, settings: FailoverSettings, progress: Progress) -> Answer:
    contacts = need_contacts(settings.contacts, settings.host)
    lines = [line for each in contacts for line in each.lines()]
    return Answer({"contacts": [vars(each) for each in contacts]}, lines)


def _init_db(options: argparse.Namespace, settings: FailoverSettings, progress: Progress) -> Answer:
    from .postgres import session

    made: List[str] = []
    with session(settings.database, operation="create schema") as (connection, _deadline):
        with connection.cursor() as cursor:
            if options.session_tables:
                made = create_session_tables(cursor, settings.tables)
            changed = create_schema(cursor) or bool(made)
            if options.change_log:
                # It waits for transactions that write keys, and every later writer would wait behind it.
                cursor.execute("SET LOCAL lock_timeout = '5s'")
                changed = install_change_log(cursor, settings.tables) or changed
        connection.commit()
    return Answer(
        {"schema": "baileys_resilience", "where": settings.database.where, "changed": changed, "tables_made": made},
        [
            *(f"table {name}: made, empty" for name in made),
            f"schema baileys_resilience is in {settings.database.where}",
        ],
    )


def _mirror(options: argparse.Namespace, settings: FailoverSettings, progress: Progress) -> Answer:
    found = mirror.dispatch(
        options.action,
        settings,
        progress,
        interval_seconds=options.interval,
        company=options.company,
        use_change_log=options.change_log,
        age_file=options.age_file,
    )
    return Answer(found.as_dict(), found.lines(), found.exit_code)


def _drill(options: argparse.Namespace, settings: FailoverSettings, progress: Progress) -> Answer:
    told = drill.dispatch(options, settings)
    return Answer(told.content, told.lines, told.exit_code)


def _automatic(options: argparse.Namespace, settings: FailoverSettings, progress: Progress) -> Answer:
    told = automatic.dispatch(options, settings, progress)
    return Answer(told.content, told.lines, told.exit_code)


def _cleanup(options: argparse.Namespace, settings: FailoverSettings, progress: Progress) -> Answer:
    teller = Teller(settings.notify, settings.state, settings.host, settings.companies)
    with teller.failures() if options.apply and options.notify else contextlib.nullcontext():
        chosen = CleanupSettings(
            settings.database,
            settings.tables,
            settings.state,
            cleanup.policy_of(options),
            _named(options.company, settings, "clean up"),
            options.cap,
            options.max_share,
            options.keep,
            orphan_days=options.orphans,
            archive_key_file=cleanup.key_file_of(options, settings.archive_key_file),
        )
        told = cleanup.dispatch(options, chosen, progress, teller)
    return Answer(told.content, told.lines, told.exit_code)


_HANDLERS: Dict[str, Handler] = {
    "failover": _operation,
    "failback": _operation,
    "check": _check,
    "prepare": _prepare,
    "store": _store,
    "copies": _copies,
    "contacts": _contacts,
    "init-db": _init_db,
    "mirror": _mirror,
    "drill": _drill,
    "auto-failover": _automatic,
    "cleanup": _cleanup,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="baileys-resilience", description="Keeps WhatsApp (Baileys) sessions alive when PostgreSQL fails."
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--config",
        default="",
        help=f"configuration (default: $BAILEYS_RESILIENCE_CONFIG or {DEFAULT_CONFIG}; of monitor, health and silence:"
        f" {monitor.DEFAULT_CONFIG})",
    )
    parser.add_argument("--json", action="store_true", help="answer with one JSON object")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (("failover", "PostgreSQL -> files"), ("failback", "files -> PostgreSQL")):
        _add_operation(commands.add_parser(name, help=text, description=f"{text}, on this host."))
    check = commands.add_parser("check", help="would a failover work now? (exit code 3: no)")
    check.add_argument("--notify", action="store_true", help="tell Sentry and Telegram when it would not")
    commands.add_parser("prepare", help="prepare the code that runs from files")
    store = commands.add_parser("store", help="where each company lives")
    store.add_argument("action", choices=("show", "set"))
    store.add_argument("--to", choices=("postgres", "files"), help="with set: only when the record is lost or wrong")
    store.add_argument("--company", action="append", help="with set: one company (repeatable; all by default)")
    copies = commands.add_parser("copies", help="every copy of session data on this host")
    copies.add_argument("--prune", action="store_true", help="remove those that have expired")
    commands.add_parser("contacts", help="whom to call, as the inventory says (exit code 3: it names nobody)")
    init = commands.add_parser("init-db", help="make the schema baileys_resilience in the database")
    init.add_argument("--change-log", action="store_true", help="also log changes, so that the mirror reads only these")
    init.add_argument("--session-tables", action="store_true", help="also make those session tables that are missing")
    follow = commands.add_parser("mirror", help="the live mirror")
    follow.add_argument("action", choices=mirror.ACTIONS)
    follow.add_argument(
        "--interval", type=float, default=10.0, metavar="SECONDS", help="with run: at most so far behind (default: 10)"
    )
    follow.add_argument("--change-log", action="store_true", help="read the change log that init-db --change-log made")
    follow.add_argument("--age-file", default="", help="publish the mirror's age there, for the monitor")
    follow.add_argument("--company", default="", help="with acknowledge: the company whose deletion was meant")
    monitor.add_arguments(
        commands.add_parser("monitor", help="watch database and applications, and tell of what is wrong"),
        commands.add_parser("health", help="how database and applications are: exit code 0 ok, 1 warning, 2 critical"),
        commands.add_parser("silence", help="maintenance: let the monitor tell nothing for a while"),
    )
    cleanup.add_arguments(
        commands.add_parser("cleanup", help="keys that may go: show them, delete them, put them back")
    )
    drill.add_arguments(commands.add_parser("drill", help="a drill of failover and failback: status, heal"))
    asked = "for systemd: the failover that the monitor asked for, if both signals are there"
    automatic.add_arguments(commands.add_parser("auto-failover", help=asked))
    return parser


def _add_operation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("plan", "run", "resume", "undo", "status"))
    parser.add_argument("--confirm", metavar="HOST", help="the inventory name of this host, or all; run needs it")
    parser.add_argument("--operator", metavar="NAME", help="who does this (default: you)")
    parser.add_argument("--source", choices=ORDER, help="pin the source")
    parser.add_argument("--mode", choices=(AUTO, LIVE, RESTART), help="move them while they run, or restart")
    parser.add_argument("--accept-data-loss", action="store_true", help="take a source or directory older than allowed")
    parser.add_argument("--newer-rows", choices=("refuse", "overwrite"), help="failback: rows written after the switch")
    parser.add_argument("--cooldown", type=float, metavar="SECONDS", help="time since the last run (default: 300)")
    parser.add_argument("--reason", default="by hand", help="with undo: why")


if __name__ == "__main__":
    raise SystemExit(main())
