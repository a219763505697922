# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A monitor that is started anew neither repeats nor forgets an incident; a state that is damaged is refused whole."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from baileys_resilience.errors import StoreError
from baileys_resilience.health.alerts.causes import KEYS, MIRROR
from baileys_resilience.health.alerts.core import Alerts
from baileys_resilience.health.alerts.model import BAD, CLIENT, Key, Moment, Subject, Verdict
from baileys_resilience.health.alerts.readings import Client
from baileys_resilience.health.alerts.settings import AlertSettings
from tests.support.time_lines import BOOTED, EPOCH, SUBJECT, TimeLine, words

#: each moment of a long life is one to be killed in
LIFE = (
    "ok*2 refused ok refused*3 hang*70 none*20 refused*2 ok ok refused ok*3"
    " refused*3 ok*3 refused*3 ok*3 ok*130 none*14 ok*3"
)


def test_an_open_incident_is_neither_repeated_nor_forgotten() -> None:
    line = TimeLine().run("ok refused*3").restart(away=20).run("refused*5")
    assert line.said == ["alert down @15"]
    assert line.run("ok*3").told[-1][1].duration_seconds == 5 * 10 + 20  # from its first failure
    assert line.kinds == ["alert", "recovery"]


def test_a_restart_at_any_moment_changes_nothing_that_is_told() -> None:
    whole = TimeLine().run(LIFE)
    assert set(whole.kinds) == {"alert", "repeat", "unknown", "flapping", "recovery"}
    for moment in range(len(words(LIFE))):
        line = TimeLine()
        for number, word in enumerate(words(LIFE)):
            if number == moment:
                line.restart()
            line.run(word)
        assert line.told == whole.told, f"restarted before look {moment}"


def test_after_a_reboot_the_wall_clock_tells_how_long_it_was() -> None:
    line = TimeLine().run("refused*3").restart(away=120, reboot=True).run("refused*3 ok*3")
    assert line.kinds == ["alert", "recovery"]
    assert line.told[-1][1].duration_seconds == 10 + 120 + 30


def test_after_a_reboot_with_a_wall_clock_that_was_set_back_no_duration_is_negative() -> None:
    line = TimeLine().run("refused*3")
    content = line.alerts.to_dict(line.now, "boot-1")
    back = Moment(3.0, EPOCH.replace(year=2025))
    alerts = Alerts.from_dict(content, AlertSettings(), back, "boot-2")
    condition = next(iter(alerts.board.keys.values())).condition
    assert condition.trouble is not None
    assert back.monotonic - condition.trouble.began == 10


@pytest.mark.parametrize("step", [-7 * 86400.0, 7 * 86400.0])
def test_within_one_boot_a_step_of_the_wall_clock_does_not_count(step: float) -> None:
    line = TimeLine().run("refused*3").restart(away=20, wall_step=step).run("ok*3")
    assert line.told[-1][1].duration_seconds == 10 + 20 + 15


def test_the_time_without_a_monitor_is_not_missing_data() -> None:
    assert TimeLine().run("ok").restart(away=3600).run("gone").said == []
    assert TimeLine().run("ok none*13").restart(away=3600).run("ok*3").kinds == ["unknown", "recovery"]


def test_the_time_without_a_monitor_counts_for_what_was_unknown_before() -> None:
    line = TimeLine().run("ok none*12").restart(away=3600).run("gone")
    assert line.kinds == ["unknown", "repeat"]
    assert line.told[-1][1].evidence == "nothing was learnt of it for 1 h 1 min: no data"


def test_what_was_set_aside_is_so_after_a_restart() -> None:
    line = TimeLine(key=Key(SUBJECT, KEYS)).run("many aside", causes={"many": "removable_keys"})
    assert line.restart(away=400).run("gone").kinds == ["alert"]


def test_what_explains_still_explains_after_a_restart() -> None:
    line = TimeLine().run("refused*3 ok*3")
    mirror = Verdict(Key(SUBJECT, MIRROR), BAD, "mirror_old", "old")
    line.look([mirror])
    line.restart()
    for _look in range(5):
        line.seconds += 5
        line.look([line.verdict("ok", {}), mirror])
    assert line.kinds == ["alert", "recovery"]
    line.seconds += 10
    line.look([mirror])
    assert [each.cause for _at, each in line.told] == ["down", "down", "mirror_old"]


