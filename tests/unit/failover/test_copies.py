# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every copy of session data on the host is listed with its kind, owner, mode and end; what has ended is removed."""

from __future__ import annotations

import os
import pwd
import time
from dataclasses import replace
from pathlib import Path

import pytest

from baileys_resilience.clock import from_iso, utc_now
from baileys_resilience.failover.copies import ABANDONED_SECONDS, Copy, expire_copies, list_copies
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict
from baileys_resilience.sessions.record import StoreRecord

WEEK = 7 * 24 * 3600.0


@pytest.fixture
def settings(tmp_path: Path) -> FailoverSettings:
    return settings_from_dict(
        {
            "host": "app1",
            "companies": ["1", "2"],
            "database": {},
            "sessions_dir": str(tmp_path / "sessions"),
            "state_dir": str(tmp_path / "state"),
            "mirror_dir": str(tmp_path / "mirror"),
        }
    )


def copy_in(directory: Path, size: int = 10) -> Path:
    directory.mkdir(parents=True, mode=0o700)
    directory.chmod(0o700)
    (directory / "creds.json").write_bytes(b"x" * size)
    return directory


def nanoseconds_ago(seconds: float) -> int:
    return time.time_ns() - int(seconds * 1e9)


def by_kind(settings: FailoverSettings) -> dict[str, list[Copy]]:
    found: dict[str, list[Copy]] = {}
    for each in list_copies(settings):
        found.setdefault(each.kind, []).append(each)
    return found


def test_a_host_without_copies_lists_none_and_removes_none(settings: FailoverSettings) -> None:
    assert list_copies(settings) == []
    assert expire_copies(settings) == []


def test_every_kind_of_copy_is_listed(settings: FailoverSettings, tmp_path: Path) -> None:
    home = tmp_path / "sessions"
    StoreRecord(settings.state).move(["1"], "files", by="r1", places={})
    copy_in(home / "company_1", 100)
    copy_in(home / "company_2")
    copy_in(home / ".resilience" / "previous" / f"company_1.r1.{nanoseconds_ago(60)}")
    copy_in(home / ".resilience" / "staging" / "company_1.x")
    copy_in(home / ".resilience" / "runs" / "r1" / "company_1")
    copy_in(tmp_path / "mirror")
    found = by_kind(settings)
    assert {kind: len(copies) for kind, copies in found.items()} == {
        "live": 1, "exported": 1, "previous": 1, "staging": 2, "mirror": 1,
    }  # fmt: skip
    live = found["live"][0]
    assert live == Copy("live", str(home / "company_1"), 1, 100, pwd.getpwuid(os.geteuid()).pw_name, "0700", "")
    assert found["exported"][0].path == str(home / "company_2")
    assert found["mirror"][0].expires_at == ""


def test_what_a_swap_replaced_ends_after_a_week_by_the_time_in_its_name(
    settings: FailoverSettings, tmp_path: Path
) -> None:
    copy_in(tmp_path / "sessions" / ".resilience" / "previous" / f"company_1.{nanoseconds_ago(3600)}")
    left = (from_iso(by_kind(settings)["previous"][0].expires_at) - utc_now()).total_seconds()
    assert WEEK - 3700 < left < WEEK - 3590


def test_what_has_no_time_in_its_name_is_listed_without_an_end(settings: FailoverSettings, tmp_path: Path) -> None:
    kept = copy_in(tmp_path / "sessions" / ".resilience" / "previous" / "company_1.r1.foreign-files")
    os.utime(kept, (0, 0))
    assert by_kind(settings)["previous"][0].expires_at == ""
    assert expire_copies(settings) == []


def test_a_wider_mode_is_shown_as_it_is(settings: FailoverSettings, tmp_path: Path) -> None:
    copy_in(tmp_path / "sessions" / "company_1").chmod(0o755)
    assert by_kind(settings)["exported"][0].mode == "0755"


def test_only_what_has_expired_is_removed(settings: FailoverSettings, tmp_path: Path) -> None:
    private = tmp_path / "sessions" / ".resilience"
    old = copy_in(private / "previous" / f"company_1.{nanoseconds_ago(WEEK + 60)}")
    young = copy_in(private / "previous" / f"company_1.{nanoseconds_ago(WEEK - 60)}")
    abandoned, running = copy_in(private / "runs" / "r1"), copy_in(private / "runs" / "r2")
    place = copy_in(tmp_path / "sessions" / "company_1")
    before = time.time() - ABANDONED_SECONDS - 60
    os.utime(abandoned, (before, before))
    os.utime(place, (before - WEEK, before - WEEK))
    assert sorted(expire_copies(settings)) == sorted([old, abandoned])
    assert young.exists()
    assert running.exists()
    assert place.exists()
    assert not old.exists()
    assert not abandoned.exists()
    assert expire_copies(settings) == []


def test_what_a_killed_write_of_env_left_is_listed_and_removed(tmp_path: Path, settings: FailoverSettings) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / ".env").write_text("PASSWORD=secret")
    left = tmp_path / "app" / "..env.0123abcd.resilience-new"
    left.write_text("PASSWORD=secret")
    left.chmod(0o600)
    os.utime(left, (1_000_000, 1_000_000))
    settings = replace(settings, application=replace(settings.application, dir=str(tmp_path / "app")))
    (listed,) = by_kind(settings)["env"]
    assert (listed.path, listed.files, listed.bytes, listed.mode) == (str(left), 1, 15, "0600")
    assert listed.expires_at.startswith("1970-01-12")
    assert expire_copies(settings) == [left]
    assert by_kind(settings) == {}
