# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The monitor's history of 30 days beside what one writes first: a table with a row for each value, and an index."""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from pathlib import Path

from baileys_resilience.clock import Clock
from baileys_resilience.health.history import RANGES, HistorySettings, Reader, Recorder, Window
from baileys_resilience.health.history.histograms import Histogram
from baileys_resilience.health.history.rows import TIME, Series, histogram_values
from baileys_resilience.health.percentiles import nearest_rank
from bench.measure import Result, compare, human, median, seconds

DAYS, COMPANIES = 30, 20
OPERATIONS = ("connect", "read", "write", "get", "set")
VALUES_A_MINUTE = 12
QUERY_FLOOR_SECONDS = 0.2
NOW = 20_000 * 86400 + 13 * 3600
#: sets of values that minutes are made of; each is encoded once
VARIETY = 500
COMPANY = "company 962301"


class At(Clock):
    """Stands still at a moment."""

    def __init__(self, moment: float) -> None:
        self.boot, self.moment = "bench", moment

    def monotonic(self) -> float:
        return self.moment

    def wall(self) -> float:
        return self.moment


def run(work: Path, rounds: int) -> list[Result]:
    work.mkdir()
    chance = random.Random(1)
    samples = [[chance.lognormvariate(-5.5, 0.8) for _ in range(VALUES_A_MINUTE)] for _ in range(VARIETY)]
    ours, theirs = work / "history.sqlite", work / "rows.sqlite"
    recorder = fill(ours, samples)
    raw = fill_raw(theirs, samples)
    try:
        return [*queries(ours, raw, rounds), size(ours, theirs), minute(recorder, work, samples, rounds)]
    finally:
        recorder.close()
        raw.close()


def fill(path: Path, samples: list[list[float]]) -> Recorder:
    """Minutes as a recorder writes them, a day at a time; the recorder's own code merges them."""
    settings = HistorySettings(most_bytes=4 << 30)
    recorder, _warnings = Recorder.open(path, settings, At(NOW))
    writing = recorder._writing
    rows = [histogram_values(Histogram.of(Counter(round(each * 1e6) for each in values))) for values in samples]
    ids = [writing._id(Series(TIME, f"company {962301 + number}", name)) for number in range(COMPANIES)
           for name in OPERATIONS]  # fmt: skip
    chance, start = random.Random(2), NOW - DAYS * 86400
    for day in range(DAYS):
        recorder._connection.execute("BEGIN")
        recorder._connection.executemany(
            "INSERT INTO times VALUES (60, ?, ?, ?, ?, ?)",
            ((at, series, *rows[chance.randrange(VARIETY)])
             for at in range(start + day * 86400, start + (day + 1) * 86400, 60) for series in ids),
        )  # fmt: skip
        recorder._connection.execute("COMMIT")
        writing.write({}, [], start + (day + 1) * 86400, purge=False)
    return recorder


