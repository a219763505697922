# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One incident is one alert and one recovery, on recorded time lines of one look each five seconds."""

from __future__ import annotations

from datetime import timedelta

import pytest

from baileys_resilience.errors import UsageError
from baileys_resilience.health.alerts.board import Board
from baileys_resilience.health.alerts.causes import CACHE, CONNECTIONS, DISK, KEYS, MIRROR, POOL, SERVES, SLOW
from baileys_resilience.health.alerts.model import BAD, CLIENT, DATABASE, GOOD, MISSING, Key, Subject, Verdict
from baileys_resilience.health.alerts.settings import AlertSettings
from tests.support.time_lines import EPOCH, KEY, SUBJECT, TimeLine


def test_one_incident_is_one_alert_and_one_recovery() -> None:
    line = TimeLine().run("ok*2 refused*3 ok*5")
    assert line.said == ["alert down @20", "recovery down @35"]
    assert line.states[:8] == ["OK", "OK", "SUSPECT", "SUSPECT", "DOWN", "RECOVERING", "RECOVERING", "OK"]


def test_a_recovery_tells_how_long_it_lasted() -> None:
    (_at, alert), (_then, recovery) = TimeLine().run("ok refused*10 ok*3").told
    assert (alert.since, alert.duration_seconds) == (EPOCH + timedelta(seconds=5), 10)
    assert (recovery.since, recovery.duration_seconds) == (alert.since, 60)
    assert "lasted 1 min" in recovery.as_notification().text


def test_a_first_failure_asks_for_a_look_soon_and_tells_nobody() -> None:
    line = TimeLine().run("ok refused")
    assert (line.said, line.states[-1], line.look_again) == ([], "SUSPECT", [None, 0.75])
    assert TimeLine().run("refused*2").look_again[-1] == 0.75
    assert TimeLine().run("refused*3").look_again[-1] is None  # it is known now


def test_a_disk_that_fills_is_as_urgent_as_a_database_that_is_gone() -> None:
    line = TimeLine(key=Key(SUBJECT, DISK)).run("ok full", causes={"full": "disk_full"})
    assert line.look_again[-1] == 0.75
    assert line.run("full*2", causes={"full": "disk_full"}).said == ["alert disk_full @15"]


def test_what_is_no_hurry_is_not_looked_at_again_at_once() -> None:
    line = TimeLine(key=Key(SUBJECT, MIRROR)).run("ok old", causes={"old": "mirror_old"})
    assert (line.states[-1], line.look_again[-1]) == ("SUSPECT", None)


@pytest.mark.parametrize(
    "text", ["ok refused*2 ok*9", "ok refused ok refused ok refused ok*9", "ok*3 hang*2 ok hang*2 ok*9"]
)
def test_less_than_three_failures_in_a_row_are_no_incident(text: str) -> None:
    assert TimeLine().run(text).said == []


def test_two_good_looks_are_no_recovery() -> None:
    line = TimeLine().run("refused*3 ok*2 refused ok*2 refused")
    assert line.kinds == ["alert"]
    assert line.states[-3:] == ["RECOVERING", "RECOVERING", "DOWN"]
    assert line.run("ok*3").kinds == ["alert", "recovery"]


def test_a_cause_that_changes_is_the_same_incident() -> None:
    line = TimeLine().run("ok refused*3 hang*60")
    assert line.said == ["alert down @15", "repeat frozen @315"]
    assert line.told[-1][1].evidence == "seen: hang"
    line.run("ok*3")
    recovery = line.told[-1][1]
    assert (recovery.kind, recovery.cause) == ("recovery", "down")
    assert recovery.evidence == "also: PostgreSQL keeps silent"


def test_a_cause_that_changes_before_the_alert_is_told_as_it_is_now() -> None:
    assert TimeLine().run("refused hang hang").said == ["alert frozen @10"]


