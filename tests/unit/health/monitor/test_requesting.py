# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the monitor asks for a failover, on time lines of one look each five seconds: two signals that last, once an
incident, never in a silence, and never on what is not known.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.errors import DeadlineExceeded, Refused, Unavailable, UsageError
from baileys_resilience.health.alerts.core import Alerts
from baileys_resilience.health.alerts.model import CLIENT, DATABASE, Moment, Subject
from baileys_resilience.health.alerts.readings import Client, Probe, Reading
from baileys_resilience.health.alerts.settings import AlertSettings
from baileys_resilience.health.client_metrics import ClientPool
from baileys_resilience.health.latency import CONNECT, READ
from baileys_resilience.health.monitor.requesting import AutoFailover, AutoFailoverSettings
from tests.support.time_lines import BOOTED, EPOCH, words

DB, APP = Subject(DATABASE, "db:5432/whatsapp"), Subject(CLIENT, "app")
POOL = ClientPool(1, 0, 0, 10)


def reading(word: str) -> list[Reading]:
    found: dict[str, Reading] = {
        "ok": Probe(DB, slowest_ms=1.0),
        "refused": Probe(DB, Unavailable("Connection refused"), CONNECT),
        "hang": Probe(DB, DeadlineExceeded("no answer within 2 s"), READ),
        "password": Probe(DB, Refused("password authentication failed"), CONNECT),
        "nothing": Probe(DB, problem="the look was given up"),
        "cached": Client(APP, pool=POOL, slow_total=0, cached={"962301": 30.0}),
        "online": Client(APP, pool=POOL, slow_total=0, cached={"962301": 0.0}),
        "hanging": Client(APP, hangs=True),
        "stopped": Client(APP, problem="the client does not answer"),
    }
    return [found[each] for each in word.split("+") if each != "none"]


class Line:
    """A monitor's judgement and its clock; `asked` and `told` are seconds."""

    def __init__(self, state_dir: Path, **settings: Any) -> None:
        self.state_dir, self.settings = state_dir, AutoFailoverSettings("app-1", **settings)
        self.seconds = 0.0
        self.alerts = Alerts(AlertSettings())
        self.auto = self.begin()
        self.asked: list[float] = []
        self.told: list[str] = []
        self.collects = True

    @property
    def now(self) -> Moment:
        return Moment(BOOTED + self.seconds, EPOCH + timedelta(seconds=self.seconds))

    @property
    def file(self) -> Path:
        return self.state_dir / "auto-failover" / "request.json"

    def begin(self) -> AutoFailover:
        return AutoFailover(self.settings, self.state_dir, DB, [APP], self.now)

    def run(self, text: str) -> Line:
        for word in words(text):
            self.seconds += 5.0
            self.alerts.step(reading(word), self.now)
            self.told += [each.title for each in self.auto.consider(self.alerts.board, self.now)]
            if self.file.exists() and self.collects:
                self.asked.append(self.seconds)
                self.file.unlink()
        return self

    def restart(self, seconds: float = 5.0) -> Line:
        saved = json.loads(json.dumps(self.alerts.to_dict(self.now, "boot")))
        self.seconds += seconds
        self.alerts = Alerts.from_dict(saved, AlertSettings(), self.now, "boot")
        self.auto = self.begin()
        return self


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path)


def test_both_signals_that_last_a_minute_ask_once(line: Line) -> None:
    line.run("ok+online*3 refused+cached*200")
    # The third failure is at 30 s, when it is told; a minute behind that.
    assert line.asked == [90.0]
    assert line.told == ["app-1: an automatic failover was asked for"]


def test_a_database_that_hangs_counts_too_and_so_does_one_that_first_refuses(line: Line) -> None:
    line.run("ok+online*3 refused+cached*4 hang+cached*40")
    assert line.asked == [90.0]


def test_the_request_says_whom_it_is_about_and_what_was_seen(line: Line) -> None:
    line.collects = False
    line.run("refused+cached*16")
    content = json.loads(line.file.read_text())
    assert content["host"] == "app-1"
    assert (content["database"], content["client"]) == (DB.name, "app")
    assert content["evidence"] == "connect: Connection refused"
    assert line.file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "one_only",
    [
        "refused+online", "refused", "refused+hanging", "refused+stopped", "ok+cached", "none", "nothing+cached",
        "cached", "password+cached",
    ],
)  # fmt: skip
def test_one_signal_alone_never_asks(line: Line, one_only: str) -> None:
    line.run(f"ok+online*3 {one_only}*60")
    assert line.asked == []


def test_who_relies_on_it_hears_once_why_it_does_not_come(line: Line) -> None:
    line.run("ok+online*3 refused+stopped*100").restart().run("refused+stopped*100")
    assert line.told == ["app-1: no automatic failover"]
    assert line.auto.as_dict()["state"] == (
        "is not asked for: no application says that it is without the database (app)"
    )


