# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sessions' home on a disk that is really full: it is said, nothing is left behind, and more room is all it takes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from baileys_resilience.errors import NoSpace
from baileys_resilience.failover.mirror import Mirror, open_mirror
from baileys_resilience.failover.operations import FAILOVER, Operation
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.model import TableMapping
from tests.support.exports import export_all
from tests.support.sources import assert_holds
from tests.support.synthetic import SMALL_MIX, make_company
from tests.system.postgres15 import Cluster

#: 1,333 files of a block each need more than 5 MB; the small one fits beside it
SMALL = make_company("962300", 7, SMALL_MIX)
LARGE = make_company("962301", 8)


class Disk:
    """A tmpfs, so many megabytes large."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def resize(self, megabytes: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={megabytes}m", self.path], check=True, timeout=20)

    def fill(self) -> None:
        filler = ["dd", "if=/dev/zero", f"of={self.path / 'filler'}", "bs=64k"]
        done = subprocess.run(filler, capture_output=True, text=True, timeout=60, check=False)
        assert "No space left" in done.stderr
        assert os.statvfs(self.path).f_bavail == 0

    def files(self) -> list[str]:
        """Everything that holds or could hold a session; the home's own empty folders and lock are none."""
        found = [path.relative_to(self.path) for path in self.path.rglob("*") if path.name not in ("filler", "lock")]
        return sorted(str(path) for path in found if (self.path / path).is_file() or "company_" in path.name)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "baileys-test", path], check=True, timeout=20)
    yield Disk(path)
    subprocess.run(["umount", path], check=True, timeout=20)


@pytest.fixture
def filled(tables: Cluster) -> Cluster:
    tables.fill(SMALL, LARGE)
    return tables


def test_a_company_that_does_not_fit_is_no_space_and_leaves_nothing_while_a_small_one_is_exported(
    disk: Disk, filled: Cluster
) -> None:
    home = SessionsHome(disk.path / "sessions")
    report = export_all(filled.params, home)
    assert set(report.failed) == {LARGE.id}
    error = report.failed[LARGE.id]
    assert type(error) is NoSpace
    assert error.retryable
    assert error.hint == "free space there, then run again"
    assert_holds(home.directory(SMALL.id), SMALL)
    assert not [name for name in disk.files() if LARGE.id in name]

    disk.resize(32)
    assert export_all(filled.params, home).failed == {}
    assert_holds(home.directory(LARGE.id), LARGE)


def test_what_was_there_before_survives_an_export_that_does_not_fit(disk: Disk, filled: Cluster) -> None:
    home = SessionsHome(disk.path / "sessions")
    disk.resize(8)
    assert export_all(filled.params, home, [LARGE.id]).failed == {}
    filled.run("UPDATE whatsapp_keys SET value = '\"491\"' WHERE key_type = 'lid-mapping'")
    before = disk.files()
    assert type(export_all(filled.params, home, [LARGE.id]).failed[LARGE.id]) is NoSpace
    assert_holds(home.directory(LARGE.id), LARGE)
    assert disk.files() == before


def test_on_a_disk_without_a_free_byte_no_company_is_exported_and_nothing_is_left(disk: Disk, filled: Cluster) -> None:
    home = SessionsHome(disk.path / "sessions")
    disk.fill()
    report = export_all(filled.params, home)
    assert {type(error) for error in report.failed.values()} == {NoSpace}
    assert set(report.failed) == {SMALL.id, LARGE.id}
    assert disk.files() == []


def test_a_mirror_on_a_full_disk_is_no_space_and_follows_again_with_more_room(
    disk: Disk, filled: Cluster, home: SessionsHome
) -> None:
    mirror = Mirror(filled.params, TableMapping(), disk.path / "mirror")
    disk.resize(1)
    with pytest.raises(NoSpace) as caught:
        mirror.scan_once()
    assert "free space" in caught.value.hint
    disk.resize(32)
    mirror.scan_once()
    with open_mirror(disk.path / "mirror") as reader:
        assert reader.company_state(LARGE.id).good
        assert sum(reader.company_state(LARGE.id).counts.values()) == len(LARGE.keys)


def settings_of(cluster: Cluster, disk: Disk, tmp_path: Path) -> FailoverSettings:
    """An application that leaves a mark when it is stopped."""
    params = cluster.params
    (tmp_path / ".env").write_text("USE_DATABASE_AUTH_STATE=true\n")
    service = {"manager": "argv", "start": ["true"], "status": ["true"], "stop": ["touch", str(tmp_path / "stopped")]}
    return settings_from_dict({
        "host": "app", "companies": [SMALL.id, LARGE.id], "sessions_dir": str(disk.path / "sessions"),
        "state_dir": str(tmp_path / "state"),
        "database": {
            "host": params.host, "port": params.port, "dbname": params.dbname, "user": params.user,
            "password": params.password, "ssl_mode": params.ssl_mode, "ca_cert": params.ca_cert,
        },
        "application": {"dir": str(tmp_path), "service": service, "health": {"kind": "command", "command": ["true"]}},
        "policy": {"confirm": "all", "operator": "test", "cooldown_seconds": 0},
    })  # fmt: skip


def test_a_failover_without_room_is_refused_before_anything_is_stopped_and_goes_on_with_more(
    disk: Disk, filled: Cluster, tmp_path: Path
) -> None:
    operation = Operation(settings_of(filled, disk, tmp_path), FAILOVER)
    with pytest.raises(NoSpace) as caught:
        operation.begin()
    assert "MiB" in caught.value.cause
    assert caught.value.hint == "free space there; nothing was touched"
    assert disk.files() == []
    assert not (tmp_path / "stopped").exists()

    disk.resize(200)
    run = operation.begin().run
    for step in ("preflight", "choose_source", "stage"):
        operation.step(step, run)
    assert [name for name in disk.files() if LARGE.id in name]
    operation.undo("the test is over", run)
    assert disk.files() == []
    assert not (tmp_path / "stopped").exists()


def test_a_failover_whose_disk_fills_up_while_it_stages_leaves_the_application_running(
    disk: Disk, filled: Cluster, tmp_path: Path
) -> None:
    operation = Operation(settings_of(filled, disk, tmp_path), FAILOVER)
    disk.resize(200)
    run = operation.begin().run
    for step in ("preflight", "choose_source"):
        operation.step(step, run)
    disk.fill()
    with pytest.raises(Exception, match="No space left") as caught:
        operation.step("stage", run)
    assert "nothing was touched" in str(caught.value)
    operation.undo(str(caught.value), run)
    assert disk.files() == []
    assert not (tmp_path / "stopped").exists()
