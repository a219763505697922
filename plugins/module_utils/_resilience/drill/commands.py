# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What `baileys-resilience drill ...` does: the stages that the playbook failover_drill calls, and two for a human:
``status`` and ``heal``.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping

from ..errors import UsageError
from ..failover.settings import FailoverSettings
from ..sessions.record import FILES, POSTGRES
from .broken import BrokenHost
from .detection import wait_for_answer
from .record import headline
from .stages import Drill

ACTIONS = ("status", "heal", "plan", "begin", "watch", "check", "await-answer", "await-store", "end")


@dataclass(frozen=True)
class Told:
    content: Mapping[str, Any]
    lines: List[str]
    exit_code: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=ACTIONS,
        help="status and heal are for you; the others are stages of the playbook failover_drill",
    )
    parser.add_argument("--store", choices=(FILES, POSTGRES), default=FILES, help="with check and await-store")
    parser.add_argument("--seconds", type=float, default=60.0, help="with watch and await-*: at most (default: 60)")
    parser.add_argument("--fault-dir", metavar="DIR", help="with heal: what is broken here (default: <state>/drill)")


def dispatch(options: argparse.Namespace, settings: FailoverSettings) -> Told:
    drill = Drill(settings)
    action = options.action
    if action == "status":
        return _status(drill, _broken(options, settings))
    if action == "heal":
        healed = _broken(options, settings).heal_it(f"{getpass.getuser()} by hand")
        said = (
            f"healed: {healed.sentence}, broken since {healed.since}" if healed else "nothing is broken by a drill here"
        )
        return Told({"changed": healed is not None, "healed": asdict(healed) if healed else None}, [said])
    if action == "plan":
        refusals = drill.refusals()
        lines = [f"REFUSED: {each}" for each in refusals] or ["a drill may begin now"]
        return Told({"refusals": refusals}, lines, 11 if refusals else 0)
    if action == "begin":
        begun = drill.begin(_told())
        return Told({"drill": begun.drill, "companies": begun.companies}, [f"drill {begun.drill} has begun"])
    if action == "watch":
        found = drill.watch(options.seconds)
        return Told(found.as_dict(), [f"dead after {found.seconds} s: {found.said}"])
    if action == "check":
        judged = drill.check(options.store)
        lines = [f"company {company}: {_counted(each)}" for company, each in judged.items()]
        return Told({"companies": judged}, lines)
    if action == "await-answer":
        seconds = wait_for_answer(settings, options.seconds)
        return Told({"seconds": seconds}, [f"the database answers, after {seconds} s"])
    if action == "await-store":
        seconds = drill.wait_for_store(options.store, options.seconds)
        return Told({"seconds": seconds}, [f"every company is on {options.store}, after {seconds} s"])
    ended = drill.end(_told())
    return Told(ended, [headline(ended["record"]), "", ended["markdown"]])


def _broken(options: argparse.Namespace, settings: FailoverSettings) -> BrokenHost:
    return BrokenHost(Path(options.fault_dir) if options.fault_dir else settings.state / "drill")


def _status(drill: Drill, host: BrokenHost) -> Told:
    open_drill, broken = drill.current(), host.current()
    content: Dict[str, Any] = {"open": None, "broken": asdict(broken) if broken else None}
    lines = []
    if open_drill:
        named = ("drill", "operator", "began_at", "max_seconds", "fault", "by", "over")
        content["open"] = {name: getattr(open_drill, name) for name in named}
        over = ", and its time is over" if open_drill.over else ""
        lines.append(f"OPEN: {open_drill.drill} by {open_drill.operator} since {open_drill.began_at}{over}")
    if broken:
        lines.append(
            f"BROKEN: {broken.fault['kind']} since {broken.since}; the watch heals {broken.max_seconds:g} s after that"
        )
    return Told(content, lines or ["no drill is open, and none has broken this host"])


def _counted(judged: Mapping[str, Any]) -> str:
    names = ("same", "moved", "new", "gone")
    return f"{judged['keys']} keys: " + ", ".join(f"{judged[name]} {name}" for name in names)


def _told() -> Mapping[str, Any]:
    """What the playbook says, on stdin: sentences of others are no words for a command line."""
    try:
        content = json.load(sys.stdin)
    except ValueError as exc:
        raise _wrong(f"stdin holds no JSON: {exc}") from exc
    if not isinstance(content, dict):
        raise _wrong("stdin holds no object")
    return content


def _wrong(cause: str) -> UsageError:
    return UsageError(cause, operation="drill", hint="this is a stage of the playbook failover_drill; run that")
