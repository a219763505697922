# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts with the application; each test runs for both."""

from __future__ import annotations

import pytest
from application import App, find_app
from testinfra.host import Host


@pytest.fixture(scope="session", params=["app-pm2", "app-systemd"])
def app(request: pytest.FixtureRequest) -> App:
    return find_app(request.param)


@pytest.fixture
def app_host(app: App) -> Host:
    """Its journal is shown when a test fails."""
    return app.host
