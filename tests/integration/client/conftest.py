# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab whose application keeps its sessions by the session client, with a mirror, prepared for a failover."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from baileys_resilience.failover.code import prepare
from baileys_resilience.sessions.published import create_schema
from lab import Lab
from tests.integration.failover.host import Host


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab.up(tmp_path_factory.mktemp("lab"), 2)
    try:
        with contextlib.closing(made.connect(direct=True)) as connection, connection, connection.cursor() as cursor:
            create_schema(cursor)
        made.pm2("restart", made.need_app().pm2_name)  # the client looks for its table when it opens a session
        made.wait_open()
        prepare(Host(made).settings())
        yield made
    finally:
        made.down()


@pytest.fixture
def host(lab: Lab) -> Host:
    return Host(lab, mirror_dir=lab.mirror_dir)