def test_repeats_come_after_5_15_and_60_minutes_and_then_each_hour() -> None:
    line = TimeLine().run("refused*2200")  # three hours
    assert line.said == ["alert down @10", *(f"repeat down @{at}" for at in (310, 910, 3610, 7210, 10810))]


def test_repeats_are_a_setting() -> None:
    line = TimeLine(AlertSettings(repeat_seconds=(60.0,))).run("refused*40")
    assert line.said == ["alert down @10", "repeat down @70", "repeat down @130", "repeat down @190"]


def test_more_than_three_changes_in_ten_minutes_are_told_once_as_flapping() -> None:
    once = "refused*3 ok*3 "
    line = TimeLine().run(once * 10)
    assert line.said == ["alert down @10", "recovery down @25", "alert down @40", "flapping down @55"]
    assert line.told[-1][1].as_notification().title.startswith("comes and goes: ")
    assert line.run("ok*118").kinds[4:] == []  # not quiet for ten minutes yet
    assert line.run("ok*4").kinds[4:] == ["recovery"]


def test_what_rests_broken_after_flapping_is_told_as_that() -> None:
    line = TimeLine().run("refused*3 ok*3 " * 4 + "refused*200")
    assert line.kinds[:4] == ["alert", "recovery", "alert", "flapping"]
    assert line.kinds[4] == "repeat"
    assert line.told[4][0] >= 130 + 600
    assert line.run("ok*3").kinds[-1] == "recovery"


def test_three_changes_are_not_flapping() -> None:
    assert "flapping" not in TimeLine().run("refused*3 ok*3 refused*3 ok").kinds
    # Four of them, but over more than ten minutes.
    assert "flapping" not in TimeLine().run("refused*3 ok*3 ok*120 refused*3 ok*3").kinds


def test_missing_data_become_unknown_with_an_alert_of_their_own() -> None:
    line = TimeLine().run("ok none*11")
    assert (line.said, line.states[-1]) == ([], "OK")
    line.run("none")
    assert (line.said, line.states[-1]) == (["unknown no_data @60"], "UNKNOWN")
    assert line.told[0][1].evidence == "nothing was learnt of it for 1 min: no data"


@pytest.mark.parametrize("word", ["none", "gone"])
def test_missing_data_never_make_it_well(word: str) -> None:
    line = TimeLine().run(f"refused*3 {word}*200")
    assert "recovery" not in line.kinds
    assert line.states[-1] == "UNKNOWN"
    assert line.run("ok*2").kinds.count("recovery") == 0
    assert line.run("ok").kinds.count("recovery") == 1


def test_a_subject_that_never_answered_is_unknown() -> None:
    assert TimeLine().run("none*14").said == ["unknown no_data @60"]


def test_what_was_unknown_and_is_down_is_told_as_down() -> None:
    line = TimeLine().run("ok none*12 refused*3 ok*3")
    assert line.said == ["unknown no_data @60", "alert down @75", "recovery down @90"]


def test_what_was_unknown_recovers_only_by_good_data_in_a_row() -> None:
    line = TimeLine().run("ok none*12 ok ok refused ok ok")
    assert line.kinds == ["unknown"]
    assert line.run("ok").said[-1] == "recovery no_data @90"


def test_what_was_down_and_is_silent_is_one_incident() -> None:
    line = TimeLine().run("refused*3 none*20 refused*3 none*20 ok*3")
    assert line.kinds == ["alert", "unknown", "recovery"]
    assert "before that: PostgreSQL takes no connections" in line.told[1][1].evidence


def test_an_incident_that_began_without_data_is_as_long_as_that() -> None:
    line = TimeLine().run("ok none*12 refused*3 ok*3")
    assert {each.since for _at, each in line.told} == {EPOCH}
    assert line.told[-1][1].duration_seconds == 90


def test_an_incident_that_began_without_data_in_a_silence_is_as_long_as_that() -> None:
    line = TimeLine().run("ok").silence(120).run("none*12 refused*12")
    assert [(each.kind, each.since, each.duration_seconds) for _at, each in line.told] == [("alert", EPOCH, 120)]


