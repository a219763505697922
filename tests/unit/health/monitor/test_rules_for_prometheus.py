# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The alert rules for Prometheus say what the monitor's own alerts say, and name figures that there are. promtool runs
them in tests/system.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.health.alerts.causes import (
    CAUSES,
    CONCERNS,
    NO_DATA_CAUSE,
    NO_DATA_COMMAND,
    SERVES,
)
from baileys_resilience.health.alerts.settings import AlertSettings
from baileys_resilience.health.findings import STATUSES
from baileys_resilience.health.monitor.service import _ILL_SECONDS
from tests.support import exposed

#: these are one figure, which only the monitor tells apart: `baileys-resilience health` says which it is
TOLD_APART_BY_THE_MONITOR = {each.name for each in CAUSES.values() if each.concern == SERVES} | {
    "backup_old",
    "backup_missing",
}
OFF_BY_DEFAULT = {"old_keys"}
#: what only Prometheus can tell: of the monitor itself, of its messages, and of the clients' own figures
NO_CAUSES_OF_OURS = {
    "WaSessionMonitorGone", "WaSessionMonitorHangs", "WaSessionNotifyRefused", "WaSessionNotifyWaits",
    "WaSessionClientNotScraped", "WaSessionJournalFails",
}  # fmt: skip
_UNITS = {"s": 1, "m": 60}
RULES = exposed.rules()
ALERTS = {each["alert"]: each for each in RULES if "alert" in each}


def causes(rule: dict[str, Any]) -> list[str]:
    return [each for each in rule["annotations"].get("causes", "").split(", ") if each]


def test_every_cause_of_ours_is_an_alert_and_each_alert_has_its_causes() -> None:
    named = [cause for rule in ALERTS.values() for cause in causes(rule)]
    assert {*CAUSES, NO_DATA_CAUSE} - set(named) == OFF_BY_DEFAULT
    assert set(named) <= {*CAUSES, NO_DATA_CAUSE}
    assert {name for name, rule in ALERTS.items() if not causes(rule)} == NO_CAUSES_OF_OURS
    several = {cause for rule in ALERTS.values() if len(causes(rule)) > 1 for cause in causes(rule)}
    assert several == TOLD_APART_BY_THE_MONITOR
    assert len(ALERTS) == sum("alert" in each for each in RULES), "two of one name"


def test_severity_command_and_note_are_those_of_the_cause() -> None:
    for name, rule in ALERTS.items():
        labels, annotations = rule["labels"], rule["annotations"]
        for cause in causes(rule):
            if cause == NO_DATA_CAUSE:
                assert (labels["severity"], annotations["command"]) == ("warning", NO_DATA_COMMAND), name
                continue
            known = CAUSES[cause]
            assert labels == {"severity": CONCERNS[known.concern].severity, "concern": known.concern}, name
            if cause in TOLD_APART_BY_THE_MONITOR and known.concern == SERVES:
                assert annotations["command"] == "baileys-resilience health", name
            else:
                assert (annotations["command"], annotations.get("note", "")) == (known.command, known.note), name


@pytest.mark.parametrize(
    ("alert", "figure", "limit"),
    [
        ("WaSessionDiskFull", "disk_used_percent", "> {0.01}"),
        ("WaSessionConnectionsUsed", "pool_used_percent", "> {0.01}"),
        ("WaSessionPoolUsed", "pool_used_percent", "> {0.01}"),
        ("WaSessionPoolWaiting", "pool_waiting", "> {1}"),
        ("WaSessionBouncerUsed", "pool_used_percent", "> {0.01}"),
        ("WaSessionBouncerWaiting", "pool_waiting", "> {1}"),
        ("WaSessionSlowQueries", "slow_queries", "[5m])) >= {1}"),
        ("WaSessionSlowQueries", "query_ms", 'le="{0.001}"'),
        ("WaSessionReplicaLag", "lag_bytes", "> {1}"),
        ("WaSessionReplicaLag", "lag_seconds", "> {1}"),
        ("WaSessionMirrorOld", "mirror_age_seconds", "> {1}"),
        ("WaSessionMirrorUnusable", "mirror_age_seconds", "> {1}"),
        ("WaSessionRemovableKeys", "removable_keys", "> {1}"),
        ("WaSessionTablesLarge", "tables_bytes", "> {1}"),
    ],
)
def test_a_threshold_is_the_default_of_the_setting(alert: str, figure: str, limit: str) -> None:
    value = getattr(AlertSettings(), figure)
    wanted = re.sub(r"\{([\d.]+)\}", lambda each: f"{value * float(each[1]):.10g}", limit)
    assert re.search(re.escape(wanted) + r"(?!\d)", ALERTS[alert]["expr"])


