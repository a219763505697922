# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `lab`. Results on stdout, progress and errors on stderr.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the lab is not in the state the command needs, 130 interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from . import faults, lifecycle
from .api import Lab
from .data_faults import VARIANTS
from .errors import LabError
from .progress import JsonLines, Silent, Terminal
from .state import PROJECT

DEFAULT_DIR = PROJECT / ".lab"


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    progress: Silent = JsonLines() if options.json else Terminal()
    # SIGTERM takes the same way out as Ctrl-C, so that `up` cleans up after both.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code: int = options.command(options, progress)
        return code
    except LabError as exc:
        if options.json:
            print(json.dumps({"error": exc.message, "hint": exc.hint, "exit_code": exc.exit_code}))
        print(f"lab: {exc}", file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return 130


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--json", action="store_true", help="the result as JSON on stdout, progress as JSON lines on stderr"
    )
    common.add_argument("--dir", type=Path, default=DEFAULT_DIR, help="the lab's folder (default: .lab in the project)")
    parser = argparse.ArgumentParser(prog="lab", description="The embedded lab of baileys.resilience.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, command: Callable[[argparse.Namespace, Silent], int], summary: str, **extra: Any
    ) -> argparse.ArgumentParser:
        found = commands.add_parser(name, parents=[common], help=summary, description=summary, **extra)
        found.set_defaults(command=command)
        return found

    make = add("up", _up, "make a lab and start everything in it")
    make.add_argument("--companies", type=int, default=1, metavar="N", help="how many companies (default 1)")
    make.add_argument("--ids", help="their ids, comma separated, instead of 962301, 962302, ...")
    make.add_argument("--no-app", action="store_true", help="database, proxy and receivers only")
    make.add_argument(
        "--no-client", action="store_true", help="an application that asks PostgreSQL at every step, without the client"
    )
    add("status", _status, "ask every part how it is; exit code 1 when something is wrong")
    table = "\n".join(f"  {name:16} {fault.summary}" for name, fault in faults.FAULTS.items())
    damage = add(
        "break",
        _break,
        "bring about one fault",
        epilog="faults:\n" + table,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    damage.add_argument("fault", metavar="FAULT", choices=list(faults.FAULTS), help="one of the list below")
    damage.add_argument("--company", default="", help="for faults in rows (default: the first)")
    damage.add_argument("--variant", choices=VARIANTS, default="tampered", help="for creds-corrupt")
    damage.add_argument("--delay-ms", type=int, default=faults.DEFAULT_DELAY_MS, help="for network-delay")
    add("heal", _heal, "undo every fault")
    add("down", _down, "end every process of the lab and remove its folder")
    return parser


def _up(options: argparse.Namespace, progress: Silent) -> int:
    ids = options.ids.split(",") if options.ids else options.companies
    lab = Lab.up(options.dir, ids, app=not options.no_app, client=not options.no_client, progress=progress)
    if options.json:
        print(json.dumps(dataclasses.asdict(lab)))
        return 0
    server = lab.need_postgres()
    print(f"lab in {lab.dir}")
    print(f"  companies   {', '.join(company.id for company in lab.companies)}")
    print(
        f"  PostgreSQL  {server.host}:{server.proxy_port} through the proxy, {server.direct_port} direct; "
        f"database {server.database}, user {server.user}; passwords in {lab.path / 'lab.json'}"
    )
    if lab.app is not None:
        print(f"  application {lab.app.health_url}")
    return 0


def _status(options: argparse.Namespace, progress: Silent) -> int:
    found = Lab.load(options.dir).status()
    if options.json:
        print(json.dumps(found))
        return 0 if found["ok"] else 1
    for name, part in found["parts"].items():
        print(f"{'ok ' if part['ok'] else 'BAD'}  {name:23} {part.get('error', '') or _brief(name, part)}")
    for fault in found["faults"]:
        print(f"fault {fault['name']} since {fault['since']}: {fault['detail']}")
    return 0 if found["ok"] else 1


def _brief(name: str, part: dict[str, Any]) -> str:
    if name.startswith("postgres"):
        return f"{part['version']} on port {part['port']}: {part['companies']} companies, {part['keys']} keys"
    if name == "standin":
        online = sum(1 for device in part["devices"] if device["connected"])
        return f"{online} of {len(part['devices'])} devices connected"
    if name == "app":
        return f"store {part['health']['store']}, {len(part['health']['companies'])} companies open"
    if name == "pm2":
        return ", ".join(f"{item['name']} {item['status']} (pid {item['pid']})" for item in part["processes"])
    if name == "receivers":
        return "record what Sentry and Telegram would get"
    return f"mode {part['mode']}, {part['connections']} connections"


def _break(options: argparse.Namespace, progress: Silent) -> int:
    entry = Lab.load(options.dir).break_(
        options.fault, company=options.company, variant=options.variant, delay_ms=options.delay_ms
    )
    print(json.dumps(dataclasses.asdict(entry)) if options.json else f"{entry.name}: {entry.detail}")
    return 0


def _heal(options: argparse.Namespace, progress: Silent) -> int:
    done = Lab.load(options.dir).heal()
    if options.json:
        print(json.dumps({"healed": done}))
        return 0
    for entry in done:
        print(", ".join(f"{name} {value}" for name, value in entry.items()))
    if not done:
        print("nothing was broken")
    return 0


def _down(options: argparse.Namespace, progress: Silent) -> int:
    removed = lifecycle.down(options.dir)
    if options.json:
        print(json.dumps({"removed": removed, "dir": str(options.dir)}))
    else:
        print(f"removed {options.dir}" if removed else f"there is no lab in {options.dir}")
    return 0
