# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of looks: told in order, saved behind that, published; and what a restart, a full disk or a damaged file
do to it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.errors import Unavailable, UsageError
from baileys_resilience.health.alerts.model import CLIENT, DATABASE, REPLICA, Moment, Subject
from baileys_resilience.health.alerts.readings import Client, Probe, Reading, Replica
from baileys_resilience.health.alerts.settings import AlertSettings
from baileys_resilience.health.latency import CONNECT
from baileys_resilience.health.monitor.database import DatabaseFigure
from baileys_resilience.health.monitor.replication import ReplicaState
from baileys_resilience.health.monitor.saved import AlertFile
from baileys_resilience.health.monitor.source import Look
from baileys_resilience.health.monitor.watch import Watch
from baileys_resilience.notify import Notification
from tests.support.time_lines import BOOTED, EPOCH

DB = Subject(DATABASE, "db:5432/whatsapp")
SETTINGS = AlertSettings()


def down() -> Look:
    return Look([Probe(DB, Unavailable("Connection refused"), CONNECT)], DatabaseFigure(error="refused"))


def well() -> Look:
    return Look([Probe(DB, slowest_ms=2.0)], DatabaseFigure({"read": 0.002}))


@dataclass
class Disk:
    """A delivery that may refuse, and sees what was saved when it took something."""

    file: Path
    told: list[Notification] = field(default_factory=list)
    saved_then: list[str] = field(default_factory=list)
    full: bool = False

    def put(self, notification: Notification, services: Sequence[str] = ()) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.told.append(notification)
        self.saved_then.append(self.file.read_text() if self.file.exists() else "")

    @property
    def kinds(self) -> list[str]:
        return [each.tags["kind"] for each in self.told]


class Notes:
    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def note(self, message: str, **details: Any) -> None:
        self.said.append((message, details))


