# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file by which any backup tool tells the monitor how old its backups are, as docs/monitor.md has it written."""

from __future__ import annotations

import json
import os
import re
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.clock import to_iso, utc_now
from baileys_resilience.errors import ResilienceError, StoreError
from baileys_resilience.health.alerts.model import BACKUP, Subject
from baileys_resilience.health.alerts.readings import Backup
from baileys_resilience.health.monitor.surroundings import BackupSource
from baileys_resilience.sessions.backup_age import read_backup_age
from tests.support import pages

PAGE = Path(__file__).resolve().parents[3] / "docs" / "monitor.md"


def written(folder: Path, backups: Any, **more: Any) -> Path:
    path = folder / "backup.json"
    path.write_text(json.dumps({"format": "baileys-resilience/backup-age", "version": 1, "backups": backups, **more}))
    return path


def ago(**words: float) -> str:
    return to_iso(utc_now() - timedelta(**words))


def test_what_the_page_says_writes_what_is_read(tmp_path: Path) -> None:
    lines = [each.text for each in pages.blocks(PAGE) if "Ages of backups" in each.headings]
    script = re.sub(r"^file=.*$", f"file={tmp_path}/backup.json", lines[0], flags=re.MULTILINE)
    subprocess.run(["/bin/sh", "-euc", script], check=True)
    found = read_backup_age(tmp_path / "backup.json")
    assert found is not None
    assert found.ages["dump"] < 60
    assert [each.name for each in tmp_path.iterdir()] == ["backup.json"]


def look(path: Path) -> Backup:
    reading = BackupSource("db:5432/wa", str(path), 26 * 3600.0).look().readings[0]
    assert isinstance(reading, Backup)
    assert reading.subject == Subject(BACKUP, "db:5432/wa")
    return reading


def test_the_kind_that_is_furthest_beyond_its_limit_is_judged(tmp_path: Path) -> None:
    backups = {
        "dump": {"taken_at": ago(hours=27)},
        "base": {"taken_at": ago(days=3), "max_age_seconds": 7 * 86400},
        "wal": {"taken_at": ago(minutes=5), "max_age_seconds": 600},
    }
    worst = look(written(tmp_path, backups))
    assert (worst.kind, worst.limit_seconds, round((worst.age_seconds or 0) / 3600)) == ("dump", None, 27)
    backups["wal"]["taken_at"] = ago(minutes=30)
    assert (look(written(tmp_path, backups)).kind, look(written(tmp_path, backups)).limit_seconds) == ("wal", 600.0)


def test_without_any_there_is_no_age_and_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    assert look(written(tmp_path, {})) == Backup(Subject(BACKUP, "db:5432/wa"))
    assert "is not there" in look(tmp_path / "none").problem


@pytest.mark.parametrize(
    ("backups", "said"),
    [
        ({"dump": {}}, "taken_at"),
        ({"dump": {"taken_at": "today"}}, "is not a time"),
        ({"dump": {"taken_at": ago(hours=-2)}}, "a time to come"),
        ({"dump": {"taken_at": ago(hours=2), "max_age_seconds": 0}}, "no time"),
        ({"a b": {"taken_at": ago(hours=2)}}, "no name of a kind"),
        ({f"k{number}": {"taken_at": ago(hours=2)} for number in range(21)}, "more than 20"),
        ({"dump": {"taken_at": ago(hours=2), "max_age_seconds": 10**400}}, "too large"),
        (None, "cannot be read"),
        ([], "cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_damage(tmp_path: Path, backups: Any, said: str) -> None:
    path = written(tmp_path, backups)
    with pytest.raises(StoreError, match=said) as caught:
        read_backup_age(path)
    assert caught.value.hint
    assert look(path).problem


@pytest.mark.parametrize("what", ["pipe", "device", "directory"])
def test_what_is_no_plain_file_is_neither_waited_for_nor_read_without_an_end(tmp_path: Path, what: str) -> None:
    path = tmp_path / "backup.json"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(ResilienceError):
        read_backup_age(path)
    assert look(path).problem


def test_a_file_without_an_end_is_not_taken_into_the_memory(tmp_path: Path) -> None:
    path = written(tmp_path, {"dump": {"taken_at": ago(hours=2)}})
    os.truncate(path, 8 * 1024**3)
    with pytest.raises(StoreError, match="too long"):
        read_backup_age(path)


def test_a_link_that_somebody_made_on_purpose_is_followed(tmp_path: Path) -> None:
    written(tmp_path, {"dump": {"taken_at": ago(hours=2)}})
    (tmp_path / "link").symlink_to(tmp_path / "backup.json")
    assert look(tmp_path / "link").kind == "dump"
