# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cleanup of old keys beside one plain DELETE by age, each on a copy of the same database with clients at work."""

from __future__ import annotations

import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baileys_resilience.health.percentiles import nearest_rank
from bench.cleanup_worker import FIRST_COMPANY
from bench.measure import Comparison, Result, human
from bench.peers import ROOT
from lab import Lab
from tests.support.databases import Database, new_database
from tests.support.synthetic import make_company

KEYS, QUICK_KEYS = 10_000_000, 300_000
#: of these a tenth may go
KEYS_A_COMPANY, REAL_KEYS_A_COMPANY = 10_000, 1_330
RATE_FLOOR, BASELINE_FACTOR, MEMORY_FLOOR_MB = 30_000, 2.0, 100.0
#: of each kind, and operations of each a second
CLIENTS, RATE = 2, 100
WARM_SECONDS = 2.0
#: at least; as long as a cleanup at the floor would take, since one percent of a short rest is a few operations only
BASELINE_SECONDS = 10.0
TIMEOUT_SECONDS = 3600
ROLES = ("reader", "writer")
#: a tenth are memories of groups of 31 to 60 days; all else is of the last 30
_FILL = """
INSERT INTO whatsapp_keys (company_id, key_type, key_id, value, updated_at)
SELECT (%s + company)::text,
       CASE WHEN key %% 10 = 0 THEN 'sender-key-memory' WHEN key %% 10 < 6 THEN 'session'
            WHEN key %% 10 < 9 THEN 'pre-key' ELSE 'sender-key' END,
       CASE WHEN key %% 10 = 0 THEN key || '@g.us' ELSE key::text END,
       to_jsonb(repeat(md5(company || '.' || key), 9)),
       now() - CASE WHEN key %% 10 = 0 THEN interval '31 days' ELSE interval '1 hour' END
             - key %% 29 * interval '1 day'
FROM generate_series(0, %s - 1) AS company, generate_series(0, %s - 1) AS key
"""
_PLAIN = "DELETE FROM whatsapp_keys WHERE updated_at < now() - interval '30 days'"


#: A server of this table that has been at work for a while: with the lab's 64 MB of buffers each reader would write out
#: pages that others have changed, with 1 GB of WAL a checkpoint would be due all the time, and one that has just begun
#: would have to make each file of its WAL while a client waits for it.
_SERVER = {"shared_buffers": "2GB", "max_wal_size": "8GB", "min_wal_size": "8GB", "checkpoint_timeout": "15min"}