class Desk:
    """A watch, its clock and its directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.delivery = Disk(directory / "alerts.json")
        self.notes = Notes()
        self.seconds = 0.0
        self.damage = ""
        self.watch = self.start()

    @property
    def now(self) -> Moment:
        return Moment(BOOTED + self.seconds, EPOCH + timedelta(seconds=self.seconds))

    def start(self) -> Watch:
        file = AlertFile(self.directory)
        alerts, self.damage = file.load(SETTINGS, self.now)
        self.watch = Watch(alerts, file, self.delivery, self.notes)
        return self.watch

    def take(self, look: Look, times: int = 1, name: str = "database") -> float | None:
        again = None
        for _each in range(times):
            self.seconds += 5.0
            again = self.watch.take(name, look, self.now)
        return again

    def states(self) -> dict[str, str]:
        published = self.watch.published
        assert published is not None
        return {str(each.key): each.state for each in published.states}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "state")


def test_a_first_failure_wants_another_look_at_once_and_the_third_is_told(desk: Desk) -> None:
    desk.take(well())
    assert desk.take(down()) == SETTINGS.recheck_seconds
    desk.take(down(), 2)
    assert desk.delivery.kinds == ["alert"]
    desk.take(well(), 3)
    assert desk.delivery.kinds == ["alert", "recovery"]


def test_what_was_told_is_saved_only_behind_its_being_kept(desk: Desk) -> None:
    """Killed between the two, the same is told again under the same fingerprint; the other way round, nobody hears."""
    desk.take(well())
    desk.take(down(), 3)
    assert '"told": {\n          "alert"' not in desk.delivery.saved_then[0]
    content = json.loads((desk.directory / "alerts.json").read_text())
    opened = [each["telling"]["open"] for each in content["keys"] if each["concern"] == "serves"]
    assert opened[0]["told"] == {"alert": 1}


def test_a_restart_neither_repeats_nor_forgets(desk: Desk) -> None:
    desk.take(down(), 3)
    desk.start()
    desk.take(down(), 3)
    desk.take(well(), 3)
    assert desk.delivery.kinds == ["alert", "recovery"]


def test_notices_that_cannot_be_kept_wait_in_their_order_and_are_the_same_after_a_crash(desk: Desk) -> None:
    desk.take(well(), 2)
    desk.delivery.full = True
    desk.take(down(), 3)
    crashed = Desk(Path(shutil.copytree(desk.directory, desk.directory.with_name("crashed"))))
    crashed.seconds = desk.seconds
    crashed.start()
    crashed.take(down(), 3)
    assert crashed.delivery.kinds == ["alert"]
    desk.take(well(), 3)
    assert desk.delivery.kinds == []
    published = desk.watch.published
    assert published is not None
    assert "2 notices cannot be handed over" in published.degraded[0]
    desk.delivery.full = False
    desk.take(well())
    assert desk.delivery.kinds == ["alert", "recovery"]
    assert crashed.delivery.told[0].fingerprint == desk.delivery.told[0].fingerprint
    published = desk.watch.published
    assert published is not None
    assert published.degraded == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": "other"}', '{"format": "baileys-resilience/alerts", "version": 1}']
)
def test_a_damaged_state_is_set_aside_and_all_begins_anew(desk: Desk, text: str) -> None:
    (desk.directory / "alerts.json").write_text(text)
    desk.start()
    assert "damaged" in desk.damage
    assert (desk.directory / "alerts.json.damaged").read_text() == text
    desk.take(down(), 3)
    assert desk.delivery.kinds == ["alert"]


def test_a_state_of_a_clock_that_stepped_back_is_read(desk: Desk) -> None:
    desk.take(down(), 3)
    desk.seconds -= 1000.0  # another boot: the monotonic clock began anew
    desk.start()
    desk.take(down(), 2)
    assert desk.delivery.kinds == ["alert"]


def test_a_disk_that_takes_no_state_is_said_and_the_watch_goes_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any, **_more: Any) -> None:
        raise Unavailable("No space left on device")

    monkeypatch.setattr(AlertFile, "save", full)
    desk.take(down(), 3)
    assert desk.delivery.kinds == ["alert"]
    published = desk.watch.published
    assert published is not None
    assert "the state cannot be saved" in published.degraded[0]


def test_the_state_is_not_written_at_each_look_that_changes_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[float] = []
    monkeypatch.setattr(AlertFile, "save", lambda _file, _alerts, now: saved.append(now.monotonic - BOOTED))
    desk.take(well(), 30)
    assert saved == [5.0, 65.0, 125.0]


def test_subjects_that_are_no_longer_configured_are_forgotten(desk: Desk) -> None:
    old = Subject(CLIENT, "old")
    desk.take(Look([Client(old, problem="no socket")]), name="client old")
    desk.take(well())
    desk.start().keep_only([DB])
    desk.take(well(), 30)
    assert {key.partition(":")[0] for key in desk.states()} == {"database db"}
    assert desk.delivery.kinds == []


def seen(*names: str, all_of_them: bool = True) -> Look:
    """A database with these replicas."""
    readings: list[Reading] = [Probe(DB, slowest_ms=1.0), *(Replica(Subject(REPLICA, each)) for each in names)]
    states = tuple(ReplicaState(each, True, 0, 0.0) for each in names)
    return Look(readings, DatabaseFigure({"read": 0.001}, replicas=states, sees_replicas=all_of_them))


def test_a_replica_that_nobody_named_is_forgotten_when_it_is_gone_at_the_start(desk: Desk) -> None:
    desk.take(seen("here", "gone"))
    desk.start().keep_only([DB])
    desk.take(down())
    assert "replica gone: lag" in desk.states(), "a database that is away shows no replica"
    desk.take(seen("here"))
    assert "replica gone: lag" not in desk.states()
    assert "replica here: lag" in desk.states()
    desk.take(seen(), 30)
    assert desk.delivery.kinds == ["unknown"], "from now on it is missed"


def test_a_replica_that_was_dropped_is_forgotten_after_an_hour_and_that_is_said_once(desk: Desk) -> None:
    desk.watch.keep_only([DB, Subject(REPLICA, "named")])
    desk.take(seen("here", "named", "dropped"))
    desk.take(seen("here"), 700)
    assert desk.delivery.kinds[:2] == ["unknown", "unknown"]
    assert "replica dropped: lag" in desk.states()
    desk.take(seen("here"), 100)
    assert "replica dropped: lag" not in desk.states()
    assert {"replica here: lag", "replica named: lag"} < set(desk.states()), "what must be there is missed for ever"
    assert [each.title for each in desk.delivery.told if each.tags["kind"] == "forgotten"] == [
        "replica dropped: is watched no longer"
    ]
    desk.take(seen("here", "dropped"))
    assert desk.states()["replica dropped: lag"] == "OK"


def test_a_replica_is_not_taken_for_dropped_while_nobody_could_see_it(desk: Desk) -> None:
    desk.take(seen("away"))
    desk.take(seen(), 600)
    desk.take(down(), 800)
    desk.take(seen(all_of_them=False), 800)
    desk.take(seen(), 600)
    assert "replica away: lag" in desk.states()
    desk.take(seen("away"), 3)
    desk.take(seen(), 600)
    assert "replica away: lag" in desk.states(), "the hour begins anew"


def test_what_is_degraded_is_said_once(desk: Desk) -> None:
    sentence = "no canary"
    desk.take(Look([Probe(DB)], DatabaseFigure(), degraded=(sentence,)), 3)
    desk.take(down())
    desk.take(Look([Probe(DB)], DatabaseFigure(), degraded=(sentence,)), 3)
    assert [details["what"] for message, details in desk.notes.said if message == "degraded"] == [sentence]


def test_silence_is_saved_and_a_time_that_is_none_refused(desk: Desk) -> None:
    desk.take(well())
    desk.watch.silence(600.0, desk.now, DB)
    desk.start()
    desk.take(down(), 3)
    assert desk.delivery.kinds == []
    desk.watch.silence(0.0, desk.now, DB)
    desk.take(down())
    assert desk.delivery.kinds == ["alert"]
    with pytest.raises(UsageError):
        desk.watch.silence(-1.0, desk.now)
