# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from client import Client
from machines import machine
from testinfra.host import Host


@pytest.fixture(scope="session")
def client() -> Client:
    return Client()


@pytest.fixture(scope="session")
def client_host() -> Host:
    """Its journal is shown when a test fails."""
    return machine("app-client")