def test_the_times_are_those_of_the_monitor_or_longer() -> None:
    settings = AlertSettings()
    assert settings.slow_window_seconds == 300, "[5m] in the rule"
    assert f"[{settings.grace_seconds:g}s]" in RULES[0]["expr"]
    assert f"> {_ILL_SECONDS:g}" in ALERTS["WaSessionMonitorHangs"]["expr"]
    for name, rule in ALERTS.items():
        text = rule.get("for", "0s")
        seconds = int(text[:-1]) * _UNITS[text[-1]]
        concern = CONCERNS.get(rule["labels"].get("concern", ""))
        # The figure of a concern, and whether the database serves, are what the monitor has waited for already.
        waited = "wa_session_concern_status" in rule["expr"] or "wa_session_storage_up{" in rule["expr"]
        if concern and concern.held and not waited:
            assert seconds >= settings.hold_seconds, name
        assert seconds >= (0 if concern and concern.proven else 10), name


def test_what_the_database_explains_is_held_back() -> None:
    for name, rule in ALERTS.items():
        concern = CONCERNS.get(rule["labels"].get("concern", ""))
        held_back = "unless on (job, instance) job_instance:wa_session_storage_down:30s" in rule["expr"]
        assert held_back == bool(concern and SERVES in concern.explained_by) or name == "WaSessionNoData", name
    alone = {name for name, each in CONCERNS.items() if SERVES not in each.explained_by} - {SERVES}
    found = re.findall(r'concern(=~|!~)"([^"]+)"', ALERTS["WaSessionNoData"]["expr"])
    assert [(operator, set(names.split("|"))) for operator, names in found] == [("=~", alone), ("!~", {SERVES, *alone})]


def test_every_figure_of_a_rule_is_shown_with_the_labels_that_the_rule_asks_for() -> None:
    known = exposed.TARGET_LABELS.union(
        *(exposed.healthy_monitor().labels(name) for name in exposed.healthy_monitor().names)
    )
    for rule in RULES:
        assert exposed.wrong_selectors(rule["expr"]) == []
        assert exposed.selectors(rule["expr"]), rule
        assert exposed.grouping_labels(rule["expr"]) <= known


@pytest.mark.parametrize(
    "wrong",
    [
        'wa_session_storage_up{job="other"}', "wa_session_storage_up",
        'wa_session_disk_ratio{job="baileys-resilience-monitor"}',
        'wa_session_storage_up{job="baileys-resilience-monitor", operation="x"}',
        'wa_session_journal_bytes{job="baileys-resilience-monitor"}',
        'wa_session_concern_status{job="baileys-resilience-monitor", concern="serve"}',
    ],
)  # fmt: skip
def test_a_selector_that_finds_nothing_is_noticed(wrong: str) -> None:
    assert exposed.wrong_selectors(f"sum({wrong}) > 1")


def test_annotations_lead_to_a_heading_and_use_labels_that_there_are() -> None:
    for rule in ALERTS.values():
        page, anchor = re.fullmatch(
            r"https://github\.com/baileys-resilience/baileys\.resilience/blob/main/docs/([\w-]+\.md)#([\w-]+)",
            rule["annotations"]["runbook_url"],
        ).groups()  # type: ignore[union-attr]
        text = (Path(exposed.ROOT) / "docs" / page).read_text("utf-8")
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}
        assert {"summary", "command", "runbook_url"} <= set(rule["annotations"])


def test_the_figure_of_a_concern_has_the_numbers_that_the_rules_mean() -> None:
    assert STATUSES == ("ok", "warning", "unknown", "critical")
