# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the session alive? Asked of the session: messages both ways, one writer, and every key of its store whole."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from baileys_resilience.failover.configuration import load_settings
from baileys_resilience.failover.context import FailoverContext
from baileys_resilience.failover.operations import Operation
from baileys_resilience.sessions.directory_source import DirectorySource
from baileys_resilience.sessions.postgres_store import open_snapshot
from baileys_resilience.sessions.verify import inspect_company
from lab import Lab
from lab.errors import LabError

OPEN_SECONDS = 30


def wait_connected(lab: Lab, companies: list[str]) -> dict[str, Any]:
    """Poll /health until these companies are open; returns it."""
    limit = time.monotonic() + OPEN_SECONDS
    while True:
        try:
            health = lab.health()
        except LabError as exc:  # just started: it does not listen yet
            health = {"companies": [], "error": str(exc)}
        states = {each["company_id"]: each["connection"] for each in health["companies"]}
        if all(states.get(company) == "open" for company in companies):
            return health
        assert time.monotonic() < limit, health
        time.sleep(0.1)


def assert_alive(lab: Lab, config: Path, store: str, companies: list[str] | None = None) -> None:
    """The sessions run from ``store``, alone, and decrypt what is sent to them; so do the others."""
    expected = companies or [each.id for each in lab.companies]
    assert wait_connected(lab, expected)["store"] == store
    for company in expected:
        assert_talks(lab, company, store)
        assert_whole(config, company, store)
    assert {device["conflicts"] for device in lab.devices()} == {0}


def assert_talks(lab: Lab, company: str, text: str) -> None:
    """Both ways, alone and in a group."""
    group = next(each.group for each in lab.companies if each.id == company)
    assert lab.message(company, f"to {text}") == "delivered"
    assert lab.message(company, f"to {text}", group=group) == "delivered"
    sent = lab.send(company, f"from {text}")
    assert any(each.get("id") == sent["id"] and each.get("text") == f"from {text}" for each in lab.inbox())


def assert_whole(config: Path, company: str, store: str) -> None:
    """Nothing is wrong with the session where it lives, and the record says the same place."""
    context = FailoverContext(load_settings(config), "", "files")
    assert context.record.get(company).store == store
    assert Operation(context.settings, "failover").status()["open_run"] is None
    if store == "files":
        state = inspect_company(DirectorySource(context.home), company)
    else:
        with open_snapshot(context.settings.database, context.settings.tables) as snapshot:
            state = inspect_company(snapshot, company)
    assert state.problems == []
    assert state.keys > 1200
