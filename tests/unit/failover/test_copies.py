# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every copy of session data on the host is listed with its kind, owner, mode and end; what has ended is removed."""

from __future__ import annotations

import os
import pwd
import shutil
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from baileys_resilience.clock import from_iso, to_iso, utc_now
from baileys_resilience.errors import NotWritable
from baileys_resilience.failover.copies import ABANDONED_SECONDS, Copy, expire_copies, list_copies
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict
from baileys_resilience.sessions.manifest import MANIFEST_FILE
from baileys_resilience.sessions.record import StoreRecord
from baileys_resilience.steps.lease import HostLease, Lease

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
            "client_dir": str(tmp_path / "client"),
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
    copy_in(tmp_path / "client" / "exports" / "company_1")
    for name in ("1.cache", "1.journal", "1.journal.refused-2026", "1.owner"):
        (tmp_path / "client" / name).touch()
    found = by_kind(settings)
    assert {kind: len(copies) for kind, copies in found.items()} == {
        "live": 1, "exported": 1, "previous": 1, "staging": 2, "mirror": 1, "client": 4,
    }  # fmt: skip
    live = found["live"][0]
    assert live == Copy("live", str(home / "company_1"), 1, 100, pwd.getpwuid(os.geteuid()).pw_name, "0700", "",
                        "stays: the store of record")  # fmt: skip
    assert found["exported"][0].path == str(home / "company_2")
    assert {each.expires_at for kind in ("mirror", "client") for each in found[kind]} == {""}


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


def set_times(place: Path, seconds_ago: float) -> Path:
    moment = time.time() - seconds_ago
    for each in (*place.iterdir(), place):
        os.utime(each, (moment, moment))
    return place


def back_on_postgres(settings: FailoverSettings, company: str, seconds_ago: float) -> None:
    """The record of a company that was on files and has been back for so long."""
    record = StoreRecord(settings.state)
    record.move([company], "files", by="r1", places={})
    record.move([company], "postgres", by="r2", places={})
    entry = record.get(company)
    since = to_iso(utc_now() - timedelta(seconds=seconds_ago))
    assert record.replace(company, entry, replace(entry, since=since))


def exported(settings: FailoverSettings, company: str, seconds_ago: float) -> Path:
    place = copy_in(Path(settings.sessions_dir) / f"company_{company}")
    (place / MANIFEST_FILE).write_text("")
    (Path(settings.sessions_dir) / ".resilience").mkdir(exist_ok=True)
    return set_times(place, seconds_ago)


def test_files_of_a_company_that_lives_in_postgresql_again_end_a_week_after_their_last_use(
    settings: FailoverSettings,
) -> None:
    back_on_postgres(settings, "1", WEEK + 60)
    back_on_postgres(settings, "2", WEEK + 60)
    left, in_use = exported(settings, "1", WEEK + 60), exported(settings, "2", WEEK + 60)
    os.utime(in_use / "creds.json")
    assert by_kind(settings)["exported"][0].expires_at < to_iso(utc_now())
    assert expire_copies(settings) == [left]
    assert in_use.exists()


def test_files_stay_for_a_week_after_the_way_back_however_old_they_are(settings: FailoverSettings) -> None:
    back_on_postgres(settings, "1", WEEK - 60)
    place = exported(settings, "1", 10 * WEEK)
    assert expire_copies(settings) == []
    assert place.exists()


def test_a_store_of_record_never_ends(settings: FailoverSettings) -> None:
    StoreRecord(settings.state).move(["1"], "files", by="r1", places={})
    place = exported(settings, "1", 100 * WEEK)
    assert expire_copies(settings) == []
    assert place.exists()


def test_files_that_the_record_does_not_name_may_be_the_session_itself_and_stay(settings: FailoverSettings) -> None:
    place = exported(settings, "1", 100 * WEEK)
    assert by_kind(settings)["exported"][0].rule == "stays: nothing records where this company lives"
    assert expire_copies(settings) == []
    assert place.exists()


def test_files_of_another_program_or_company_stay(settings: FailoverSettings) -> None:
    back_on_postgres(settings, "1", WEEK + 60)
    back_on_postgres(settings, "77", WEEK + 60)
    theirs, other = exported(settings, "1", 2 * WEEK), exported(settings, "77", 2 * WEEK)
    (theirs / MANIFEST_FILE).unlink()
    set_times(theirs, 2 * WEEK)
    assert expire_copies(settings) == []
    assert theirs.exists()
    assert other.exists()


def test_nothing_ends_while_a_run_is_open(settings: FailoverSettings, tmp_path: Path) -> None:
    old = copy_in(tmp_path / "sessions" / ".resilience" / "previous" / f"company_1.{nanoseconds_ago(WEEK + 60)}")
    lease = Lease("r1", "failover", "maria", "2026-01-01T03:00:00Z")
    HostLease(settings.state).take(lease, cooldown_seconds=0)
    assert expire_copies(settings) == []
    HostLease(settings.state).release(None)
    assert expire_copies(settings) == [old]


def test_a_directory_put_below_previous_by_hand_is_listed_and_never_removed(
    settings: FailoverSettings, tmp_path: Path
) -> None:
    place = set_times(copy_in(tmp_path / "sessions" / ".resilience" / "previous" / "keep-me"), 10 * WEEK)
    assert by_kind(settings)["previous"][0].expires_at == ""
    assert expire_copies(settings) == []
    assert place.exists()


def test_what_cannot_be_removed_is_an_error_and_not_silence(
    settings: FailoverSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = copy_in(tmp_path / "sessions" / ".resilience" / "previous" / f"company_1.{nanoseconds_ago(WEEK + 60)}")
    monkeypatch.setattr(shutil, "rmtree", lambda *_arguments, **_options: None)
    with pytest.raises(NotWritable) as caught:
        expire_copies(settings)
    assert caught.value.subject == str(old)
    assert "ReadWritePaths" in caught.value.hint


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
