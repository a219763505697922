# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab whose database may be broken: few connections, and a WAL that can be read as changes of rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from baileys_resilience.postgres import ConnectParams
from lab import Lab
from tests.support.databases import Database

MAX_CONNECTIONS = 20


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab.up(tmp_path_factory.mktemp("labs") / "health", app=False)
    try:
        with contextlib.closing(made.connect(superuser=True, direct=True)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("ALTER SYSTEM SET wal_level = 'logical'")
                cursor.execute(f"ALTER SYSTEM SET max_connections = {MAX_CONNECTIONS}")
        made.break_("postgres-stop")
        made.heal()
        yield made
    finally:
        made.down()


@pytest.fixture(autouse=True)
def healed(lab: Lab) -> Iterator[None]:
    yield
    lab.heal()


@pytest.fixture
def through_proxy(database: Database) -> ConnectParams:
    """The same database by the way on which the network can be broken."""
    return replace(database.params, port=database.lab.need_postgres().proxy_port)


@pytest.fixture
def whole_server(lab: Lab) -> ConnectParams:
    """The lab's own database, for faults of the server: the `database` of a test is dropped by its server."""
    server = lab.need_postgres()
    return ConnectParams(server.host, server.direct_port, server.database, server.user, server.password)
