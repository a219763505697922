# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""health_check.yml shows everything, with what to run, before it fails by the status that was asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from lab import Lab, inventory, playbooks


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab.up(tmp_path_factory.mktemp("labs") / "health", app=False)
    try:
        inventory.write(made)
        yield made
    finally:
        made.down()


def played(lab: Lab, *arguments: str) -> playbooks.Played:
    patient = json.dumps({"health_check_latency_thresholds": {"query_ms": 60000, "connect_ms": 60000}})
    return playbooks.play(lab, "health_check", "-e", patient, "-e", "health_check_samples=2", *arguments)


def test_a_healthy_host_is_shown_and_does_not_fail(lab: Lab) -> None:
    for arguments in ([], ["--check"]):
        done = played(lab, *arguments)
        assert done.returncode == 0, done.output
        assert (done.recap["failed"], done.recap["changed"]) == (0, 0)
        server = lab.need_postgres()
        assert f"status unknown of {server.host}:{server.proxy_port}/{server.database}" in done.output
        for figure in ("connect", "read", "write", "server connections", "removable keys"):
            assert f"'{figure}: ok'" in done.output, done.output
        assert f'to do: GRANT pg_monitor TO "{server.user}";' in done.output
        assert server.password[-12:] not in done.output


def test_a_host_fails_from_the_status_on_that_was_asked_for(lab: Lab) -> None:
    done = played(lab, "-e", "health_check_fail_on=unknown")
    assert done.returncode != 0
    assert "is unknown: server sessions. HINT: GRANT pg_monitor TO" in " ".join(done.output.split())
    wrong = played(lab, "-e", "health_check_fail_on=sometimes")
    assert wrong.returncode != 0
    assert "health_check_fail_on must be one of: never, warning, unknown, critical" in " ".join(wrong.output.split())
    assert lab.need_postgres().password[-12:] not in wrong.output


def test_a_dead_database_is_shown_by_all_three_and_then_fails(lab: Lab) -> None:
    lab.break_("postgres-kill")
    try:
        done = played(lab)
        quiet = played(lab, "-e", "health_check_fail_on=never")
    finally:
        lab.heal()
    assert done.returncode != 0
    text = " ".join(done.output.split())
    assert "is critical: connect, server connections, key ages. HINT: check that PostgreSQL runs" in text
    assert quiet.returncode == 0, quiet.output
    assert "key ages: critical: " in quiet.output
