# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sessions live in PostgreSQL, and a failover would work."""

from __future__ import annotations

import pytest
from application import App
from testinfra.host import Host

pytestmark = pytest.mark.usefixtures("app_host")


def test_every_session_reads_and_writes_from_postgresql(app: App) -> None:
    app.assert_lives_in("postgres")


def test_the_application_runs_its_own_code_as_its_owner(app: App, app_host: Host) -> None:
    assert not app_host.file("/opt/baileys-whatsapp-service").is_symlink
    pid = app.ask("/health")["pid"]
    assert app_host.check_output(f"stat -c %U /proc/{pid}") == "whatsapp"


def test_the_daily_check_finds_nothing_that_would_stop_a_failover(app_host: Host) -> None:
    assert app_host.run("systemctl start baileys-resilience-check.service").rc == 0


def test_the_mirror_runs_and_comes_back_at_boot(app_host: Host) -> None:
    mirror = app_host.service("baileys-resilience-mirror.service")
    assert mirror.is_running
    assert mirror.is_enabled
