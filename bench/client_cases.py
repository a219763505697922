# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The session client beside what keeps Baileys' sessions otherwise: files, other adapters, a transaction by hand."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from baileys_resilience.sessions.published import create_schema
from bench import peers
from bench.measure import Comparison, Result, compare, human, median
from lab import Lab
from tests.support.database import COMPANY_INDEX
from tests.support.databases import Database, new_database

KEYS = 1333
READ, WRITTEN = 30, 30
TALKING = 20
RESIDENT = 50
GET_FLOOR_SECONDS = 50e-6
ADDED_FLOOR_SECONDS = 5e-6
RESIDENT_FLOOR_MB = 60
DRIFT_FLOOR_MB = 3.0
SOAK_SECONDS, QUICK_SOAK_SECONDS = 300, 120
END_SECONDS = 30
SCRIPT = peers.ROOT / "lab" / "node" / "bench" / "client.mjs"

FILES = "`useMultiFileAuthState`"
PACKAGE = "the npm package `postgres-baileys`"
#: there is no MySQL here
ONE_QUERY = "the pattern of `mysql-baileys`, one query a key, on PostgreSQL"
HAND = "one transaction by hand (`pg`, unnest and ANY)"


class Client(peers.Process):
    """client.mjs, warm once it has been asked."""

    def __init__(self, database: Database, work: Path) -> None:
        super().__init__(database.lab, database, SCRIPT, work)

    def __exit__(self, *_exception: object) -> None:
        """It has children: the stand-in, two applications."""
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._process.communicate()


def run(lab: Lab, work: Path, rounds: int, *, quick: bool) -> list[Result]:
    work.mkdir()
    with _paired(lab, work) as bench:
        return [
            *bench.loads(rounds),
            *bench.reads(rounds),
            *bench.writes(rounds),
            *bench.figures(),
            bench.talk(rounds),
            *bench.memory(QUICK_SOAK_SECONDS if quick else SOAK_SECONDS),
        ]


@contextmanager
def _paired(lab: Lab, work: Path) -> Iterator[_Bench]:
    """Companies as real Baileys has paired them, in a database of their own."""
    with new_database(lab) as database:
        database.run(COMPANY_INDEX)
        with database.open() as connection, connection, connection.cursor() as cursor:
            create_schema(cursor)
        companies = [str(962301 + number) for number in range(RESIDENT)]
        with Client(database, work) as client:
            paired = client.answer("pair", companies=companies, keys=KEYS)
            assert paired["keys"] == [KEYS] * RESIDENT, paired
            database.run("ANALYZE")
            client.answer("prepare", company=companies[-1])
            yield _Bench(database, work, client, companies)