def run(lab: Lab, work: Path, rounds: int, keys: int) -> list[Result]:
    work.mkdir()
    with contextlib.closing(lab.connect(superuser=True, direct=True, database="postgres")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for name, value in _SERVER.items():
                cursor.execute(f"ALTER SYSTEM SET {name} = %s", (value,))
    lab.break_("postgres-stop")
    lab.heal()
    with new_database(lab) as database:
        bench = Bench(lab, work, database, keys // KEYS_A_COMPANY, KEYS_A_COMPANY)
        for number in range(rounds):
            bench.both(ours_first=number % 2 == 0)
        results = bench.results()
    with new_database(lab) as database:
        results.append(Bench(lab, work, database, keys // REAL_KEYS_A_COMPANY, REAL_KEYS_A_COMPANY).alone())
    return results


@dataclass
class Side:
    """Rows a second by round; of all rounds, the seconds of operations by role, in the rest before and meanwhile."""

    rates: list[float] = field(default_factory=list)
    before: dict[str, list[float]] = field(default_factory=lambda: {role: [] for role in ROLES})
    meanwhile: dict[str, list[float]] = field(default_factory=lambda: {role: [] for role in ROLES})

    def p99(self, role: str) -> float:
        return p99(self.meanwhile[role])

    def factor(self, role: str) -> float:
        return self.p99(role) / p99(self.before[role])

    def told(self, role: str) -> str:
        return f"{human(self.p99(role))}, {self.factor(role):.1f}x its baseline"


def p99(values: list[float]) -> float:
    found = nearest_rank(values, 99)
    assert found is not None, "nobody was at work meanwhile"
    return found


class Bench:
    def __init__(self, lab: Lab, work: Path, base: Database, companies: int, keys_a_company: int) -> None:
        self._lab, self._work, self._base = lab, work, base
        self._companies, self._keys = companies, keys_a_company
        self._removable = companies * keys_a_company // 10
        self._baseline_seconds = max(BASELINE_SECONDS, self._removable / RATE_FLOOR)
        self._numbers = itertools.count(1)
        self._ours, self._theirs = Side(), Side()
        self._memory_mb: list[float] = []
        template = make_company("template", 1, {})
        base.fill(*(template.named(str(FIRST_COMPANY + number)) for number in range(companies)))
        base.run(_FILL, FIRST_COMPANY, companies, keys_a_company)
        self._admin("VACUUM (ANALYZE)", base.name)

    def both(self, *, ours_first: bool) -> None:
        for is_ours in (ours_first, not ours_first):
            with self._copy() as database, self._clients(database) as clients:
                time.sleep(WARM_SECONDS)
                rest = time.monotonic()
                time.sleep(self._baseline_seconds)
                began, ended, deleted = self._cleanup(database) if is_ours else self._plain(database)
                side = self._ours if is_ours else self._theirs
                clients.end(side, (rest, rest + self._baseline_seconds), (began, ended))
            assert deleted >= 0.9 * self._removable, f"{deleted} of {self._removable}: the clients wrote the others?"
            side.rates.append(deleted / (ended - began))

    def _cleanup(self, database: Database) -> tuple[float, float, int]:
        state = self._work / f"state-{database.name}"
        order = {"role": "cleanup", "params": _params(database), "state": str(state), "removable": self._removable}
        done = subprocess.run(
            [sys.executable, "-m", "bench.cleanup_worker"], input=json.dumps(order) + "\n", capture_output=True,
            text=True, timeout=TIMEOUT_SECONDS, check=False, cwd=ROOT,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        figures = json.loads(done.stdout)
        self._memory_mb.append(figures["rss_mb"])
        return figures["started"], figures["ended"], figures["deleted"]

    @staticmethod
    def _plain(database: Database) -> tuple[float, float, int]:
        with database.open() as connection, connection.cursor() as cursor:
            began = time.monotonic()
            cursor.execute(_PLAIN)
            connection.commit()
            return began, time.monotonic(), cursor.rowcount

    def alone(self) -> Result:
        with self._copy() as database:
            began, ended, deleted = self._cleanup(database)
        return Result(
            f"The same from companies of {self._keys:,} keys, {self._keys // 10} of which go, while nobody else works",
            f"{deleted / (ended - began):,.0f} rows/s", "", None, "none", True,
        )  # fmt: skip

    def results(self) -> list[Result]:
        ours, theirs = self._ours, self._theirs
        compared = Comparison([1 / each for each in ours.rates], [1 / each for each in theirs.rates])
        rate = statistics.median(ours.rates)
        total = self._companies * self._keys
        found = [
            Result(
                f"Cleanup of {self._removable:,} of {total:,} keys of {self._companies:,} companies, counted, archived"
                " and synced, beside a plain `DELETE ... WHERE updated_at <` (time)",
                f"{rate:,.0f} rows/s", f"{statistics.median(theirs.rates):,.0f} rows/s", compared.ratio,
                f">= {RATE_FLOOR:,} rows/s", rate >= RATE_FLOOR, compared.spread().split(" to "),
            )
        ]  # fmt: skip
        found += [
            Result(
                f"P99 of clients' {what} meanwhile ({2 * RATE} a second, {len(ours.meanwhile[role]):,} of them; theirs"
                f" {len(theirs.meanwhile[role]):,})",
                ours.told(role), theirs.told(role), ours.p99(role) / theirs.p99(role),
                f"<= {BASELINE_FACTOR:g}x its baseline", ours.factor(role) <= BASELINE_FACTOR,
            )
            for role, what in zip(ROLES, ("reads", "writes"), strict=True)
        ]  # fmt: skip
        memory = max(self._memory_mb)
        limit = f"<= {MEMORY_FLOOR_MB:g} MB"
        found.append(Result("Memory of the cleanup", f"{memory:.0f} MB", "", None, limit, memory <= MEMORY_FLOOR_MB))
        return found

    @contextlib.contextmanager
    def _copy(self) -> Iterator[Database]:
        """The same files for each side: a table that was cleaned and filled again would be another one."""
        copy = Database(self._lab, f"cleanup_{self._base.name}_{next(self._numbers)}")
        owner = self._lab.need_postgres().user
        self._admin(
            f'CREATE DATABASE {copy.name} OWNER "{owner}" TEMPLATE {self._base.name} STRATEGY file_copy', "postgres"
        )
        self._admin("CHECKPOINT", "postgres")
        try:
            yield copy
        finally:
            self._admin(f"DROP DATABASE {copy.name} WITH (FORCE)", "postgres")

    def _admin(self, statement: str, database: str) -> None:
        with contextlib.closing(self._lab.connect(superuser=True, direct=True, database=database)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)

    @contextlib.contextmanager
    def _clients(self, database: Database) -> Iterator[Clients]:
        libpq = {**_params(database), "application_name": "bench"}
        clients = Clients()
        try:
            for seed in range(CLIENTS):
                for role in ROLES:
                    clients.start(
                        {
                            "role": role, "seed": seed, "libpq": libpq, "rate": RATE,
                            "companies": self._companies, "keys": self._keys,
                        }
                    )  # fmt: skip
            yield clients
        finally:
            clients.kill()


class Clients:
    def __init__(self) -> None:
        self._processes: list[tuple[str, subprocess.Popen[str]]] = []

    def start(self, order: dict[str, Any]) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.cleanup_worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=ROOT,
        )  # fmt: skip
        self._processes.append((order["role"], process))
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n", "a client could not begin"

    def end(self, side: Side, rest: tuple[float, float], work: tuple[float, float]) -> None:
        """Add what was due in the rest, and what was due meanwhile."""
        for role, process in self._processes:
            out, _err = process.communicate(timeout=TIMEOUT_SECONDS)
            assert process.returncode == 0, f"a {role} failed"
            samples = json.loads(out)["samples"]
            side.before[role] += [took for due, took in samples if rest[0] <= due < rest[1]]
            side.meanwhile[role] += [took for due, took in samples if work[0] <= due < work[1]]

    def kill(self) -> None:
        for _role, process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def _params(database: Database) -> dict[str, Any]:
    return {name: getattr(database.params, name) for name in ("host", "port", "dbname", "user", "password")}
