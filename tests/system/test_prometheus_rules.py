# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules for Prometheus by its own promtool: each alert comes for its fault, alone and not too early; none for what
is well, and what a greater trouble explains is not told.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from baileys_resilience.health.alerts.causes import CONCERNS, SERVES
from tests.support.exposed import CLIENT_JOB, MONITOR_JOB, RULES, Shown, client, healthy_monitor, rules
from tests.system.prometheus import promtool
from tests.system.prometheus_faults import FAULTS, GONE, UP, WITHIN, Fault, Series, series

EVERY_SECONDS = 5
#: faults begin then
ONSET_SECONDS = 600
END_SECONDS = ONSET_SECONDS + 1200
UNITS = {"s": 1, "m": 60}
ALERTS: dict[str, dict[str, Any]] = {each["alert"]: each for each in rules() if "alert" in each}
INSTANCES = {
    MONITOR_JOB: {"job": MONITOR_JOB, "instance": "host:1"},
    CLIENT_JOB: {"job": CLIENT_JOB, "instance": "host:2", "client": "app"},
}
Faults = Mapping[str, Mapping[Series, str]]


def lasts(rule: Mapping[str, Any]) -> int:
    text = rule.get("for", "0s")
    return int(text[:-1]) * UNITS[text[-1]]


def input_series(faults: Faults) -> list[dict[str, str]]:
    """Everything that a healthy monitor and a healthy client show, and what differs from the onset on."""
    made = []
    for job, what in ((MONITOR_JOB, healthy_monitor()), (CLIENT_JOB, client())):
        changes = dict(faults.get(job, {}))
        for (name, labels), value in healthy(what):
            change = changes.pop((name, labels), None)
            made.append(one(job, name, labels, value, change))
        made += [one(job, name, labels, None, change) for (name, labels), change in changes.items()]
    return made


def healthy(what: Shown) -> Iterable[tuple[Series, float]]:
    yield UP, 1.0
    for each in what.samples:
        labels = tuple(sorted(each.labels.items()))
        steady = 0.0 if each.name in ("wa_session_mirror_age_seconds", "wa_session_backup_age_seconds") else each.value
        yield (each.name, labels), steady


def one(
    job: str, name: str, labels: Iterable[tuple[str, str]], value: float | None, change: str | None
) -> dict[str, str]:
    pairs = {**INSTANCES[job], **dict(labels)}
    before, after = ONSET_SECONDS // EVERY_SECONDS - 1, (END_SECONDS - ONSET_SECONDS) // EVERY_SECONDS
    first = f"_x{before + 1}" if value is None else f"{value:.10g}x{before}"
    if change is None:
        rest = f"{value:.10g}x{after}"
    elif change == GONE:
        rest = "stale"
    elif change.startswith("+"):
        step, times = change.removeprefix("+").split("x")
        end = (value or 0.0) + int(step) * int(times)
        rest = f"{(value or 0.0) + int(step):.10g}+{step}x{int(times) - 1} {end:.10g}x{after}"
    else:
        rest = f"{change}x{after}"
    text = ", ".join(f'{label}="{each}"' for label, each in sorted(pairs.items()))
    return {"series": f"{name}{{{text}}}", "values": f"{first} {rest}"}


def firing(at_seconds: int, *alerts: str) -> dict[str, Any]:
    """Exactly these fire then."""
    return {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": f"{at_seconds}s",
        "exp_samples": [{"labels": f'{{alertname="{each}"}}', "value": 1} for each in alerts],
    }


def told(fault: Fault, at_seconds: int) -> dict[str, Any]:
    """With these labels and words."""
    rule, instance = ALERTS[fault.alert], INSTANCES[fault.job]
    annotations = {
        name: text.replace("{{ $labels.instance }}", instance["instance"]) for name, text in rule["annotations"].items()
    }
    labels = {**instance, **rule["labels"], **fault.labels}
    return {
        "eval_time": f"{at_seconds}s",
        "alertname": fault.alert,
        "exp_alerts": [{"exp_labels": labels, "exp_annotations": {**annotations, "summary": fault.summary}}],
    }


def run(
    tmp_path: Path, faults: Faults, expressions: list[dict[str, Any]], alerts: Iterable[dict[str, Any]] = ()
) -> None:
    shutil.copy(RULES, tmp_path / "rules.yml")
    content = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": f"{EVERY_SECONDS}s",
        "tests": [
            {
                "interval": f"{EVERY_SECONDS}s",
                "input_series": input_series(faults),
                "promql_expr_test": expressions,
                "alert_rule_test": list(alerts),
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    promtool("test", "rules", file)


def test_promtool_takes_the_rules() -> None:
    assert f"SUCCESS: {len(ALERTS) + 1} rules found" in promtool("check", "rules", RULES)


def test_each_alert_has_a_fault() -> None:
    assert {each.alert for each in FAULTS} == set(ALERTS)


def test_what_is_well_is_not_told(tmp_path: Path) -> None:
    run(tmp_path, {}, [{"expr": "ALERTS", "eval_time": f"{END_SECONDS}s", "exp_samples": []}])


def test_what_is_just_within_the_limits_is_not_told(tmp_path: Path) -> None:
    run(tmp_path, {MONITOR_JOB: WITHIN}, [firing(ONSET_SECONDS + 290), firing(END_SECONDS)])


@pytest.mark.parametrize("fault", FAULTS, ids=[f"{number}-{each.alert}" for number, each in enumerate(FAULTS)])
def test_an_alert_comes_for_its_fault_alone_and_not_too_early(fault: Fault, tmp_path: Path) -> None:
    wait = lasts(ALERTS[fault.alert])
    due = ONSET_SECONDS + wait + 4 * EVERY_SECONDS
    early = [firing(ONSET_SECONDS + wait - EVERY_SECONDS)] if wait else []
    run(tmp_path, {fault.job: fault.shows}, [firing(ONSET_SECONDS - EVERY_SECONDS), *early, firing(due, fault.alert)],
        [told(fault, due)])  # fmt: skip


def test_what_a_database_that_is_down_explains_is_not_told(tmp_path: Path) -> None:
    shows: dict[Series, str] = {}
    for fault in FAULTS:
        name = ALERTS[fault.alert]["labels"].get("concern")
        if name in CONCERNS and SERVES in CONCERNS[name].explained_by:
            shows |= fault.shows
    shows |= {series("concern_status", concern="slow", subject="database db:5432/whatsapp"): "2"}
    shows |= {series("storage_up"): "0"}
    at = [ONSET_SECONDS + 30, ONSET_SECONDS + 120, ONSET_SECONDS + 290]
    run(tmp_path, {MONITOR_JOB: shows}, [firing(each, "WaSessionDatabaseDown") for each in at])


def test_a_prometheus_that_scrapes_no_monitor_says_so(tmp_path: Path) -> None:
    shutil.copy(RULES, tmp_path / "rules.yml")
    content = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "5s",
        "tests": [{"promql_expr_test": [firing(50), firing(70, "WaSessionMonitorGone")]}],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(content))
    promtool("test", "rules", tmp_path / "test.yml")
