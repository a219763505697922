# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m bench [--quick] [--only PART]`: measures, prints a table a part and writes it into docs/performance.md."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from bench import cases, cleanup, client_cases, failover, history, monitor, page, report
from bench.measure import Result
from lab import Lab

ROOT = Path(__file__).resolve().parent.parent
#: at most so many: half a minute each, of the monitor for each fault, of the cleanup a few minutes with all keys
MOST_ROUNDS = {"playbooks": 3, "monitor": 5, "cleanup": 3}
PARTS = ("sessions", "client", "playbooks", "history", "monitor", "page", "cleanup")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out the 1,000 companies, clean up few keys")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved repetitions of each comparison")
    parser.add_argument("--keys", type=int, help="keys of the part cleanup, a tenth of which go (10 million)")
    parser.add_argument("--dir", type=Path, default=ROOT, help="where to work: a disk, since syncing is measured")
    parser.add_argument("--only", choices=PARTS, help="one of the tables; the others stay as they are")
    parser.add_argument("--no-write", action="store_true", help="leave docs/performance.md as it is")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the lab and its files go away then, too
    # The name is ignored by git; a disk of the machine, because /tmp may be memory.
    work = Path(tempfile.mkdtemp(prefix=".lab-bench-", dir=arguments.dir))
    measured: dict[str, list[Result]] = {}
    try:
        for part in [arguments.only] if arguments.only else PARTS:
            measured[part] = measure(work, part, arguments)
            _show(part, measured[part], arguments)
    finally:
        # A worker that was cut off may still be ending: what it writes meanwhile must not keep the rest from going.
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)
    missed = [each.name for results in measured.values() for each in results if not each.met]
    if missed:
        print(f"below its floor: {'; '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


def _show(part: str, results: list[Result], arguments: argparse.Namespace) -> None:
    """At once: what comes later may be cut off."""
    command = "python -m bench" + (" --quick" if arguments.quick else "")
    command += f" --only {arguments.only}" if arguments.only else ""
    command += f" --keys {arguments.keys}" if arguments.keys and part == "cleanup" else ""
    text = report.render(results, command, rounds_of(part, arguments), arguments.dir)
    print(f"{part}: {text}\n", flush=True)
    if not arguments.no_write:
        report.write(ROOT / "docs" / "performance.md", part, text)


def rounds_of(part: str, arguments: argparse.Namespace) -> int:
    return min(int(arguments.rounds), MOST_ROUNDS.get(part, int(arguments.rounds)))


def measure(work: Path, part: str, arguments: argparse.Namespace) -> list[Result]:
    rounds, quick = rounds_of(part, arguments), arguments.quick
    if part == "playbooks":
        return failover.run(work / "app", rounds)
    if part == "history":
        return history.run(work / "history", rounds)
    if part == "page":
        return page.run(work / "page", rounds)
    if part == "monitor":
        return monitor.run(work / "monitor", rounds)
    lab = Lab.up(work / f"lab-{part}", app=False)
    try:
        if part == "sessions":
            return cases.run(lab, work / "files", rounds, quick=quick)
        if part == "cleanup":
            keys = arguments.keys or (cleanup.QUICK_KEYS if quick else cleanup.KEYS)
            return cleanup.run(lab, work / "cleanup", rounds, keys)
        return client_cases.run(lab, work / "client", rounds, quick=quick)
    finally:
        lab.down()


if __name__ == "__main__":
    sys.exit(main())
