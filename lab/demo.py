# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make demo`: PostgreSQL dies under live sessions, and they run from files within seconds; then the way back.

Everything is real but the WhatsApp server: PostgreSQL 18, Baileys, PM2, the playbooks. Exit code 0 means that every
message in both directions was decrypted, those that came while PostgreSQL was dead as well, that Baileys loaded every
key of the files, and that the application can use every row after the way back. With the session client the sessions
move while they run; `--no-client` shows an application without it, which is restarted and was down in the outage.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from . import playbooks
from .api import Lab
from .demo_story import Doubts, Row, key_counts, talk, write_table
from .errors import LabError
from .inventory import HOST
from .progress import Terminal

CONFIRM = ("-e", f"failover_confirm={HOST}")


class Demo:
    """The story, told while it happens."""

    def __init__(self, lab: Lab, doubts: Doubts) -> None:
        self.lab = lab
        self.doubts = doubts
        self.rows: list[Row] = []
        self._env = playbooks.environment(lab)

    def tell(self) -> None:
        self._prepare()
        with playbooks.mirror(self.lab) as caught_up:
            self.rows.append(talk(self.lab, "before", self.doubts))
            say(f"the live mirror has all of it after {caught_up():.1f} s")
            title("PostgreSQL is killed")
            say(self.lab.break_("postgres-kill").detail)
            if self.lab.client_dir:
                self.rows.append(talk(self.lab, "in the outage", self.doubts))
            self._move("emergency_failover", "files")
            title("PostgreSQL is back, so the sessions move back")
            self.lab.heal()
            say("PostgreSQL runs again; its rows are as old as the failover")
            self._move("failback", "postgres")
        self._compare()

    def _prepare(self) -> None:
        title("Getting ready, on a quiet day")
        played = self._play("failover_prepare")
        self.doubts.expect(played.returncode == 0, "failover_prepare.yml failed")
        again = self._play("failover_prepare")
        self.doubts.expect(again.recap.get("changed") == 0, "a second failover_prepare.yml changed something")

    def _move(self, name: str, store: str) -> None:
        logins = self._logins()
        played = self._play(name, *CONFIRM)
        if played.returncode != 0 or not played.reports:
            raise LabError(f"{name}.yml failed:\n{played.output[-6000:]}")
        report = played.reports[-1]
        self.doubts.expect(report["outcome"] == "done", f"{name}: the outcome is {report['outcome']}")
        live = report["mode"] == "live"
        what = "writes held" if live else "application down"
        say(f"whole playbook {played.seconds:.1f} s, {what} for {report['downtime_seconds']:.1f} s")
        if live:
            self.doubts.expect(self._logins() == logins, f"{name}: a session logged in anew, which nothing asked for")
            say("nothing was restarted: the same process, the same connections to WhatsApp")
        row = talk(self.lab, f"after {name}", self.doubts)
        row.seconds, row.downtime, row.live = played.seconds, report["downtime_seconds"], live
        row.proven = sum(report["proof"].get("loaded", {}).values()) if store == "files" else None
        self.doubts.expect(row.store == store, f"after {name} the application says that it runs on {row.store}")
        self.rows.append(row)

    def _logins(self) -> dict[str, int]:
        return {device["jid"]: device["logins"] for device in self.lab.devices()}

    def _compare(self) -> None:
        """At the end: how many keys Baileys got whole when the application asked it for each, against the rows."""
        health = {each["company_id"]: each for each in self.lab.health()["companies"]}
        for company, rows in key_counts(self.lab).items():
            loaded = health[company]["keys_loaded"]
            say(f"company {company}: {rows} keys in PostgreSQL, {loaded} loaded by the application")
            self.doubts.expect(loaded >= rows * 0.95, f"company {company}: {loaded} keys loaded of {rows}")

    def _play(self, name: str, *arguments: str) -> playbooks.Played:
        words = ["ansible-playbook", "-i", "inventory.yml", f"baileys.resilience.{name}", *arguments]
        print(f"\n  $ {' '.join(words)}", flush=True)
        return playbooks.play(self.lab, name, *arguments, listener=_condensed(), env=self._env)


def _condensed() -> Callable[[str], None]:
    """Of Ansible's output the tasks that did something, one line each."""
    task = ""

    def listen(line: str) -> None:
        nonlocal task
        if line.startswith("TASK ["):
            task = line.split(" | ", 1)[1].split("]", 1)[0] if " | " in line else ""
        elif line.startswith(("changed: ", "fatal: ")) and task:
            print(f"    {line.split(':', 1)[0]:8} {task}", flush=True)
            task = ""
        elif line.startswith("ok: ") and task and not line.endswith("=> "):
            print(f"    {'ok':8} {task}", flush=True)
            task = ""

    return listen


def title(text: str) -> None:
    print(f"\n== {text}", flush=True)


def say(text: str) -> None:
    print(f"  {text}", flush=True)


def _run(directory: Path, companies: int, *, client: bool) -> Doubts:
    doubts = Doubts()
    title(f"A lab: {companies} companies with live WhatsApp sessions in PostgreSQL, one application under PM2")
    began = time.monotonic()
    lab = Lab.up(directory, companies=companies, client=client, progress=Terminal())
    try:
        demo = Demo(lab, doubts)
        demo.tell()
        title("Summary")
        write_table(demo.rows)
    finally:
        lab.down()
    say(f"all of it took {time.monotonic() - began:.0f} s; the lab is gone")
    return doubts


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--companies", type=int, default=2, help="how many (default: 2)")
    parser.add_argument("--no-client", action="store_true", help="an application without the session client")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryDirectory(prefix="baileys-demo-") as scratch:
        try:
            doubts = _run(Path(scratch) / "lab", options.companies, client=not options.no_client)
        except LabError as exc:
            print(f"\ndemo: FAILED: {exc}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\ndemo: interrupted; the lab is gone", file=sys.stderr)
            return 130
    for doubt in doubts.found:
        print(f"  DOUBT: {doubt}", file=sys.stderr)
    print(f"\ndemo: {'FAILED' if doubts.found else 'every message was decrypted, every key is accounted for'}")
    return 1 if doubts.found else 0


if __name__ == "__main__":
    sys.exit(main())
