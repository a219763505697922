# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's PgBouncer in transaction mode before a cluster."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2

from baileys_resilience.postgres import ConnectParams
from tests.system.containers import wait_until
from tests.system.postgres15 import DATABASE, USER, Cluster, free_port

SETTINGS = """
[databases]
{database} = host={sockets} port={server} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
ignore_startup_parameters = statement_timeout,idle_in_transaction_session_timeout
logfile = {folder}/log
pidfile = {folder}/pid
"""


@contextmanager
def transaction_pooler(server: Cluster, settings: str = SETTINGS) -> Iterator[ConnectParams]:
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
    assert program, "pgbouncer is missing. HINT: scripts/install-system-packages"
    folder, port = Path(tempfile.mkdtemp(prefix="baileys-pgbouncer-")), free_port()
    shutil.chown(folder, server.user)
    file = folder / "pgbouncer.ini"
    file.write_text(
        settings.format(
            database=DATABASE, sockets=server.folder, server=server.port, user=USER, port=port, folder=folder
        )
    )
    process = subprocess.Popen(
        [program, "--quiet", file], user=server.user, group=server.user, extra_groups=[], cwd=folder,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    params = ConnectParams("127.0.0.1", port, DATABASE, USER, ssl_mode="disable", connect_timeout_seconds=3)
    try:
        wait_until(lambda: _answers(params), 10, "PgBouncer answers")
        yield params
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        shutil.rmtree(folder)


def _answers(params: ConnectParams) -> bool:
    try:
        psycopg2.connect(host=params.host, port=params.port, dbname=params.dbname, user=params.user).close()
    except psycopg2.OperationalError:
        return False
    return True
