# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dashboard for Grafana: panels of Grafana itself, one data source that is chosen, and figures that there are. A
real Prometheus answers its queries in tests/system.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from typing import Any

from baileys_resilience.health.monitor.metrics import _GAUGES
from tests.support import exposed

CORE = {"row", "stat", "bargauge", "timeseries", "state-timeline"}
CONTENT = exposed.dashboard()
PANELS = list(exposed.panels(CONTENT))
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def test_it_is_what_would_be_made_now() -> None:
    command = [sys.executable, exposed.ROOT / "scripts" / "grafana_dashboard.py"]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert exposed.DASHBOARD.read_text("utf-8") == made, "run `make docs`"


def test_it_needs_no_plugin_and_no_data_source_of_a_certain_name() -> None:
    assert {each["type"] for each in PANELS} == CORE
    parts: list[dict[str, Any]] = [*PANELS, *(each for panel in PANELS for each in panel.get("targets", ()))]
    parts += [each for each in CONTENT["templating"]["list"] if each["type"] == "query"]
    assert all(each["datasource"] == DATASOURCE for each in parts if each.get("type") != "row")
    assert [each["name"] for each in CONTENT["templating"]["list"]] == ["datasource", "instance", "client"]
    assert CONTENT["templating"]["list"][0]["type"] == "datasource"
    assert "id" not in CONTENT, "Grafana gives it one"


def test_the_status_comes_first_and_no_panel_covers_another() -> None:
    assert [each["title"] for each in PANELS[:3]] == ["Status", "Database", "Worst status"]
    assert len({each["id"] for each in PANELS}) == len(PANELS)
    assert len({each["title"] for each in PANELS}) == len(PANELS)
    for shown in (CONTENT["panels"], PANELS[-len(CONTENT["panels"][-1]["panels"]) :]):
        fields = [
            (each["gridPos"]["x"] + x, each["gridPos"]["y"] + y)
            for each in shown
            for x, y in itertools.product(range(each["gridPos"]["w"]), range(each["gridPos"]["h"]))
        ]
        assert len(set(fields)) == len(fields)
        assert max(x for x, _y in fields) < 24


def test_every_query_names_figures_and_labels_that_are_shown() -> None:
    queries = exposed.panel_queries(CONTENT)
    assert len(queries) == sum(len(each.get("targets", ())) for each in PANELS)
    variables = {name: series for name, (series, _label) in exposed.variable_queries(CONTENT).items()}
    for name, expression in {**queries, **variables}.items():
        assert exposed.selectors(expression), name
        assert exposed.wrong_selectors(expression) == [], name
        used = set(re.findall(r"\$\{?(\w+)", expression))
        assert used <= {"instance", "client", "__rate_interval"}, name


def test_labels_of_groups_and_legends_are_labels_of_the_figure() -> None:
    for panel in PANELS:
        for target in panel.get("targets", ()):
            known = exposed.labels_of(target["expr"])
            asked = exposed.grouping_labels(target["expr"]) | set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert asked <= known, panel["title"]


def test_every_figure_of_the_monitor_is_on_the_dashboard_but_those_that_say_the_same() -> None:
    """A new figure wants a panel in scripts/grafana_dashboard.py, and a value in tests/support/exposed.py."""
    shown = exposed.healthy_monitor().names | exposed.ill_monitor().names
    assert {f"wa_session_{name}" for name in _GAUGES} - shown == set()
    expressions = exposed.panel_queries(CONTENT).values()
    used = {
        each.name
        for expression in expressions
        for each in exposed.selectors(expression)
        if each.job == exposed.MONITOR_JOB
    }
    left = {f"wa_session_{name}" for name in _GAUGES} - used
    assert left == {"wa_session_server_connections_usable", "wa_session_monitor_looks"}
