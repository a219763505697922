# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outbox on a simulated clock: order, retries, paces, what is refused, what is dropped, and restarts."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from baileys_resilience.errors import Busy, UsageError
from baileys_resilience.notify import Delivery, Notification, NotifySettings, notifiers_for
from baileys_resilience.notify.model import LATER, Pace
from baileys_resilience.notify.outbox import Outbox, OutboxSettings
from tests.support.outboxes import BAD_TEXT, DOWN, OK, UNAUTHORIZED, Box, note


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def queued_files(box: Box, service: str) -> list[Path]:
    return sorted((box.directory / service / "queue").iterdir())


# Putting


def test_what_is_put_is_on_disk_and_private_and_nobody_was_asked(box: Box) -> None:
    box.outbox.put(note("down"))
    for service in box.services.values():
        assert service.tried == []
        (path,) = queued_files(box, service.service)
        assert json.loads(path.read_text())["notification"]["title"] == "down"
    for path in [box.directory, *box.directory.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_put_syncs_the_file_before_it_gets_its_name_and_the_directory_after_it(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        done.append("sync " + ("directory" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"))
        real_fsync(descriptor)

    def replace(*arguments: Any, **keywords: Any) -> None:
        done.append("name")
        real_replace(*arguments, **keywords)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    box.outbox.put(note("down"), ["telegram"])
    assert done == ["sync file", "name", "sync directory"]


def test_services_that_are_named_are_told_and_no_others(box: Box) -> None:
    assert box.outbox.put(note("slow"), ["telegram", "pager"]).services == ("telegram",)
    assert box.outbox.put(note("down")).services == ("sentry", "telegram")
    box.run()
    assert box.services["sentry"].titles == ["down"]
    assert box.services["telegram"].titles == ["slow", "down"]


def test_the_same_news_is_not_taken_twice_waiting_or_sent(box: Box) -> None:
    box.outbox.put(note("down"))
    box.outbox.put(note("down"))
    box.run()
    box.restart()
    box.outbox.put(note("down"))
    box.outbox.put(note("down", fingerprint=""))
    box.outbox.put(note("down", fingerprint=""))
    box.run()
    assert box.services["sentry"].titles == ["down"] * 3


def test_a_disk_that_is_full_keeps_nothing_from_being_sent(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any, **_keywords: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("baileys_resilience.files.write_at", full)
        put = box.outbox.put(note("disk is full"))
    assert (put.services, put.problem) == (("sentry", "telegram"), "No space left on device")
    assert box.status("sentry").in_memory == 1
    box.run()
    assert box.services["sentry"].titles == ["disk is full"]
    assert box.status("sentry").queued == 0


# Sending


def test_messages_keep_their_order_whatever_fails_meanwhile(box: Box) -> None:
    box.services["telegram"].answers[:] = [DOWN, OK, DOWN, DOWN, OK]
    for title in ("alert", "repeat", "over"):
        box.outbox.put(note(title))
    box.run(60)
    assert box.services["telegram"].titles == ["alert", "repeat", "over"]
    assert [each.title for _at, each in box.services["telegram"].tried][:5] == ["alert"] * 2 + ["repeat"] * 3


def test_a_service_that_is_dead_delays_no_other(box: Box) -> None:
    box.services["sentry"].answers[:] = [DOWN]
    box.outbox.put(note("down"))
    box.outbox.put(note("over"))
    box.run()
    assert box.services["telegram"].titles == ["down", "over"]
    assert box.status("sentry").queued == 2


def test_retries_wait_longer_each_time_up_to_a_minute(box: Box) -> None:
    box.services["sentry"].answers[:] = [DOWN]
    box.outbox.put(note("down"))
    box.run(400)
    times = [at for at, _each in box.services["sentry"].tried]
    gaps = [round(later - earlier, 3) for earlier, later in itertools.pairwise(times)]
    assert gaps[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    box.services["sentry"].answers[:] = [OK, DOWN]
    box.outbox.put(note("again"))
    box.run(65)
    times = [at for at, each in box.services["sentry"].tried if each.title == "again"]
    assert round(times[1] - times[0], 3) == 1, "a success begins anew"


def test_jitter_only_lengthens_and_by_half_at_most(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.outbox.close(0)
    box.outbox = Outbox(box.directory, list(box.services.values()), None, box.clock, jitter=lambda: 1.0)
    box.services["sentry"].answers[:] = [DOWN]
    box.outbox.put(note("down"))
    box.run(10)
    times = [at for at, _each in box.services["sentry"].tried]
    assert round(times[1] - times[0], 3) == 1.5


def test_what_a_service_asks_to_wait_is_waited(box: Box) -> None:
    box.services["telegram"].answers[:] = [Delivery(False, "HTTP 429", "", LATER, 37.0), OK]
    box.outbox.put(note("down"))
    box.run(36.9)
    assert len(box.services["telegram"].tried) == 1
    assert box.status("telegram").next_try_seconds == pytest.approx(0.1)
    box.run(0.2)
    assert box.services["telegram"].titles == ["down"]


@pytest.mark.parametrize("nonsense", [float("inf"), float("nan"), -5.0, 0.0, 1e9])
def test_a_wait_that_is_none_does_not_silence_a_service(box: Box, nonsense: float) -> None:
    box.services["telegram"].answers[:] = [Delivery(False, "HTTP 429", "", LATER, nonsense), OK]
    box.outbox.put(note("down"))
    box.run(3601)
    assert box.services["telegram"].titles == ["down"]


def test_telegrams_paces_are_kept_a_second_and_a_minute(tmp_path: Path) -> None:
    box = Box(tmp_path, "telegram")
    group = notifiers_for(NotifySettings(telegram_token="1:a", telegram_chat_id="-100"))[0]
    box.services["telegram"].paces = group.paces
    box.restart()
    for number in range(45):
        box.outbox.put(note(f"n{number}"))
    box.run(200)
    times = [at for at, _each in box.services["telegram"].tried]
    assert len(times) == 45
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 1.0
    assert all(sum(start <= at < start + 60 for at in times) <= 20 for start in times)
    assert times[20] - times[0] == pytest.approx(60), "and no slower than they allow"
    alone = notifiers_for(NotifySettings(telegram_token="1:a", telegram_chat_id="4242"))[0]
    assert list(alone.paces) == [Pace(1, 1.0)]


# What comes late


def test_what_comes_late_says_so_and_what_comes_in_time_does_not(box: Box) -> None:
    box.services["sentry"].answers[:] = [DOWN]
    box.outbox.put(note("down"))
    box.run(3700)
    box.services["sentry"].answers[:] = [OK]
    box.outbox.put(note("over", "recovery"))
    box.run(90)
    late, timely = box.services["sentry"].taken
    assert late.text.splitlines()[0].startswith("1 h 2 min late: this was so at 2027-01-15T08:00:00Z")
    assert late.text.endswith("text of down")
    assert timely.text == "text of over"


def test_an_alert_of_the_day_before_is_dropped_and_that_is_told(box: Box) -> None:
    box.services["sentry"].answers[:] = [DOWN]
    box.outbox.put(note("old"))
    box.run(43200)
    box.outbox.put(note("younger"))
    box.run(43300)
    box.services["sentry"].answers[:] = [OK]
    box.run(61)
    word, younger = box.services["sentry"].taken
    assert word.title == "1 message was not sent to sentry"
    assert "1 because they had waited too long; 1 of kind alert" in word.text
    assert "- old" in word.text
    assert younger.title == "younger"
    assert box.status("sentry").dropped == 1


def test_a_repeat_expires_after_an_hour_without_a_word(box: Box) -> None:
    box.services["sentry"].answers[:] = [DOWN]
    box.outbox.put(note("still", "repeat"))
    box.outbox.put(note("over", "recovery"))
    box.run(3700)
    box.services["sentry"].answers[:] = [OK]
    box.run(61)
    assert box.services["sentry"].titles == ["over"]
    assert box.status("sentry").dropped == 1


def test_a_clock_that_is_set_ages_nothing_within_one_boot(box: Box) -> None:
    box.services["sentry"].answers[:] = [DOWN, OK]
    box.outbox.put(note("down"))
    box.run()
    box.clock.step_wall(40 * 86400)
    box.restart()
    box.run(10)
    assert box.services["sentry"].titles == ["down"]
    box.services["sentry"].answers[:] = [DOWN]
    box.outbox.put(note("next"))
    box.clock.step_wall(-90 * 86400)
    box.clock.reboot()
    box.restart()
    assert box.status("sentry").oldest_seconds == 0, "never negative"


# Refusals


def test_settings_that_are_refused_are_told_once_to_the_others_and_the_messages_stay(box: Box) -> None:
    telegram, sentry = box.services["telegram"], box.services["sentry"]
    telegram.answers[:] = [UNAUTHORIZED]
    for number in range(3):
        box.outbox.put(note(f"n{number}"))
    box.run(10)
    assert sentry.titles == ["n0", "n1", "n2", "telegram refuses our messages"]
    word = sentry.taken[-1]
    assert word.text.startswith("HTTP 401: Unauthorized\n3 messages wait for it")
    assert "baileys_resilience_telegram_token" in word.text
    assert len(telegram.tried) == 1
    status = box.status("telegram")
    assert (status.refused, status.queued, status.last_error) == (True, 3, "HTTP 401: Unauthorized")
    box.restart()
    box.run(3 * 3600)
    assert len(sentry.taken) == 4, "one clear word, also after a restart"
    assert len(telegram.tried) == 2 + 3, "once at each start, and once an hour"


def test_settings_that_are_put_right_send_what_waited(box: Box) -> None:
    telegram, sentry = box.services["telegram"], box.services["sentry"]
    telegram.answers[:] = [UNAUTHORIZED]
    box.outbox.put(note("down"))
    box.run()
    telegram.answers[:] = [OK]
    telegram.settings_digest = "digest-2"
    box.restart()
    assert not box.status("telegram").refused
    box.run()
    assert telegram.titles == ["down"]
    telegram.answers[:] = [UNAUTHORIZED]
    box.outbox.put(note("later"))
    box.run()
    assert sentry.titles.count("telegram refuses our messages") == 2, "it is refused anew, which is news"


def test_two_services_that_refuse_tell_each_other_and_no_more(box: Box) -> None:
    for each in box.services.values():
        each.answers[:] = [UNAUTHORIZED]
    box.outbox.put(note("down"))
    box.run(7200)
    assert [each.queued for each in box.outbox.status()] == [2, 2]


def test_a_message_that_a_service_does_not_take_is_dropped_and_told_and_holds_up_nothing(box: Box) -> None:
    sentry = box.services["sentry"]
    sentry.answers[:] = [BAD_TEXT, BAD_TEXT, BAD_TEXT, OK]
    box.outbox.put(note("odd"))
    box.outbox.put(note("fine"))
    box.run(30)
    assert [each.title for _at, each in sentry.tried][:3] == ["odd"] * 3
    assert sentry.titles == ["1 message was not sent to sentry", "fine"]
    assert "the service takes none like them" in sentry.taken[0].text


def test_a_service_that_takes_nothing_at_all_is_no_reason_to_drop_everything(box: Box) -> None:
    box.services["sentry"].answers[:] = [BAD_TEXT]
    for number in range(10):
        box.outbox.put(note(f"n{number}"))
    box.run(3000)
    assert box.status("sentry").queued == 9
    assert box.status("sentry").refused
    assert box.services["telegram"].titles[-1] == "sentry refuses our messages"


# Bounds


def test_when_there_is_no_room_repeats_go_first_and_alerts_last(tmp_path: Path) -> None:
    box = Box(tmp_path, "sentry", settings=OutboxSettings(limit=5))
    box.services["sentry"].answers[:] = [DOWN]
    for title, kind in (("a1", "alert"), ("r1", "repeat"), ("o1", "recovery"), ("r2", "repeat"), ("a2", "alert")):
        box.outbox.put(note(title, kind))
    waiting = []
    for title, kind in (("a3", "alert"), ("a4", "alert"), ("r3", "repeat"), ("a5", "alert"), ("a6", "alert")):
        box.outbox.put(note(title, kind))
        names = [json.loads(path.read_text())["notification"]["title"] for path in queued_files(box, "sentry")]
        waiting.append(" ".join(names))
    assert waiting == [
        "a1 o1 r2 a2 a3", "a1 o1 a2 a3 a4", "a1 o1 a2 a3 a4", "a1 a2 a3 a4 a5", "a2 a3 a4 a5 a6",
    ]  # fmt: skip
    box.restart()
    box.services["sentry"].answers[:] = [OK]
    box.run()
    word = box.services["sentry"].taken[0]
    assert word.title == "5 messages were not sent to sentry"
    assert "5 because too many were waiting; 1 of kind alert, 1 of kind recovery, 3 of kind repeat" in word.text
    assert box.services["sentry"].titles[1:] == ["a2", "a3", "a4", "a5", "a6"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(st.sampled_from(["alert", "repeat", "recovery"]), min_size=1, max_size=30),
    answers=st.lists(st.sampled_from([OK, DOWN, BAD_TEXT, UNAUTHORIZED]), max_size=20),
    moments=st.sets(st.integers(0, 30), max_size=5),
)
def test_whatever_happens_each_message_is_sent_once_or_counted_as_dropped_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], answers: list[Delivery], moments: set[int]
) -> None:
    box = Box(tmp_path_factory.mktemp("box"), "sentry", settings=OutboxSettings(limit=6))
    box.services["sentry"].answers[:] = [*answers, OK]
    dropped = 0
    for number, kind in enumerate(kinds):
        box.outbox.put(note(f"m{number:02d}", kind))
        if number in moments:
            dropped += box.status("sentry").dropped
            box.restart()
        box.run(0.5)
    box.run(20 * 3600)
    dropped += box.status("sentry").dropped
    titles = [each for each in box.services["sentry"].titles if each.startswith("m")]
    assert titles == sorted(set(titles))
    assert len(titles) + dropped == len(kinds)
    assert box.status("sentry").queued == 0


# Restarts


def test_a_restart_goes_on_where_it_was(box: Box) -> None:
    box.services["sentry"].answers[:] = [DOWN]
    for title in ("one", "two"):
        box.outbox.put(note(title))
    box.run()
    box.restart()
    box.outbox.put(note("three"))
    box.services["sentry"].answers[:] = [OK]
    box.run(5)
    assert box.services["sentry"].titles == ["one", "two", "three"]
    assert box.services["telegram"].titles == ["one", "two", "three"]


def test_what_cannot_be_read_is_put_aside_and_the_rest_is_sent(box: Box) -> None:
    for title in ("one", "two", "three"):
        box.outbox.put(note(title))
    first, second, _third = queued_files(box, "sentry")
    first.write_bytes(b"\0" * 20)
    content = json.loads(second.read_text())
    second.write_text(json.dumps({**content, "version": 2}))
    (first.parent / f".{first.name}.0badcafe.resilience-new").write_text("half")
    box.restart()
    box.run()
    assert box.services["sentry"].titles == ["three"]
    assert [path.suffix for path in queued_files(box, "sentry")] == [".damaged", ".damaged"]
    assert box.status("sentry").damaged == 2


def test_two_outboxes_do_not_share_a_directory(box: Box) -> None:
    with pytest.raises(Busy) as refused:
        box.opened()
    assert "one monitor a host" in refused.value.hint
    box.outbox.close(0)
    box.opened().close(0)


def test_messages_of_a_service_that_is_no_longer_set_wait_for_a_day(box: Box) -> None:
    box.outbox.put(note("down"))
    telegram = box.services.pop("telegram")
    box.restart()
    (path,) = queued_files(box, "telegram")
    os.utime(path, (0, 0))
    box.restart()
    assert queued_files(box, "telegram") == []
    assert telegram.tried == []


def test_what_was_sent_but_could_not_be_marked_is_not_sent_again_by_this_process(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: Any) -> None:
        raise OSError(30, "Read-only file system")

    box.outbox.put(note("down"))
    with monkeypatch.context() as patch:
        patch.setattr("baileys_resilience.notify.outbox.shelf.os.replace", refuse)
        box.run(30)
    assert box.services["sentry"].titles == ["down"]
    assert "Read-only file system" in box.status("sentry").last_error


def test_notifiers_that_note_a_message_before_they_send_it_are_refused(tmp_path: Path) -> None:
    """A kill between the two would lose it."""
    remembering = notifiers_for(NotifySettings(telegram_token="1:a", telegram_chat_id="1"), tmp_path / "state")
    with pytest.raises(UsageError) as refused:
        Outbox(tmp_path / "outbox", remembering)
    assert "without state_dir" in refused.value.hint
    Outbox(tmp_path / "outbox", []).close(0)


# Threads


def test_a_service_that_breaks_its_promise_ends_no_thread(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(_notification: Notification) -> Delivery:
        raise RuntimeError("1:secret")

    monkeypatch.setattr(box.services["sentry"], "send", explode)
    box.outbox.put(note("down"))
    sender = box.outbox._senders["sentry"]
    with pytest.raises(RuntimeError):
        sender.step()
    assert sender.broke(RuntimeError("1:secret")) == 1.0
    assert box.status("sentry").last_error == "RuntimeError in the outbox"
    monkeypatch.undo()
    box.run(2)
    assert box.services["sentry"].titles == ["down"]


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError) as refused:
        OutboxSettings(limit=1)
    assert "at least 2" in refused.value.hint


def test_a_status_holds_no_secret(box: Box) -> None:
    box.outbox.put(note("down"))
    box.run(3)
    status = box.status("sentry").as_dict()
    assert {name: status[name] for name in ("queued", "sent", "failed", "refused", "last_success_seconds")} == {
        "queued": 0, "sent": 1, "failed": 0, "refused": False, "last_success_seconds": 3.0,
    }  # fmt: skip
