# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What needs root: servers of Debian's PostgreSQL with TLS, other users' processes, mounts, hosts with systemd."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from baileys_resilience.sessions.directory_store import SessionsHome
from tests.system.containers import Host, systemd_host
from tests.system.postgres15 import Cluster, new_cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: begun last, it would keep one worker busy for minutes after the other."""
    items.sort(key=lambda item: item.path.name != "test_molecule.py")


@pytest.fixture(scope="session", autouse=True)
def _as_root() -> None:
    assert os.geteuid() == 0, "these suites make services and mounts. HINT: run `make test-system` as root"


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """One TLS server a file; tests that fill it use `tables`."""
    with new_cluster() as cluster:
        yield cluster


@pytest.fixture
def tables(server: Cluster) -> Cluster:
    """The server with empty tables."""
    server.run("TRUNCATE whatsapp_auth, whatsapp_keys")
    return server


@pytest.fixture
def home(tmp_path: Path) -> SessionsHome:
    return SessionsHome(tmp_path / "sessions")


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with systemd_host(f"baileys-resilience-test-{os.getpid()}") as host:
        yield host