def test_repeats_count_from_the_alert_and_not_from_the_missing_data_before_it() -> None:
    line = TimeLine().run("ok none*70 refused*70")
    assert line.said == ["unknown no_data @60", "alert down @365", "repeat down @665"]


def test_what_is_no_hurry_must_last() -> None:
    line = TimeLine(key=Key(SUBJECT, MIRROR), every=1.0).run("ok old*15", causes={"old": "mirror_old"})
    assert (line.said, line.states[-1]) == ([], "SUSPECT")
    assert line.run("old", causes={"old": "mirror_old"}).said == ["alert mirror_old @16"]


def test_what_was_set_aside_is_neither_missing_nor_well_nor_watched_for_the_first_time() -> None:
    line = TimeLine(key=Key(SUBJECT, KEYS))
    causes = {"many": "removable_keys"}
    line.run("aside")
    assert line.alerts.board.keys == {}
    line.run("many aside*3000", causes=causes)  # more than four hours
    assert (line.states[-1], line.kinds) == ("DOWN", ["alert"])
    assert line.run("ok").kinds[-1] == "recovery"


def test_what_is_no_longer_set_aside_is_reminded_of() -> None:
    causes = {"many": "removable_keys"}
    assert TimeLine(key=Key(SUBJECT, KEYS)).run("many aside*100 many", causes=causes).kinds == ["alert", "repeat"]


def test_nothing_is_told_in_a_silence_and_what_is_still_wrong_is_told_then() -> None:
    line = TimeLine().run("ok").silence(60).run("refused*11")
    assert (line.said, line.states[-1]) == ([], "DOWN")
    line.run("refused")
    assert line.said == ["alert down @60"]
    assert line.told[0][1].since == EPOCH + timedelta(seconds=5)


def test_what_began_and_ended_in_a_silence_is_never_told() -> None:
    assert TimeLine().run("ok").silence(120).run("refused*10 ok*60").said == []


def test_what_was_told_before_a_silence_and_ended_in_it_is_told_as_over() -> None:
    line = TimeLine().run("refused*3").silence(60).run("ok*5")
    assert line.kinds == ["alert"]
    line.run("ok*20")
    assert line.said == ["alert down @10", "recovery down @70"]
    assert line.told[1][1].duration_seconds == 25


def test_what_was_told_before_a_silence_and_is_still_wrong_is_told_again() -> None:
    assert TimeLine().run("refused*3").silence(60).run("refused*20").said == ["alert down @10", "repeat down @70"]


def test_a_silence_can_be_of_one_subject_and_can_be_ended() -> None:
    assert TimeLine().silence(600, Subject(CLIENT, "app")).run("refused*3").kinds == ["alert"]
    assert TimeLine().silence(600, SUBJECT).run("refused*3").kinds == []
    line = TimeLine().silence(600, SUBJECT).run("refused*3").silence(0, SUBJECT).run("refused")
    assert line.kinds == ["alert"]


@pytest.mark.parametrize("seconds", [-1, float("nan"), 1e9])
def test_a_silence_without_an_end_is_refused(seconds: float) -> None:
    with pytest.raises(UsageError) as refused:
        TimeLine().silence(seconds)
    assert "2678400" in refused.value.hint


@pytest.mark.parametrize("step", [-86400.0, 86400.0])
def test_a_clock_that_steps_changes_no_duration(step: float) -> None:
    line = TimeLine().run("refused*3")
    line.wall_step = step
    line.run("refused*3 ok*3 ok*200")
    assert line.said == ["alert down @10", "recovery down @40"]
    assert line.told[1][1].duration_seconds == 40
    assert line.told[1][1].since == EPOCH


