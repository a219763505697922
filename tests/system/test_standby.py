# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hot standby of Debian's PostgreSQL as a source: what it is, how old, and serving while the primary is dead."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience import clock
from baileys_resilience.clock import age_seconds, utc_now
from baileys_resilience.errors import ReadOnly, SourceTooOld
from baileys_resilience.failover.operations import FAILBACK, FAILOVER, Operation
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict
from baileys_resilience.failover.source_reports import SourceReport
from baileys_resilience.failover.sources import assess_sources, choose, open_source
from baileys_resilience.sessions.directory_source import DirectorySource
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.export import export_companies
from baileys_resilience.sessions.importing import import_companies
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.transfer import ExportRequest, run_export
from tests.support.exports import export_all
from tests.support.playbooks import Ansible, login, task
from tests.support.sources import assert_holds
from tests.support.synthetic import SMALL_MIX, make_companies, make_company
from tests.system.containers import wait_until
from tests.system.pm2_owner import owned_app
from tests.system.postgres15 import Cluster, new_standby

COMPANIES = make_companies(2)
IDS = [company.id for company in COMPANIES]


@pytest.fixture(scope="module")
def primary(server: Cluster) -> Cluster:
    server.fill(*COMPANIES)
    return server


@pytest.fixture
def standby(primary: Cluster) -> Iterator[Cluster]:
    with new_standby(primary) as standby:
        yield standby


def settings_of(primary: Cluster, standby: Cluster, tmp_path: Path, **policy: Any) -> FailoverSettings:
    def database(cluster: Cluster) -> dict[str, Any]:
        params = cluster.params
        return {
            "host": params.host, "port": params.port, "dbname": params.dbname, "user": params.user,
            "password": params.password, "ssl_mode": params.ssl_mode, "ca_cert": params.ca_cert,
            "connect_timeout_seconds": 2,
        }  # fmt: skip

    return settings_from_dict({
        "host": "app", "companies": IDS, "database": database(primary), "replica": database(standby),
        "sessions_dir": str(tmp_path / "sessions"), "state_dir": str(tmp_path / "state"), "policy": policy,
    })  # fmt: skip


def replayed_to_the_end(primary: Cluster, standby: Cluster) -> None:
    written = primary.run("SELECT pg_current_wal_lsn()::text")[0][0]
    wait_until(
        lambda: standby.run("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", written) == [(True,)], 20, "replayed"
    )


def touch(cluster: Cluster) -> None:
    """The application writes something, so that there is a commit to replay."""
    cluster.run("UPDATE whatsapp_auth SET updated_at = now() WHERE company_id = %s", IDS[0])


def report_of(reports: list[SourceReport], kind: str) -> SourceReport:
    return next(report for report in reports if report.kind == kind)


def test_an_export_from_a_standby_is_whole_and_says_that_it_is_of_a_replica(
    standby: Cluster, primary: Cluster, home: SessionsHome
) -> None:
    replayed_to_the_end(primary, standby)
    outcome = run_export(ExportRequest(standby.params, TableMapping(), home, jobs=2))
    assert outcome.report.failed == {}
    assert outcome.report.source.kind == "replica"
    assert outcome.report.source.lsn
    for company in COMPANIES:
        assert_holds(home.directory(company.id), company)


def test_the_age_of_a_standby_is_that_of_what_it_has_replayed(
    standby: Cluster, primary: Cluster, tmp_path: Path
) -> None:
    touch(primary)
    replayed_to_the_end(primary, standby)
    settings = settings_of(primary, standby, tmp_path)
    fresh = report_of(assess_sources(settings, IDS, refresh_mirror=False), "replica")
    assert fresh.answers
    assert fresh.age_seconds < 30
    standby.run("SELECT pg_wal_replay_pause()")
    paused = time.monotonic()
    touch(primary)
    wait_until(lambda: time.monotonic() - paused > 1.5, 5, "some time has passed")
    late = report_of(assess_sources(settings, IDS, refresh_mirror=False), "replica")
    assert late.snapshot_at == fresh.snapshot_at
    assert late.age_seconds >= fresh.age_seconds + 1.5
    assert report_of(assess_sources(settings, IDS, refresh_mirror=False), "primary").age_seconds == 0


def test_a_standby_of_a_primary_at_rest_is_as_old_as_the_last_word_of_the_primary(
    standby: Cluster, primary: Cluster, tmp_path: Path
) -> None:
    """Nothing is committed, so nothing is replayed; it is not out of date for that."""
    settings = settings_of(primary, standby, tmp_path)

    def age() -> float:
        return report_of(assess_sources(settings, IDS, refresh_mirror=False), "replica").age_seconds

    primary.run(f"GRANT pg_read_all_stats TO {primary.params.user}")
    try:
        replayed_to_the_end(primary, standby)
        committed = time.monotonic()
        wait_until(lambda: time.monotonic() - committed > 8.0, 10, "some time has passed")
        wait_until(lambda: age() < 5.0, 20, "the primary has sent a word")
    finally:
        primary.run(f"REVOKE pg_read_all_stats FROM {primary.params.user}")
    replayed_to_the_end(primary, standby)