class _Bench:
    def __init__(self, database: Database, work: Path, client: Client, companies: list[str]) -> None:
        self._database = database
        self._work = work
        self._client = client
        self._companies = companies
        #: not among those that talk: its rows are in files and in the tables of the others, too
        self._company = companies[-1]

    def loads(self, rounds: int) -> list[Result]:
        def load(store: str) -> Callable[[], float]:
            return lambda: self._client.ask("load", store=store, company=self._company)

        def first(store: str) -> Callable[[], float]:
            return lambda: self._first_load(store)

        what = f"Load {KEYS:,} keys"
        started = compare(first("client"), first("files"), rounds)
        warm = compare(load("client"), load("files"), rounds)
        asked = compare(load("client, every key asked for"), load("files"), rounds)
        package = compare(load("client"), load("package"), rounds)
        one = compare(load("client"), load("one query a key"), rounds)
        return [
            _line(f"{what}, the first company of a process just started, beside {FILES} and every key", started, 0.35),
            _line(f"{what}, beside {FILES} and every key", warm, 0.35),
            _line(f"{what} and hand out every one, beside {FILES} and every key", asked, None),
            _line(f"{what}, beside {PACKAGE} and every key", package, None),
            _line(f"{what}, beside {ONE_QUERY}", one, None),
        ]

    def _first_load(self, store: str) -> float:
        self._client.answer("close")
        with Client(self._database, self._work) as started:
            took = started.ask("load", store=store, company=self._company)
            started.answer("close")
        return took

    def reads(self, rounds: int) -> list[Result]:
        def get(store: str, times: int) -> Callable[[], float]:
            return lambda: self._client.ask("get", store=store, company=self._company, keys=READ, times=times)

        ours, what = get("client", 2000), f"Get {READ} sessions"
        cached = compare(ours, get("files, cached", 2000), rounds)
        behind = f"{FILES} behind Baileys' cache, which hands out what it holds and no copy"
        files = compare(ours, get("files", 40), rounds)
        package = compare(ours, get("package", 40), rounds)
        one = compare(ours, get("one query a key", 40), rounds)
        return [
            _line(f"{what}, beside {behind}", cached, None, GET_FLOOR_SECONDS),
            _line(f"{what}, beside {FILES}", files, None),
            _line(f"{what}, beside {PACKAGE}", package, None),
            _line(f"{what}, beside {ONE_QUERY}", one, None),
        ]

    def writes(self, rounds: int) -> list[Result]:
        def put(store: str, times: int) -> Callable[[], float]:
            return lambda: self._client.ask("set", store=store, company=self._company, times=times)

        ours, what = put("client", 100), f"Set {WRITTEN} mixed keys"
        hand = compare(ours, put("by hand", 100), rounds)
        files = compare(ours, put("files", 40), rounds)
        package = compare(ours, put("package", 20), rounds)
        one = compare(ours, put("one query a key", 20), rounds)
        return [
            _line(f"{what}, beside {HAND}", hand, 1.2),
            _line(f"{what}, beside {FILES} (syncs nothing)", files, None),
            _line(f"{what}, beside {PACKAGE}, one transaction a key", package, None),
            _line(f"{what}, beside {ONE_QUERY}, one transaction a key", one, None),
        ]

    def figures(self) -> list[Result]:
        answer = self._client.answer("overhead", company=self._company)
        sent = answer["statements"]
        right = sent == {"set": 1, "get": 0, "look": 0}
        asked = f"; statements: {sent['set']} a set, {sent['get']} a get, {sent['look']} a look at the metrics"
        return [
            Result(
                f"Metrics and log of one {name}{asked if name == 'set' else ''}",
                human(max(0.0, answer[name])), "", None, f"<= {human(ADDED_FLOOR_SECONDS)}, no statement",
                answer[name] <= ADDED_FLOOR_SECONDS and right,
            )
            for name in ("get", "set")
        ]  # fmt: skip

    def talk(self, rounds: int) -> Result:
        self._client.answer("close")
        self._client.answer("apps", count=2 * TALKING)
        compared = compare(
            lambda: self._client.ask("talk", store="client"), lambda: self._client.ask("talk", store="files"), rounds
        )
        self._client.answer("stop apps")
        return _line(f"{TALKING} companies at once: a message, of as many in as out, beside {FILES}", compared, 1.0)

    def memory(self, seconds: int) -> list[Result]:
        found = self._client.answer("soak", companies=self._companies, seconds=seconds)
        assert found["stopped"] == 0, found
        assert found["journaled"] > 0, found
        grown, drift = found["grown"], found["heapDrift"]
        resident = f"resident: {found['drift']:+.0f} MiB; {found['most']:.0f} MiB at most, in an outage"
        return [
            Result(
                f"Resident memory of {RESIDENT} companies, over the same process with none open"
                f" ({found['before']:.0f} MiB); in use: {found['heapGrown']:.0f} MiB",
                f"{grown:.0f} MiB", "", None, f"<= {RESIDENT_FLOOR_MB} MiB", grown <= RESIDENT_FLOOR_MB,
            ),
            Result(
                f"What {RESIDENT} companies hold through {found['outages']} outages in {seconds} s, the last quarter"
                f" over the second ({resident})",
                f"{drift:+.1f} MiB", "", None, f"<= {DRIFT_FLOOR_MB:g} MiB", drift <= DRIFT_FLOOR_MB,
            ),
        ]  # fmt: skip


def _line(name: str, compared: Comparison, floor: float | None, most_seconds: float | None = None) -> Result:
    """`floor` of the ratio, `most_seconds` of our side; either may be left out."""
    ours = sorted(compared.ours)[len(compared.ours) // 2]
    limits = [f"<= {floor}x"] if floor is not None else []
    if most_seconds is not None:
        limits.append(f"<= {human(most_seconds)}")
    met = (floor is None or compared.ratio <= floor) and (most_seconds is None or ours <= most_seconds)
    theirs = median(compared.theirs)
    return Result(
        name, human(ours), theirs, compared.ratio, ", ".join(limits) or "none", met, compared.spread().split(" to ")
    )
