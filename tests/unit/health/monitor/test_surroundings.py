# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disk, mirror and keys as they are looked at beside the database."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.clock import now_iso, to_iso, utc_now
from baileys_resilience.health.alerts.core import Alerts
from baileys_resilience.health.alerts.model import DATABASE, Moment, Subject
from baileys_resilience.health.alerts.readings import Aside, Disk, Keys, Mirror
from baileys_resilience.health.alerts.settings import AlertSettings
from baileys_resilience.health.monitor import surroundings
from baileys_resilience.health.monitor.surroundings import DiskSource, KeysSource, MirrorSource, disk_of
from baileys_resilience.postgres import ConnectParams
from baileys_resilience.sessions.mirror_age import MirrorAge, write_mirror_age
from baileys_resilience.sessions.model import TableMapping
from tests.support.time_lines import EPOCH

DB = Subject(DATABASE, "db")


def test_a_disk_is_counted_as_df_counts_it(tmp_path: Path) -> None:
    found, real = disk_of(str(tmp_path)), shutil.disk_usage(tmp_path)
    assert found.used_percent == pytest.approx(100.0 * real.used / (real.used + real.free), abs=0.5)


def filled(used: int, free: int) -> Callable[[str], os.statvfs_result]:
    """A file system of 100 blocks, five of which are root's."""
    total = 100
    return lambda _path: os.statvfs_result((4096, 4096, total, total - used, free, 0, 0, 0, 0, 255))


def test_the_fullest_of_several_is_told_once_it_is_full_and_once_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    alerts = Alerts(AlertSettings())
    source = DiskSource(DB, ("/data", "/wal"))
    levels = {"/data": (10, 85), "/wal": (90, 5)}
    monkeypatch.setattr(surroundings.os, "statvfs", lambda path: filled(*levels[path])(path))
    told = []
    for number in range(20):
        if number == 10:
            levels["/wal"] = (10, 85)
        step = alerts.step(source.look().readings, Moment(1000.0 + 5 * number, EPOCH + timedelta(seconds=5 * number)))
        told += [(each.kind, each.cause, each.evidence) for each in step.notices]
    assert told == [("alert", "disk_full", "94.7% are used, more than 90%"), ("recovery", "disk_full", "")]


def test_a_disk_that_is_not_there_is_missing_data(tmp_path: Path) -> None:
    reading = DiskSource(DB, (str(tmp_path), str(tmp_path / "none"))).look().readings[0]
    assert isinstance(reading, Disk)
    assert "No such file" in reading.problem


def mirror(tmp_path: Path, age: MirrorAge | None) -> Any:
    path = tmp_path / "mirror.json"
    if age is not None:
        write_mirror_age(path, age)
    return MirrorSource(DB, str(path)).look().readings[0]


def test_the_age_of_the_mirror_is_read(tmp_path: Path) -> None:
    young = mirror(tmp_path, MirrorAge(now_iso()))
    assert isinstance(young, Mirror)
    assert young.age_seconds is not None
    assert young.age_seconds < 60
    old = mirror(tmp_path, MirrorAge(to_iso(utc_now() - timedelta(hours=2)), error="refused"))
    assert old.age_seconds > 7000
    assert mirror(tmp_path, MirrorAge()).age_seconds is None
    assert mirror(tmp_path, MirrorAge(unusable="damaged")).unusable == "damaged"


def test_a_mirror_that_stands_aside_is_no_lack(tmp_path: Path) -> None:
    assert mirror(tmp_path, MirrorAge(to_iso(utc_now() - timedelta(hours=2)), aside=True)) == Aside(DB, ("mirror",))


def test_no_file_or_a_damaged_one_is_missing_data(tmp_path: Path) -> None:
    assert "is not there" in mirror(tmp_path, None).problem
    (tmp_path / "mirror.json").write_text("{")
    assert "it is no JSON" in mirror(tmp_path, None).problem


def test_a_count_of_keys_that_failed_is_tried_again_soon(tmp_path: Path) -> None:
    source = KeysSource(ConnectParams("127.0.0.1", 1), TableMapping(), tmp_path)
    look = source.look()
    reading = look.readings[0]
    assert isinstance(reading, Keys)
    assert "refused" in reading.problem
    assert look.again_seconds == 300.0
