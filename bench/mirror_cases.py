# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one scan of the mirror costs at a thousand companies: by the change log, beside the scan that needs no right."""

from __future__ import annotations

import statistics
from pathlib import Path

from baileys_resilience.failover.mirror import Mirror, MirrorTuning, ScanReport, install_change_log
from baileys_resilience.sessions.model import TableMapping
from bench.measure import Comparison, Result, human
from lab import Lab
from tests.support.database import COMPANY_INDEX, fill_many
from tests.support.databases import Database, new_database

INTERVAL_SECONDS = 10.0
CHANGING = 100
#: keys that a busy company writes between two scans: a handful of sessions and sender keys
_KEYS_A_COMPANY = 10
#: a scan must not turn into the comparison of all versions, or into a reading of what is due, while it is measured
_TUNING = MirrorTuning(versions_every_seconds=1e9, thorough_every_seconds=1e9)


def scans(lab: Lab, work: Path, companies: int, rounds: int) -> list[Result]:
    with new_database(lab) as database:
        database.run(COMPANY_INDEX)
        with database.open() as connection:
            ids = fill_many(connection, companies)
        database.run("ANALYZE")
        install(lab, database)
        full = Mirror(database.params, TableMapping(), work / "mirror-full", tuning=_TUNING)
        logged = Mirror(database.params, TableMapping(), work / "mirror-log", use_change_log=True, tuning=_TUNING)
        first = full.scan_once()
        logged.scan_once()
        bench = _Scans(database, full, logged, ids)
        return [
            bench.line("while nobody writes keys", 0, rounds, ""),
            bench.line(f"while {CHANGING} companies write {_KEYS_A_COMPANY} keys each", CHANGING, rounds,
                       f"; the first scan took {human(first.duration_seconds)}"),
        ]  # fmt: skip


def install(lab: Lab, database: Database) -> None:
    admin = lab.connect(superuser=True, direct=True, database=database.name)
    try:
        with admin, admin.cursor() as cursor:
            install_change_log(cursor, TableMapping(), reader=lab.need_postgres().user)
    finally:
        admin.close()


class _Scans:
    def __init__(self, database: Database, full: Mirror, logged: Mirror, companies: list[str]) -> None:
        self._database = database
        self._full = full
        self._logged = logged
        self._companies = companies

    def line(self, when: str, changing: int, rounds: int, note: str) -> Result:
        compared = Comparison([], [])
        for number in range(rounds + 1):
            self._write(changing)
            pair = [(self._logged, "log", compared.ours), (self._full, "versions", compared.theirs)]
            for mirror, mode, took in pair if number % 2 else reversed(pair):
                report = self._scan(mirror, mode, changing)
                if number:  # the first round is for the caches
                    took.append(report.duration_seconds)
        ours, theirs = statistics.median(compared.ours), statistics.median(compared.theirs)
        return Result(
            f"Mirror scan of {len(self._companies):,} companies by the change log, beside the comparison of all row"
            f" versions, {when}{note}",
            human(ours), human(theirs), compared.ratio, f"<= 1x, <= {INTERVAL_SECONDS:g} s",
            compared.ratio <= 1 and ours <= INTERVAL_SECONDS, compared.spread().split(" to "),
        )  # fmt: skip

    def _write(self, changing: int) -> None:
        """Other transactions are always under way: without any, a scan ends after its first question."""
        self._database.run("CREATE TABLE IF NOT EXISTS unrelated (n int); INSERT INTO unrelated VALUES (1)")
        if changing:
            self._database.run(
                "UPDATE whatsapp_keys SET updated_at = now() WHERE ctid IN (SELECT k.ctid FROM unnest(%s) AS c(id),"
                " LATERAL (SELECT ctid FROM whatsapp_keys WHERE company_id = c.id AND key_type = 'session'"
                " LIMIT %s) AS k)",
                self._companies[:changing], _KEYS_A_COMPANY,
            )  # fmt: skip

    def _scan(self, mirror: Mirror, mode: str, changing: int) -> ScanReport:
        report = mirror.scan_once()
        assert report.mode == mode, (report, mirror.status().attempt)
        assert report.companies_changed == changing, report
        return report