def fill_raw(path: Path, samples: list[list[float]]) -> sqlite3.Connection:
    """Of one company only: all twenty would be 52 million rows."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE samples (company TEXT, operation TEXT, at REAL, seconds REAL)")
    chance = random.Random(2)
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO samples VALUES (?, ?, ?, ?)",
        ((COMPANY, name, at + 5 * number, value)
         for at in range(NOW - DAYS * 86400, NOW, 60) for name in OPERATIONS
         for number, value in enumerate(samples[chance.randrange(VARIETY)])),
    )  # fmt: skip
    connection.execute("CREATE INDEX samples_at ON samples (company, operation, at)")
    connection.execute("COMMIT")
    return connection


def naive(raw: sqlite3.Connection, operation: str, window: Window) -> int:
    """The same chart from all values: sorted by point, percentiles by rank."""
    by_point: dict[int, list[float]] = {}
    asked = "SELECT at, seconds FROM samples WHERE company = ? AND operation = ? AND at >= ? AND at < ?"
    for at, value in raw.execute(asked, (COMPANY, operation, window.start, window.end)):
        by_point.setdefault(int((at - window.start) // window.step), []).append(value)
    everything = [value for values in by_point.values() for value in values]
    for values in (*by_point.values(), everything):
        for percent in (50, 95, 99, 100):
            nearest_rank(values, percent)
    return len(by_point)


def queries(path: Path, raw: sqlite3.Connection, rounds: int) -> list[Result]:
    reader, found = Reader(path), []
    for name, each in RANGES.items():
        window = each.until(NOW - 1)

        def ours(window: Window = window) -> float:
            return seconds(lambda: reader.times(COMPANY, "read", window))

        def theirs(window: Window = window) -> float:
            return seconds(lambda: naive(raw, "read", window))

        compared = compare(ours, theirs, rounds)
        took = sorted(compared.ours)[rounds // 2]
        points = (window.end - window.start) // window.step
        found.append(
            Result(
                f"A chart of {name} ({points} points) of one operation, beside all values of the company in a table",
                human(took), median(compared.theirs), compared.ratio,
                f"<= {human(QUERY_FLOOR_SECONDS)}", took <= QUERY_FLOOR_SECONDS, compared.spread().split(" to "),
            )
        )  # fmt: skip
    window = RANGES["30d"].until(NOW - 1)
    several = sorted(
        seconds(lambda: [reader.times(COMPANY, each, window) for each in OPERATIONS]) for _ in range(rounds)
    )
    table = sorted(seconds(lambda: reader.totals(window)) for _ in range(rounds))
    for text, took in (
        (f"The charts of 30 days of all {len(OPERATIONS)} operations of a company", several[rounds // 2]),
        (f"P50, P95, P99 of 30 days of {COMPANIES} companies by operation", table[rounds // 2]),
    ):
        met = took <= QUERY_FLOOR_SECONDS
        found.append(Result(text, human(took), "", None, f"<= {human(QUERY_FLOOR_SECONDS)}", met))
    return found


def size(ours: Path, theirs: Path) -> Result:
    mine, raw = ours.stat().st_size, theirs.stat().st_size * COMPANIES
    limit = HistorySettings().most_bytes
    return Result(
        f"Size of {DAYS} days of {COMPANIES} companies, {len(OPERATIONS)} operations, {VALUES_A_MINUTE} values a minute"
        f" (theirs: {COMPANIES} times one company)",
        f"{mine / 2**20:.0f} MiB", f"{raw / 2**20:.0f} MiB", mine / raw,
        f"<= {limit / 2**20:.0f} MiB", mine <= limit,
    )  # fmt: skip


def minute(recorder: Recorder, work: Path, samples: list[list[float]], rounds: int) -> Result:
    """A minute of all companies, recorded and written, beside inserting its values in one transaction."""
    connection = sqlite3.connect(work / "minutes.sqlite", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE samples (company TEXT, operation TEXT, at REAL, seconds REAL)")
    connection.execute("CREATE INDEX samples_at ON samples (company, operation, at)")
    clock = recorder._clock
    assert isinstance(clock, At)

    def ours() -> float:
        started = time.perf_counter()
        for company in range(COMPANIES):
            for number, name in enumerate(OPERATIONS):
                for value in samples[(company * 5 + number) % VARIETY]:
                    recorder.time(f"company {962301 + company}", name, value)
        clock.moment += 60
        recorder.flush()
        return time.perf_counter() - started

    def theirs() -> float:
        started = time.perf_counter()
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO samples VALUES (?, ?, ?, ?)",
            ((f"company {962301 + company}", name, clock.moment, value) for company in range(COMPANIES)
             for number, name in enumerate(OPERATIONS) for value in samples[(company * 5 + number) % VARIETY]),
        )  # fmt: skip
        connection.execute("COMMIT")
        return time.perf_counter() - started

    compared = compare(ours, theirs, max(rounds, 20))
    connection.close()
    return Result(
        f"A minute of {COMPANIES} companies recorded and written, merging included, beside a row for each value",
        median(compared.ours), median(compared.theirs), compared.ratio, "none", True, compared.spread().split(" to "),
    )  # fmt: skip