def test_a_repeat_that_was_due_meanwhile_comes_once() -> None:
    line = TimeLine().run("refused*3").restart(away=1000).run("refused*3")
    assert line.said == ["alert down @10", "repeat down @1015"]


def test_a_silence_goes_on_and_ends() -> None:
    line = TimeLine().silence(300, SUBJECT).run("refused*3").restart(away=100).run("refused*5")
    assert line.said == []
    assert line.run("refused*40").kinds == ["alert"]


def test_what_was_told_before_a_silence_is_told_again_behind_it_after_a_restart_in_it() -> None:
    line = TimeLine().run("refused*3").silence(60).run("refused").restart(away=70).run("refused")
    assert line.said == ["alert down @10", "repeat down @90"]


def test_slow_queries_of_before_still_count() -> None:
    app, settings = Subject(CLIENT, "app"), AlertSettings()
    alerts = Alerts(settings)

    def look(total: int, second: float) -> list[str]:
        found = alerts.step([Client(app, slow_total=total, cached={})], Moment(BOOTED + second, EPOCH)).notices
        return [each.cause for each in found]

    assert look(10, 0) + look(12, 5) == []
    state = json.loads(json.dumps(alerts.to_dict(Moment(BOOTED + 5, EPOCH), "b")))
    alerts = Alerts.from_dict(state, settings, Moment(BOOTED + 10, EPOCH), "b")
    assert look(13, 10) == ["slow_queries"]


def state_of(text: str) -> dict[str, Any]:
    line = TimeLine().run(text).silence(3600, SUBJECT)
    content: dict[str, Any] = json.loads(json.dumps(line.alerts.to_dict(line.now, "boot-1")))
    return content


def load(content: Any) -> Alerts:
    return Alerts.from_dict(content, AlertSettings(), TimeLine().run("ok*99").now, "boot-1")


@pytest.mark.parametrize("content", [None, [], {}, {"format": "other"}, {"format": "baileys-resilience/alerts"}])
def test_what_is_no_state_is_refused(content: Any) -> None:
    with pytest.raises(StoreError) as refused:
        load(content)
    assert "put the file aside" in refused.value.hint


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_is_refused_by_its_number(version: Any) -> None:
    with pytest.raises(StoreError) as refused:
        load({**state_of("ok"), "version": version})
    assert repr(version) in refused.value.cause
    assert "reads version 1" in refused.value.cause


def _damages(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to each value in it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for name, each in items for found in ((*path, name), *_damages(each, (*path, name)))]


def _with(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    damaged = copy.deepcopy(content)
    place = damaged
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return damaged


@pytest.mark.parametrize("text", ["ok refused*3 ok*3 refused*3 ok", "ok none*14", "ok refused"])
def test_any_value_that_is_damaged_is_refused(text: str) -> None:
    content = state_of(text)
    load(content)
    paths = _damages(content)
    assert len(paths) > 30
    for path in paths:
        with pytest.raises(StoreError):
            load(_with(content, path, object()))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("keys", 0, "condition", "state"), "OK"),
        (("keys", 0, "condition", "state"), "SUSPECT"),
        (("keys", 0, "condition", "trouble"), None),
        (("keys", 0, "condition", "failures"), -1),
        (("keys", 0, "condition", "heard"), float("nan")),
        (("keys", 0, "condition", "trouble", "cause"), "pool_used"),
        (("keys", 0, "condition", "trouble", "began_wall"), "yesterday"),
        (("keys", 0, "telling", "open", "told"), {}),
        (("keys", 0, "telling", "open", "told"), {"recovery": 1}),
        (("keys", 0, "concern"), "moon"),
        (("keys", 0, "subject"), ["moon", "db"]),
        (("keys", 0, "subject"), ["database"]),
        (("silences", 0, "until"), True),
        (("saved", "monotonic"), "1000"),
    ],
)
def test_a_state_that_cannot_be_is_refused(path: tuple[Any, ...], value: Any) -> None:
    with pytest.raises(StoreError):
        load(_with(state_of("refused*4"), path, value))


def test_a_part_that_is_missing_is_refused() -> None:
    content = state_of("ok refused*3")
    for path in _damages(content):
        if isinstance(path[-1], str):
            damaged = copy.deepcopy(content)
            place: Any = damaged
            for name in path[:-1]:
                place = place[name]
            del place[path[-1]]
            with pytest.raises(StoreError):
                load(damaged)
