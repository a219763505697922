# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A notice is what notify/ takes: levels, tags, fingerprints, and nothing in it that redaction would spoil."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from baileys_resilience.health.alerts.causes import SLOW
from baileys_resilience.health.alerts.core import Alerts
from baileys_resilience.health.alerts.model import CLIENT, COMPANY, Key, Moment, Notice, Subject
from baileys_resilience.health.alerts.readings import Client, Keys
from baileys_resilience.health.alerts.settings import AlertSettings
from baileys_resilience.notify import telegram
from baileys_resilience.notify.dedupe import Ledger, OnceOnly
from baileys_resilience.notify.model import LEVELS, Delivery, Notification
from tests.support.time_lines import BOOTED, EPOCH, SUBJECT, TimeLine

EVERYTHING = "ok none*12 refused*190 ok*3 refused*3 ok*3 refused*3 ok*130"


def everything() -> list[Notice]:
    found = [each for _at, each in TimeLine().run(EVERYTHING).told]
    assert {each.kind for each in found} == {"alert", "repeat", "recovery", "flapping", "unknown"}
    assert [each.kind for each in found].count("repeat") == 2
    return found


@pytest.mark.parametrize("kind", ["alert", "repeat", "recovery", "flapping", "unknown"])
def test_every_kind_is_a_notification(kind: str) -> None:
    notice = next(each for each in everything() if each.kind == kind)
    told = notice.as_notification()
    assert told.level in LEVELS
    assert told.tags["kind"] == kind
    assert all(isinstance(value, str) and value for value in told.tags.values())
    assert ("Run: " in told.text) == (kind != "recovery")
    assert told.redacted() == told  # neither times nor figures look like a telephone number


def test_levels_follow_severity_and_good_news_is_info() -> None:
    levels = {each.kind: each.as_notification().level for each in everything()}
    assert (levels["alert"], levels["unknown"], levels["recovery"]) == ("error", "warning", "info")


def test_companies_of_the_evidence_stay_readable() -> None:
    alerts = Alerts(AlertSettings())
    company = "962302123456"
    (notice,) = alerts.step([Keys(SUBJECT, {company: 501})], Moment(BOOTED, EPOCH)).notices
    assert f"501 of company {company}" in notice.as_notification().redacted().text


def test_the_name_of_a_company_that_it_is_about_stays_readable() -> None:
    line = TimeLine(key=Key(Subject(COMPANY, "962302123456"), "keys"))
    line.run("many", causes={"many": "removable_keys"})
    assert "company 962302123456" in line.told[0][1].as_notification().redacted().title


def test_a_jid_in_an_error_does_not_leave_the_host() -> None:
    line = TimeLine()
    line.run("ok")
    (verdict,) = [line.verdict("refused", {"refused": "down"})]
    for _look in range(3):
        line.seconds += 5
        line.look([type(verdict)(verdict.key, verdict.state, "down", "key 4917012345678@s.whatsapp.net is locked")])
    assert "4917012345678" in line.told[0][1].evidence
    assert "4917012345678" not in line.told[0][1].as_notification().redacted().text


class Chat:
    service, budget_seconds = "chat", 1.0

    def __init__(self) -> None:
        self.got: list[Notification] = []

    def send(self, notification: Notification) -> Delivery:
        self.got.append(notification)
        return Delivery(True, "sent", self.service)


def test_deduplication_of_notify_swallows_no_news(tmp_path: Path) -> None:
    chat = Chat()
    once = OnceOnly(chat, Ledger(tmp_path / "notified.json", 86400, clock=lambda: 1000.0))
    notices = everything()
    for notice in notices:
        once.send(notice.as_notification())
    assert len(chat.got) == len(notices)


def test_a_notice_that_is_made_again_after_a_crash_is_the_same_news() -> None:
    line = TimeLine().run("ok refused*2")
    state = json.loads(json.dumps(line.alerts.to_dict(line.now, line.boot)))
    line.run("refused")
    again = TimeLine().run("ok refused*2")
    again.alerts = Alerts.from_dict(state, AlertSettings(), again.now, again.boot)
    again.run("refused")
    assert line.told[-1][1].fingerprint == again.told[-1][1].fingerprint


def test_slow_queries_go_to_telegram_alone_since_sentry_has_each_of_them() -> None:
    line = TimeLine(key=Key(SUBJECT, SLOW)).run("ok slow", causes={"slow": "slow_queries"})
    assert [each.services for _at, each in line.told] == [(telegram.SERVICE,)]
    assert {each.services for each in everything()} == {()}


def test_what_hangs_is_told_of_the_client() -> None:
    alerts, told = Alerts(AlertSettings()), []
    for second in range(0, 30, 5):
        moment = Moment(BOOTED + second, EPOCH)
        told += alerts.step([Client(Subject(CLIENT, "/srv/app"), hangs=True)], moment).notices
    assert [each.as_notification().title for each in told] == ["client /srv/app: the application hangs"]