def test_the_age_of_a_standby_does_not_follow_this_hosts_clock(
    standby: Cluster, primary: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(primary)
    replayed_to_the_end(primary, standby)
    settings = settings_of(primary, standby, tmp_path)
    wrong = utc_now() + timedelta(minutes=20)
    monkeypatch.setattr(clock, "utc_now", lambda: wrong)
    assert 0 <= report_of(assess_sources(settings, IDS, refresh_mirror=False), "replica").age_seconds < 60


def test_with_the_primary_dead_and_no_mirror_failover_takes_the_standby(
    standby: Cluster, primary: Cluster, tmp_path: Path, home: SessionsHome
) -> None:
    touch(primary)
    replayed_to_the_end(primary, standby)
    settings = settings_of(primary, standby, tmp_path)
    assert choose(settings, assess_sources(settings, IDS, refresh_mirror=True), IDS)[IDS[0]][0] == "primary"
    primary.stop(signal.SIGQUIT)
    try:
        reports = assess_sources(settings, IDS, refresh_mirror=True)
        assert not report_of(reports, "primary").answers
        assert choose(settings, reports, IDS) == {company: ["replica"] for company in IDS}
        with open_source(settings, "replica") as source:
            assert export_companies(source, home, IDS).failed == {}
    finally:
        primary.start()
    for company in COMPANIES:
        assert_holds(home.directory(company.id), company)


def test_a_standby_that_restarted_without_its_primary_does_not_say_that_it_is_of_now(
    standby: Cluster, primary: Cluster, tmp_path: Path
) -> None:
    replayed_to_the_end(primary, standby)
    primary.run("CHECKPOINT")
    replayed_to_the_end(primary, standby)
    standby.run("CHECKPOINT")
    primary.stop(signal.SIGQUIT)
    try:
        last_possible = time.time()
        standby.restart()  # nothing is left to replay, so PostgreSQL knows no time of a replayed commit
        assert standby.run("SELECT pg_last_xact_replay_timestamp()") == [(None,)]
        wait_until(lambda: time.time() - last_possible > 1.5, 5, "some time has passed")
        settings = settings_of(primary, standby, tmp_path, max_source_age_seconds=1)
        reports = assess_sources(settings, IDS, refresh_mirror=False)
        report = report_of(reports, "replica")
        assert report.answers
        assert age_seconds(report.snapshot_at) >= time.time() - last_possible
        with pytest.raises(SourceTooOld) as caught:
            choose(settings, reports, IDS)
        assert "failover_accept_data_loss" in caught.value.hint
    finally:
        primary.start()


def test_an_import_into_a_standby_is_refused_as_read_only(
    standby: Cluster, primary: Cluster, home: SessionsHome, ansible_env: dict[str, str], tmp_path: Path
) -> None:
    replayed_to_the_end(primary, standby)
    export_all(standby.params, home)
    with pytest.raises(ReadOnly) as caught:
        import_companies(DirectorySource(home), standby.params, TableMapping(), IDS)
    assert caught.value.hint == "connect to the primary, or end its read-only mode"
    options = login(standby.params, ssl_mode="verify-full", ca_cert=standby.params.ca_cert)
    played = Ansible(ansible_env, tmp_path).play([task("session_import", src=str(home.path), **options)])
    assert played.results[0]["failed"]
    assert played.results[0]["error"]["error"] == "read_only"
    assert "connect to the primary" in played.results[0]["msg"]
    assert standby.params.password not in played.output


def test_a_standby_that_was_promoted_is_a_primary(standby: Cluster, primary: Cluster, home: SessionsHome) -> None:
    replayed_to_the_end(primary, standby)
    standby.run("SELECT pg_promote(true, 30)", database="postgres")
    more = replace(make_company("962399", 9, SMALL_MIX))
    standby.fill(more)
    assert export_all(standby.params, home).source.kind == "primary"
    assert_holds(home.directory(more.id), more)


def test_a_whole_failover_from_the_standby_with_the_primary_dead_and_back_when_it_lives_again(
    standby: Cluster, primary: Cluster, tmp_path: Path
) -> None:
    touch(primary)
    with owned_app(primary, IDS) as app:
        settings = replace(app.settings(), replica=standby.params)
        replayed_to_the_end(primary, standby)
        primary.stop(signal.SIGQUIT)
        try:
            report = Operation(settings, FAILOVER).run().report
        finally:
            primary.start()
        assert report is not None
        assert {each["source"] for each in report["companies"].values()} == {"replica"}
        assert all(each["connected"] for each in report["companies"].values())
        for company in COMPANIES:
            assert_holds(app.sessions / f"company_{company.id}", company)
        Operation(settings, FAILBACK).run()
    home = SessionsHome(tmp_path / "after")
    export_all(primary.params, home)
    for company in COMPANIES:
        assert_holds(home.directory(company.id), company)
