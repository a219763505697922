# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The library runs as root, the application and its PM2 belong to somebody else: nobody's files may become root's."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from baileys_resilience.errors import Misconfigured, UsageError
from baileys_resilience.failover.operations import FAILBACK, FAILOVER, Operation
from baileys_resilience.failover.processes import environment_of, is_alive
from baileys_resilience.failover.services import Pm2Service, make_service
from baileys_resilience.failover.settings import FILES_FLAGS, POSTGRES_FLAGS
from tests.support.playbooks import Ansible, login, task
from tests.support.sources import assert_holds
from tests.support.synthetic import make_companies
from tests.system.pm2_owner import GROUP, USER, OwnedApp, owned_app
from tests.system.postgres15 import Cluster

COMPANIES = make_companies(2)


@pytest.fixture(scope="module")
def app(server: Cluster) -> Iterator[OwnedApp]:
    server.fill(*COMPANIES)
    with owned_app(server, [company.id for company in COMPANIES]) as app:
        yield app


def owners_below(path: Path) -> set[tuple[str, str]]:
    found = [path, *path.rglob("*")]
    return {(pwd.getpwuid(p.lstat().st_uid).pw_name, grp.getgrgid(p.lstat().st_gid).gr_name) for p in found}


def modes_below(path: Path) -> set[tuple[str, int]]:
    return {("directory" if p.is_dir() else "file", p.stat().st_mode & 0o777) for p in [path, *path.rglob("*")]}


def owner_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def test_with_the_owner_named_root_stops_and_starts_the_process_as_that_owner(app: OwnedApp) -> None:
    service = make_service(app.settings().application)
    assert isinstance(service, Pm2Service)
    before = service.status()
    assert before.running
    assert owner_of(before.pids[0]) == app.uid
    assert not service.stop().running
    assert not is_alive(before.pids[0])
    assert not service.status().running
    for flags in (FILES_FLAGS, POSTGRES_FLAGS):
        started = service.start(flags)
        assert owner_of(started.pids[0]) == app.uid
        assert {name: environment_of(started.pids[0])[name] for name in flags} == flags
    assert owners_below(app.folder / "pm2") == {(USER, GROUP)}


def test_without_the_owner_the_error_names_the_setting_and_starts_no_pm2_of_roots(
    app: OwnedApp, tmp_path: Path
) -> None:
    service = make_service(app.settings(user="").application)
    with pytest.raises(Misconfigured) as caught:
        service.status()
    assert f"belongs to uid {app.uid}, not to 0" in caught.value.cause
    assert caught.value.hint == "set application.user to the owner of the PM2 process"
    other = make_service(app.settings(user="", pm2_home=str(tmp_path / ".pm2")).application)
    with pytest.raises(Misconfigured) as caught:
        other.status()
    assert "no PM2 daemon runs" in caught.value.cause
    assert "application.user" in caught.value.hint
    assert not (tmp_path / ".pm2").exists()


def test_a_user_who_does_not_exist_is_said_to_be_so(app: OwnedApp) -> None:
    with pytest.raises(UsageError) as caught:
        make_service(app.settings(user="no-such-user").application)
    assert "application.user" in caught.value.hint


def test_failover_and_failback_as_root_leave_everything_the_owners_and_the_application_running_as_the_owner(
    app: OwnedApp,
) -> None:
    settings = app.settings()
    outcome = Operation(settings, FAILOVER).run()
    assert outcome.report is not None
    for company in COMPANIES:
        directory = app.sessions / f"company_{company.id}"
        assert_holds(directory, company)
        assert owners_below(directory) == {(USER, GROUP)}
        assert modes_below(directory) == {("directory", 0o700), ("file", 0o600)}
    assert app.sessions.stat().st_uid == app.uid
    assert app.env_file.stat().st_uid == app.uid
    assert app.env_file.stat().st_mode & 0o777 == 0o640
    assert owner_of(make_service(settings.application).status().pids[0]) == app.uid
    assert (app.folder / "state").stat().st_uid == 0

    Operation(settings, FAILBACK).run()
    status = make_service(settings.application).status()
    assert owner_of(status.pids[0]) == app.uid
    assert environment_of(status.pids[0])["USE_DATABASE_AUTH_STATE"] == "true"
    assert owners_below(app.folder / "pm2") == {(USER, GROUP)}


def test_an_export_by_the_module_gives_its_files_to_the_owner_and_group_asked_for(
    app: OwnedApp, tmp_path: Path, ansible_env: dict[str, str]
) -> None:
    options = login(app.database.params, ssl_mode="verify-full", ca_cert=app.database.params.ca_cert)
    export = task("session_export", dest=str(tmp_path / "given"), owner=USER, group="games", **options)
    previous = os.umask(0)  # modes must not hang on the caller's umask
    try:
        played = Ansible(ansible_env, tmp_path).play([export, export])
    finally:
        os.umask(previous)
    assert [result["changed"] for result in played.results] == [True, False], played.output
    for company in COMPANIES:
        directory = tmp_path / "given" / f"company_{company.id}"
        assert owners_below(directory) == {(USER, "games")}
        assert modes_below(directory) == {("directory", 0o700), ("file", 0o600)}
