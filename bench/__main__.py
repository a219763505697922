# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m bench [--quick]`: measures, prints a table and writes it into docs/performance.md."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from bench import cases, failover, report
from lab import Lab

ROOT = Path(__file__).resolve().parent.parent
PLAYBOOK_ROUNDS = 3  # half a minute each


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out the 1,000 companies (a few minutes)")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved repetitions of each comparison")
    parser.add_argument("--dir", type=Path, default=ROOT, help="where to work: a disk, since syncing is measured")
    parser.add_argument("--no-write", action="store_true", help="leave docs/performance.md as it is")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the lab and its files go away then, too
    # The name is ignored by git; a disk of the machine, because /tmp may be memory.
    work = Path(tempfile.mkdtemp(prefix=".lab-bench-", dir=arguments.dir))
    try:
        lab = Lab.up(work / "lab", app=False)
        try:
            measured = cases.run(lab, work / "files", arguments.rounds, quick=arguments.quick)
        finally:
            lab.down()
        measured.extend(failover.run(work / "app", min(arguments.rounds, PLAYBOOK_ROUNDS)))
    finally:
        # A worker that was cut off may still be ending: what it writes meanwhile must not keep the rest from going.
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)
    command = "python -m bench" + (" --quick" if arguments.quick else "")
    text = report.render(measured, command, arguments.rounds, arguments.dir)
    print(text)
    if not arguments.no_write:
        report.write(ROOT / "docs" / "performance.md", text)
    missed = [each.name for each in measured if not each.met]
    if missed:
        print(f"below its floor: {'; '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
