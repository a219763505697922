# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The comparisons, and the floors that each has to hold."""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as Connection

from baileys_resilience.sessions.directory_source import DirectorySource
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.importing import import_companies
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.transfer import ExportRequest, run_export
from bench import mirror_cases, peers
from bench.measure import Comparison, Result, compare, human, median, seconds
from lab import Lab
from tests.support.database import COMPANY_INDEX, fill_many
from tests.support.databases import Database, new_database

MANY = 1000
SEVERAL = 20
RUN_TIMEOUT_SECONDS = 1200
PROCESSES = 2


def run(lab: Lab, work: Path, rounds: int, *, quick: bool) -> list[Result]:
    work.mkdir()
    with new_database(lab) as database:
        companies = prepare(database, SEVERAL)
        bench = Bench(database, work, companies, rounds)
        results = [*bench.one_company(), *bench.several_companies(), *bench.importing()]
        several = [bench.worker_per_key(PROCESSES) for _ in range(3)]
    if not quick:
        results.append(many_companies(lab, work, several))
        results.extend(mirror_cases.scans(lab, work, MANY, rounds))
    return results


def prepare(database: Database, count: int) -> list[str]:
    database.run(COMPANY_INDEX)
    with database.open() as connection:
        companies = fill_many(connection, count)
    database.run("ANALYZE")
    return companies


class Bench:
    """Comparisons on one database of several companies."""

    def __init__(self, database: Database, work: Path, companies: list[str], rounds: int) -> None:
        self._database = database
        self._work = work
        self._companies = companies
        self._rounds = rounds
        self._numbers = itertools.count()
        self._reference = SessionsHome(work / "reference")
        self.export(self._reference, companies, jobs=1)

    def export(self, home: SessionsHome, companies: list[str], jobs: int) -> None:
        request = ExportRequest(self._database.params, TableMapping(), home, companies, jobs)
        report = run_export(request).report
        assert not report.failed, report.failed
        assert len(report.exported) == len(companies)

    def _in_fresh(self, work: Any) -> float:
        """The seconds that `work` takes with a path that does not exist yet.

        What it leaves is removed at the very end only: ext4 without a journal passes over inodes that were freed in the
        last half minute one by one, which makes creating files after a large removal up to twenty times slower.
        """
        took: float = work(self._work / f"run-{next(self._numbers)}")
        return took

    def _ours(self, companies: list[str], jobs: int = 1) -> float:
        return self._in_fresh(lambda place: seconds(lambda: self.export(SessionsHome(place), companies, jobs)))

    def one_company(self) -> list[Result]:
        company = self._companies[0]

        def library(node: peers.Node) -> float:
            return self._in_fresh(lambda place: node.ask("library", dir=str(place)))

        def script(node: peers.Node) -> float:
            return self._in_fresh(lambda place: node.ask("script", dir=str(place), company=company))

        def started(work: Callable[[peers.Node], float]) -> float:
            with self._node() as node:
                return work(node)

        cold = compare(lambda: self._ours([company]), lambda: started(library), self._rounds)
        plain = compare(lambda: self._ours([company]), lambda: started(script), self._rounds)
        with self._node() as node:
            warm = compare(lambda: self._ours([company]), lambda: library(node), self._rounds)
        return [
            line("Export 1,333 keys, beside Baileys writing them in a process just started", cold, 0.8),
            line("Export 1,333 keys, beside Baileys writing them again and again in one process", warm, None),
            line("Export 1,333 keys, beside a plain `pg` + `fs` script just started", plain, None),
        ]

    def _node(self) -> peers.Node:
        """A process that has loaded the library and the keys, and has written nothing yet."""
        node = peers.Node(self._database.lab, self._database)
        node.prepare(self._reference, self._companies[0])
        return node

    def several_companies(self) -> list[Result]:
        content = peers.content_of(self._reference)

        def bare() -> float:
            return self._in_fresh(lambda place: seconds(lambda: peers.write_and_sync(content, place)))

        found = []
        for jobs, floor in ((1, None), (PROCESSES, 1.5)):
            compared = compare(lambda: self._ours(self._companies, jobs), bare, self._rounds)  # noqa: B023 - run at once
            word = "one process" if jobs == 1 else f"{jobs} processes"
            name = f"Export {SEVERAL} companies with {word}, beside writing and syncing the same files"
            found.append(line(name, compared, floor))
        return found

    def importing(self) -> list[Result]:
        database, home = self._database, self._reference
        text = peers.copy_text(home, self._companies)
        database.run("CREATE TABLE bare (LIKE whatsapp_keys INCLUDING ALL)")

        def ours() -> float:
            database.run("TRUNCATE whatsapp_keys, whatsapp_auth")
            return seconds(self._import_all)

        def from_memory() -> float:
            return self._bare(lambda connection: peers.bare_copy(connection, "bare", text))

        def from_files() -> float:
            return self._bare(lambda connection: peers.copy_files(connection, "bare", home, self._companies))

        return [
            speed("rows that lie in memory", compare(ours, from_memory, self._rounds)),
            speed("the same files, read by a plain loop", compare(ours, from_files, self._rounds)),
        ]

    def _bare(self, work: Callable[[Connection], None]) -> float:
        self._database.run("TRUNCATE bare")
        with self._database.open() as connection:
            return seconds(lambda: work(connection))

    def _import_all(self) -> None:
        source = DirectorySource(self._reference)
        report = import_companies(source, self._database.params, TableMapping(), self._companies)
        assert not report.failed, report.failed

    def worker_per_key(self, jobs: int) -> float:
        figures = self._in_fresh_worker(jobs)
        return float(figures["seconds"]) / int(figures["keys"])

    def _in_fresh_worker(self, jobs: int) -> dict[str, Any]:
        return export_in_worker(self._database, self._work / f"worker-{next(self._numbers)}", jobs)