def broken_database_and(key: Key, cause: str) -> TimeLine:
    """A database that is down for five minutes, with something that follows from it and heals 20 s after it."""
    line = TimeLine(every=5.0)
    for second in range(0, 900, 5):
        line.seconds = second
        down, follows = 100 <= second < 400, 105 <= second < 420
        line.look(
            [
                Verdict(KEY, BAD, "down", "refused") if down else Verdict(KEY, GOOD),
                Verdict(key, BAD, cause, "follows") if follows else Verdict(key, GOOD),
            ]
        )
    return line


@pytest.mark.parametrize(
    ("key", "cause"),
    [
        (Key(SUBJECT, MIRROR), "mirror_old"),
        (Key(SUBJECT, CONNECTIONS), "connections_used"),
        (Key(Subject(CLIENT, "app"), CACHE), "cache_in_use"),
        (Key(Subject(CLIENT, "app"), POOL), "pool_waiting"),
        (Key(Subject(CLIENT, "app"), SLOW), "slow_queries"),
    ],
)
def test_what_a_dead_database_explains_is_not_told_too(key: Key, cause: str) -> None:
    line = broken_database_and(key, cause)
    assert [(each.kind, each.key.concern) for _at, each in line.told] == [("alert", SERVES), ("recovery", SERVES)]


def test_what_stays_when_the_database_is_back_is_told() -> None:
    line = TimeLine()
    mirror = Key(SUBJECT, MIRROR)
    for second in range(0, 300, 5):
        line.seconds = second
        well = Verdict(KEY, GOOD) if second >= 100 else Verdict(KEY, BAD, "down", "refused")
        line.look([well, Verdict(mirror, BAD, "mirror_old", "old")])
    assert [f"{each.kind} {each.key.concern} @{at:g}" for at, each in line.told] == [
        "alert serves @10", "recovery serves @110", "alert mirror @140",
    ]  # fmt: skip


def test_a_client_that_is_silent_is_told_once_and_not_for_each_of_its_figures() -> None:
    line, app = TimeLine(), Subject(CLIENT, "app")
    for second in range(0, 200, 5):
        line.seconds = second
        state = GOOD if second < 20 else MISSING
        line.look([Verdict(Key(app, each), state) for each in ("answers", POOL, SLOW, CACHE)])
    assert [(each.kind, each.key.concern) for _at, each in line.told] == [("unknown", "answers")]


def test_a_trouble_of_one_subject_explains_nothing_of_another() -> None:
    line, one, other = TimeLine(), Subject(CLIENT, "one"), Subject(CLIENT, "other")
    for second in range(0, 60, 5):
        line.seconds = second
        line.look(
            [
                Verdict(Key(one, "answers"), BAD, "client_hangs", "x"),
                Verdict(Key(other, POOL), BAD, "pool_used", "y"),
            ]
        )
    assert [str(each.key.subject) for _at, each in line.told] == ["client one", "client other"]


def test_what_is_no_longer_watched_is_forgotten() -> None:
    line = TimeLine().run("refused*3")
    assert line.alerts.retire(SUBJECT) == [KEY]
    assert line.run("gone*100").kinds == ["alert"]
    assert TimeLine().run("ok").alerts.retire(SUBJECT) == []


def test_a_verdict_that_no_rule_makes_is_refused() -> None:
    board = Board(AlertSettings())
    for verdict in (Verdict(KEY, BAD, "pool_used"), Verdict(KEY, BAD), Verdict(Key(SUBJECT, "moon"), GOOD)):
        with pytest.raises(UsageError):
            board.step([verdict], TimeLine().now)
    assert board.keys == {}


def test_a_company_called_like_the_database_is_somebody_else() -> None:
    line = TimeLine()
    other = Key(Subject("company", SUBJECT.name), SERVES)
    for second in range(0, 15, 5):
        line.seconds = second
        line.look([Verdict(KEY, BAD, "down", "x"), Verdict(other, GOOD)])
    assert [each.key for _at, each in line.told] == [KEY]
    assert KEY.subject.kind == DATABASE
