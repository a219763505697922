# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The monitor's request, as root takes it: whatever lies there is gone afterwards, and only a fresh one counts."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.automatic.request import take_request
from baileys_resilience.clock import to_iso, utc_now
from baileys_resilience.errors import ForeignFiles, ResilienceError, UsageError

ME = os.geteuid()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "auto-failover").mkdir()
    return tmp_path / "auto-failover" / "request.json"


def content(**more: Any) -> dict[str, Any]:
    return {
        "format": "baileys-resilience/auto-failover-request", "version": 1, "host": "app-1", "at": to_iso(utc_now()),
        "since": "2026-01-31T03:00:05Z", "database": "db:5432/whatsapp", "client": "app", "evidence": "refused", **more,
    }  # fmt: skip


def write(place: Path, **more: Any) -> None:
    place.write_text(json.dumps(content(**more)))


def test_a_fresh_request_is_taken_once(place: Path) -> None:
    write(place)
    found = take_request(place.parents[1], ME)
    assert found is not None
    assert (found.host, found.client) == ("app-1", "app")
    assert not place.exists()
    assert take_request(place.parents[1], ME) is None


def test_without_a_directory_nothing_was_asked(tmp_path: Path) -> None:
    assert take_request(tmp_path / "none", ME) is None


def test_what_it_says_is_one_printable_line_and_not_long(place: Path) -> None:
    write(place, evidence="a\x1b[2J\nb" + "x" * 1000, database={"host": "\u202e"})
    found = take_request(place.parents[1], ME)
    assert found is not None
    assert found.evidence.startswith("a?[2J?b")
    assert len(found.evidence) == 300
    assert found.database.isprintable()


def test_one_of_another_user_is_refused_and_gone(place: Path) -> None:
    write(place)
    with pytest.raises(ForeignFiles, match=f"it is of user {ME}") as caught:
        take_request(place.parents[1], ME + 1)
    assert caught.value.hint
    assert not place.exists()


@pytest.mark.parametrize("what", ["link", "directory", "pipe"])
def test_what_is_no_plain_file_is_refused_and_gone_and_a_link_leads_nowhere(place: Path, what: str) -> None:
    target = place.parents[1] / "secret"
    target.write_text(json.dumps(content()))
    if what == "link":
        place.symlink_to(target)
    elif what == "directory":
        (place / "below").mkdir(parents=True)
    else:
        os.mkfifo(place)
    with pytest.raises(ForeignFiles):
        take_request(place.parents[1], ME)
    assert not place.is_symlink()
    assert not place.exists()
    assert target.exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"format": "other"}, "another format"),
        ({"version": 2}, "another format"),
        ({"at": "yesterday"}, "is not a time"),
        ({"at": to_iso(utc_now() - timedelta(seconds=600))}, "s old"),
        ({"at": to_iso(utc_now() + timedelta(seconds=600))}, "s old"),
        ({"host": "x" * 20000}, "too long"),
    ],
)
def test_what_is_old_or_no_request_is_refused_and_gone(place: Path, more: dict[str, Any], said: str) -> None:
    write(place, **more)
    with pytest.raises(UsageError, match=said):
        take_request(place.parents[1], ME)
    assert not place.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "[" * 20000, '{"format": 1}'])
def test_what_is_damaged_is_refused_and_gone(place: Path, text: str) -> None:
    place.write_text(text)
    with pytest.raises(ResilienceError) as caught:
        take_request(place.parents[1], ME)
    assert caught.value.hint
    assert not place.exists()


def test_a_file_that_was_written_long_ago_is_old_whatever_it_says(place: Path) -> None:
    write(place)
    os.utime(place, (1, 1))
    with pytest.raises(UsageError, match="s old"):
        take_request(place.parents[1], ME)