def test_who_relies_on_it_hears_why_it_does_not_come_from_a_full_disk_too(line: Line) -> None:
    (line.state_dir / "auto-failover.json").mkdir()
    line.run("ok+online*3 refused+stopped*100")
    assert line.told == ["app-1: no automatic failover"]


def test_an_application_of_which_nothing_is_known_any_more_is_no_signal(line: Line) -> None:
    line.run("ok+online*3 refused+cached*12 refused+hanging*40")
    assert line.asked == []
    line.run("refused+cached*4")
    assert len(line.asked) == 1


def test_a_database_that_comes_and_goes_is_not_down_for_a_minute(line: Line) -> None:
    line.run("ok+online*3 " + "refused+cached*12 ok+cached " * 20)
    assert line.asked == []


def test_one_that_comes_and_goes_all_the_time_must_rest_first(line: Line) -> None:
    line.run("ok+online*3 " + "refused+cached*6 ok+online*4 " * 3 + "refused+cached*40")
    assert line.asked == []
    line.run("refused+cached*120")
    assert len(line.asked) == 1


def test_a_look_that_brought_nothing_is_waited_out(line: Line) -> None:
    line.run("ok+online*3 refused+cached*14 nothing+cached*3")
    assert line.asked == []
    line.run("refused+cached")
    assert line.asked == [105.0]


def test_what_became_unknown_begins_anew(line: Line) -> None:
    line.run("ok+online*3 refused+cached*10 nothing+cached*20 refused+cached*12")
    assert line.asked == []


@pytest.mark.parametrize("subject", [None, DB, APP, Subject(CLIENT, "other")])
def test_while_there_is_a_silence_nothing_is_asked_for(line: Line, subject: Subject | None) -> None:
    line.run("ok+online")
    line.alerts.board.silence(1000.0, line.now, subject)
    line.run("refused+cached*190")
    assert (line.asked, line.told) == ([], [])
    line.run("refused+cached*30")
    assert len(line.asked) == 1


def test_a_restart_in_between_neither_asks_twice_nor_sooner(line: Line) -> None:
    line.run("ok+online*3 refused+cached*10").restart().run("refused+cached*11")
    assert line.asked == []
    line.run("refused+cached*20").restart().run("refused+cached*100").restart(4000.0).run("refused+cached*100")
    assert len(line.asked) == 1


def test_another_incident_waits_for_the_end_of_the_cooldown(line: Line) -> None:
    line.run("ok+online*3 refused+cached*20 ok+online*5 refused+cached*40")
    assert line.asked == [90.0]
    line.run("refused+cached*20")
    assert line.asked == [90.0, 390.0]


def test_a_cooldown_lasts_over_a_restart_also_where_the_alerts_were_lost(line: Line) -> None:
    line.run("ok+online*3 refused+cached*20").restart()
    line.alerts = Alerts(AlertSettings())
    line.run("refused+cached*40")
    assert line.asked == [90.0]


def test_a_request_of_a_boot_with_a_clock_that_was_a_year_ahead_keeps_nobody_waiting(line: Line) -> None:
    memory = line.state_dir / "auto-failover.json"
    line.run("ok+online*3 refused+cached*20 ok+online*5")
    content = json.loads(memory.read_text())
    content["asked"] = {**content["asked"], "boot": "another", "wall": content["asked"]["wall"] + 365 * 86400}
    memory.write_text(json.dumps(content))
    line.auto = line.begin()
    line.run("refused+cached*40")
    assert len(line.asked) == 2


def test_nobody_who_comes_is_told_and_the_request_is_taken_back(line: Line) -> None:
    line.collects = False
    line.run("refused+cached*15")
    assert line.file.exists()
    line.run("refused+cached*6")
    assert not line.file.exists()
    assert line.told[-1] == "app-1: nobody came for the automatic failover"
    line.run("refused+cached*100")
    assert len(line.told) == 2


def test_a_disk_that_takes_no_request_is_said_and_it_is_tried_again(line: Line) -> None:
    line.run("refused+cached*10")
    line.file.parent.rmdir()
    line.file.parent.write_text("in the way")
    line.run("refused+cached*10")
    assert "no automatic failover can be asked for" in line.auto.problem
    line.file.parent.unlink()
    line.file.parent.mkdir()
    line.run("refused+cached")
    assert len(line.asked) == 1
    assert line.auto.problem == ""


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "other", "version": 1}', '{"asked": 5}'])
def test_a_memory_that_is_damaged_is_one_that_has_asked_for_nothing(line: Line, text: str) -> None:
    (line.state_dir / "auto-failover.json").write_text(text)
    line.auto = line.begin()
    assert line.auto.as_dict()["asked_at"] is None
    assert len(line.run("refused+cached*20").asked) == 1


def test_times_that_cannot_be_meant_are_refused() -> None:
    for wrong in ({"after_seconds": 1}, {"after_seconds": 1e6}, {"cooldown_seconds": -1}):
        with pytest.raises(UsageError, match="auto_failover"):
            AutoFailoverSettings("app-1", **wrong)
