# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/alerts.md has every alert and every setting, and no other, in the words of the rules."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from baileys_resilience.health.alerts.causes import (
    CAUSES,
    CONCERNS,
    NO_DATA_CAUSE,
    NO_DATA_COMMAND,
    NO_DATA_TITLE,
)
from baileys_resilience.health.alerts.settings import AlertSettings
from tests.support.time_lines import TimeLine

PAGE = Path(__file__).resolve().parents[4] / "docs" / "alerts.md"


def rows(heading: str) -> dict[str, list[str]]:
    """The rows of the table below a heading, by their first cell."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    cells = [
        [each.strip() for each in line.strip("|").split("|")] for line in section.splitlines() if line[:3] == "| `"
    ]
    names = [row[0].strip("`") for row in cells]
    assert len(set(names)) == len(names), "twice in the table"
    return {name: row[1:] for name, row in zip(names, cells, strict=True)}


def test_every_alert_is_in_the_table_and_no_other() -> None:
    assert set(rows("What each one means")) == {*CAUSES, NO_DATA_CAUSE}


def test_the_table_says_what_the_messages_say() -> None:
    known = {
        each.name: (CONCERNS[each.concern].severity, each.title, each.command, each.note) for each in CAUSES.values()
    }
    known[NO_DATA_CAUSE] = ("unknown", NO_DATA_TITLE, NO_DATA_COMMAND, "")
    for name, (severity, title, evidence, command, note) in rows("What each one means").items():
        said = re.sub(r"\[([^]]+)\]\([^)]+\)|`", r"\1", note)  # without links and code
        assert (severity, title, command.strip("`"), said) == known[name]
        assert evidence


def test_every_setting_is_in_the_table_with_its_default() -> None:
    settings = AlertSettings()
    shown = {name: cells[0] for name, cells in rows("Settings").items()}
    known = {}
    for each in fields(AlertSettings):
        value = getattr(settings, each.name)
        known[each.name] = ", ".join(f"{n:g}" for n in value) if isinstance(value, tuple) else f"{value:.10g}"
    assert shown == known


def test_links_into_other_pages_lead_to_a_heading() -> None:
    for page, anchor in re.findall(r"\]\(([\w.]+)#([\w.-]+)\)", PAGE.read_text(encoding="utf-8")):
        headings = re.findall(r"^#+ (.+)$", (PAGE.parent / page).read_text(encoding="utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}
        assert anchor in anchors


def test_the_message_of_the_page_is_one_that_is_sent() -> None:
    line = TimeLine().run("ok refused*3")
    notification = line.told[0][1].as_notification()
    shown = PAGE.read_text(encoding="utf-8").split("```text\n", 1)[1].split("```", 1)[0].splitlines()
    name = "database db.example.net:5432/whatsapp"
    assert shown[0] == f"✖ {notification.title}".replace("database db", name)
    assert shown[2:5] == notification.text.splitlines()[1:]
    tags = ", ".join(f"{tag}: {value}" for tag, value in sorted(notification.tags.items()))
    assert shown[5] == tags.replace("database db", name)