def export_in_worker(database: Database, place: Path, jobs: int) -> dict[str, Any]:
    params = {name: getattr(database.params, name) for name in ("host", "port", "dbname", "user", "password")}
    done = subprocess.run(
        [sys.executable, "-m", "bench.worker"], input=json.dumps({"params": params, "home": str(place), "jobs": jobs}),
        capture_output=True, text=True, timeout=RUN_TIMEOUT_SECONDS, check=False, cwd=peers.ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def many_companies(lab: Lab, work: Path, several_per_key: list[float]) -> Result:
    with new_database(lab) as database:
        prepare(database, MANY)
        figures = export_in_worker(database, work / "many", PROCESSES)
    per_key, before = figures["seconds"] / figures["keys"], statistics.median(several_per_key)
    ratio, memory = per_key / before, max(figures["rss_mb"])
    return Result(
        f"Export {MANY:,} companies ({figures['keys'] / 1e6:.2f} million keys) with {PROCESSES} processes, per key"
        f" beside {SEVERAL} companies",
        f"{human(figures['seconds'])}, {per_key * 1e6:.0f} µs a key, {memory:.0f} MB each",
        f"{before * 1e6:.0f} µs a key",
        ratio, "<= 1.3x, <= 90 s, <= 150 MB", ratio <= 1.3 and figures["seconds"] <= 90 and memory <= 150,
    )  # fmt: skip


def speed(what: str, compared: Comparison) -> Result:
    """Our speed over theirs, for a floor that is about speed."""
    name = f"Import {SEVERAL} companies, beside a bare COPY of {what} into the same indexed table (speed)"
    ratio = 1 / compared.ratio
    notes = [f"{1 / float(each):.2f}" for each in reversed(compared.spread().split(" to "))]
    return Result(name, median(compared.ours), median(compared.theirs), ratio, ">= 0.7x", ratio >= 0.7, notes)


def line(name: str, compared: Comparison, floor: float | None) -> Result:
    met = floor is None or compared.ratio <= floor
    limit = "none" if floor is None else f"<= {floor}x"
    notes = compared.spread().split(" to ")
    return Result(name, median(compared.ours), median(compared.theirs), compared.ratio, limit, met, notes)
