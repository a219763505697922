# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's PostgreSQL with TLS: what verify-full accepts and refuses, and every way of sessions through it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from baileys_resilience.errors import Misconfigured, Refused, ResilienceError
from baileys_resilience.failover.mirror import Mirror, open_mirror
from baileys_resilience.postgres import ConnectParams, connect, session
from baileys_resilience.sessions.directory_source import DirectorySource
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.export import export_companies
from baileys_resilience.sessions.importing import import_companies
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.transfer import ExportRequest, run_export
from tests.support.database import everything
from tests.support.exports import export_all
from tests.support.sources import assert_holds
from tests.support.synthetic import make_companies, make_company
from tests.system.certificates import Authority
from tests.system.postgres15 import PASSWORD, Cluster


def error_of(params: ConnectParams) -> ResilienceError:
    with pytest.raises(ResilienceError) as caught:
        connect(params)
    assert PASSWORD not in str(caught.value)
    assert PASSWORD not in repr(caught.value.__cause__)
    return caught.value


def test_verify_full_connects_and_the_connection_is_encrypted(server: Cluster) -> None:
    with session(server.params, operation="look") as (connection, _deadline), connection.cursor() as cursor:
        cursor.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert cursor.fetchone() == (True,)


@pytest.mark.parametrize("name", ["Another root", Authority.NAME])
def test_a_server_signed_by_another_root_is_refused_even_when_it_has_the_same_name(
    server: Cluster, tmp_path: Path, name: str
) -> None:
    error = error_of(replace(server.params, ca_cert=str(Authority(name).write_root(tmp_path / "other.crt"))))
    assert type(error) is Refused
    assert not error.retryable
    assert "ca_cert must be the root that signed the server's certificate" in error.hint


def test_a_root_certificate_that_is_not_there_is_a_wrong_setting(server: Cluster, tmp_path: Path) -> None:
    error = error_of(replace(server.params, ca_cert=str(tmp_path / "none.crt")))
    assert type(error) is Misconfigured
    assert str(tmp_path / "none.crt") in str(error)
    assert error.hint == "set ca_cert to the file with the root certificate"


def test_verify_full_without_any_root_certificate_says_which_option_to_set(
    server: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # libpq would look into ~/.postgresql
    error = error_of(replace(server.params, ca_cert=""))
    assert type(error) is Misconfigured
    assert error.hint == "set ca_cert to the file with the root certificate"


def test_a_root_certificate_file_with_something_else_in_it_is_a_wrong_setting(server: Cluster, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no certificate\n")
    error = error_of(replace(server.params, ca_cert=str(tmp_path / "notes.txt")))
    assert type(error) is Misconfigured
    assert not error.retryable
    assert "ca_cert" in error.hint


def test_a_host_name_that_is_not_in_the_certificate_is_refused(server: Cluster) -> None:
    error = error_of(replace(server.params, host="127.0.0.2"))
    assert type(error) is Refused
    assert "login_host a name in it" in error.hint
    connect(replace(server.params, host="127.0.0.2", ssl_mode="verify-ca")).close()


def test_plaintext_is_refused_where_the_server_wants_tls(server: Cluster) -> None:
    error = error_of(replace(server.params, ssl_mode="disable"))
    assert type(error) is Refused
    assert "TLS mode" in error.hint
    assert "pg_hba.conf" in error.hint


def test_a_wrong_password_over_tls_is_refused_and_not_shown(server: Cluster) -> None:
    error = error_of(replace(server.params, password="wrong }secret"))
    assert type(error) is Refused
    assert error.hint.startswith("check login_user and login_password; a new, empty server")
    assert "wrong }secret" not in str(error)


@pytest.fixture
def expired(server: Cluster) -> Iterator[Cluster]:
    server.use_certificate(server.authority.issue_expired())
    server.restart()
    yield server
    server.use_certificate(server.authority.issue())
    server.restart()


def test_an_expired_certificate_is_refused_and_the_hint_thinks_of_it(expired: Cluster) -> None:
    error = error_of(expired.params)
    assert type(error) is Refused
    assert "expired" in error.hint
    connect(replace(expired.params, ssl_mode="require", ca_cert="")).close()


def test_sessions_go_out_and_come_back_over_tls_equal_key_by_key(tables: Cluster, home: SessionsHome) -> None:
    companies = [make_company("962301", 1), *make_companies(2, first=962302)]
    tables.fill(*companies)
    report = export_all(tables.params, home)
    assert report.failed == {}
    assert report.source.kind == "primary"
    for company in companies:
        assert_holds(home.directory(company.id), company)
    tables.run("TRUNCATE whatsapp_auth, whatsapp_keys")
    imported = import_companies(DirectorySource(home), tables.params, TableMapping(), home.companies())
    assert imported.failed == {}
    again = SessionsHome(home.path.with_name("again"))
    export_all(tables.params, again)
    for company in companies:
        assert_holds(again.directory(company.id), company)


def test_an_import_of_what_is_there_already_touches_no_row(tables: Cluster, home: SessionsHome) -> None:
    tables.fill(*make_companies(2))
    export_all(tables.params, home)
    before = rows(tables)
    report = import_companies(DirectorySource(home), tables.params, TableMapping(), home.companies())
    assert not report.changed
    assert rows(tables) == before


def rows(cluster: Cluster) -> list[tuple[object, ...]]:
    connection = cluster.admin()
    try:
        return everything(connection, versions=True)
    finally:
        connection.close()


def test_processes_share_one_snapshot_over_tls(tables: Cluster, home: SessionsHome) -> None:
    companies = make_companies(5)
    tables.fill(*companies)
    outcome = run_export(ExportRequest(tables.params, TableMapping(), home, jobs=2))
    assert outcome.report.failed == {}
    assert [each.company for each in outcome.report.exported] == [company.id for company in companies]
    for company in companies:
        assert_holds(home.directory(company.id), company)


def test_the_mirror_follows_over_tls(tables: Cluster, home: SessionsHome, tmp_path: Path) -> None:
    company = make_company("962301", 3)
    tables.fill(company)
    mirror = Mirror(tables.params, TableMapping(), tmp_path / "mirror")
    mirror.scan_once()
    used = next(name for name in company.keys if name[0] == "pre-key")
    tables.run("DELETE FROM whatsapp_keys WHERE (key_type, key_id) = (%s, %s)", *used)
    assert mirror.scan_once().keys_read < len(company.keys)
    with open_mirror(tmp_path / "mirror") as reader:
        assert export_companies(reader, home, [company.id]).failed == {}
    left = replace(company, keys={name: value for name, value in company.keys.items() if name != used})
    assert_holds(home.directory(company.id), left)
