# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a notification is worded for each service, and how long texts end."""

from __future__ import annotations

import time

import pytest

from baileys_resilience.notify import Delivery, Notification, notify_all
from baileys_resilience.notify.sentry import as_event
from baileys_resilience.notify.telegram import MAX_CHARACTERS, cut_at_line_end


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def test_a_message_that_fits_is_left_alone() -> None:
    assert cut_at_line_end("x" * MAX_CHARACTERS) == "x" * MAX_CHARACTERS


def test_a_long_message_ends_with_a_whole_line_and_says_that_it_was_cut() -> None:
    lines = [f"line {n:04d}" for n in range(1000)]
    cut = cut_at_line_end("\n".join(lines)).split("\n")
    assert cut[-1] == "[cut]"
    assert cut[:-1] == lines[: len(cut) - 1]
    assert MAX_CHARACTERS - 12 <= units("\n".join(cut)) <= MAX_CHARACTERS


@pytest.mark.parametrize("text", ["x" * 5000, "title\n" + "x" * 5000, "😀" * 3000, "a" + "😀" * 3000])
def test_one_endless_line_is_cut_inside_and_never_within_a_character(text: str) -> None:
    cut = cut_at_line_end(text)
    assert units(cut) <= MAX_CHARACTERS
    assert units(cut) > MAX_CHARACTERS - 12
    assert text.startswith(cut.removesuffix("\n[cut]"))


def test_tags_of_an_event_have_no_line_breaks_and_end_where_sentry_would_drop_them() -> None:
    event = as_event(Notification("title", tags={"host": "a\nb", "long": "x" * 300}))
    assert (event["tags"]["host"], len(event["tags"]["long"])) == ("a b", 200)
    assert event["message"] == "title"
    assert "fingerprint" not in event


def test_an_unknown_level_becomes_an_error_instead_of_a_refusal() -> None:
    assert Notification("x", level="catastrophe").redacted().level == "error"


class Broken:
    service = "broken"
    budget_seconds = 0.2

    def send(self, notification: Notification) -> Delivery:
        raise RuntimeError("secret of 4917612345678")


class Stuck(Broken):
    service = "stuck"

    def send(self, notification: Notification) -> Delivery:
        time.sleep(30)
        return Delivery(True, "far too late", self.service)


class Fine(Broken):
    service = "fine"

    def send(self, notification: Notification) -> Delivery:
        return Delivery(True, "sent", self.service)


def test_a_notifier_that_breaks_or_hangs_neither_raises_nor_holds_back_the_others() -> None:
    started = time.monotonic()
    broken, stuck, fine = notify_all([Broken(), Stuck(), Fine()], Notification("x"))
    assert time.monotonic() - started < 2
    assert broken == Delivery(False, "RuntimeError in the notifier", "broken")
    assert (stuck.ok, fine.ok, stuck.service) == (False, True, "stuck")


def test_nobody_to_tell_is_no_delivery() -> None:
    assert notify_all([], Notification("x")) == []
