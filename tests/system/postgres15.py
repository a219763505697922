# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private clusters of Debian's PostgreSQL, TLS only, in a temporary folder; the machine's own are not touched."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection

from baileys_resilience.postgres import ConnectParams
from tests.support.database import SCHEMA, fill
from tests.support.synthetic import Company
from tests.system.certificates import Authority, Certificate

START_SECONDS = 30
DATABASE = "sessions"
#: the application's role; its password is awkward like the production one
USER = "app"
PASSWORD = "}X|o<7n?0 '\"$"
REPLICATION_USER = "standby"
#: nothing but TLS over the network; 127.0.0.2 is a host name that no certificate of ours has
_HBA = """
local all all trust
hostssl all,replication all 127.0.0.0/8 scram-sha-256
"""
_SETTINGS = """
listen_addresses = '127.0.0.1,127.0.0.2'
unix_socket_directories = '{sockets}'
ssl = on
ssl_cert_file = '{folder}/server.crt'
ssl_key_file = '{folder}/server.key'
fsync = off
shared_buffers = 16MB
max_wal_size = 128MB
wal_level = replica
hot_standby = on
wal_receiver_timeout = 5s
wal_retrieve_retry_interval = 200ms
"""


def binaries() -> Path:
    """The newest PostgreSQL of Debian's packages: 15 on bookworm, 17 on trixie."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    assert found, "Debian's PostgreSQL is missing. HINT: scripts/install-system-packages"
    return found[-1].parent


@dataclass
class Cluster:
    """One server: its folder (owned by the user that it runs as), and how to reach it."""

    folder: Path
    port: int
    authority: Authority
    user: str = "postgres"
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def root_certificate(self) -> Path:
        return self.folder / "root.crt"

    @property
    def params(self) -> ConnectParams:
        """As the application, over TLS, everything checked."""
        return ConnectParams(
            "localhost", self.port, DATABASE, USER, PASSWORD, "verify-full", str(self.root_certificate),
            connect_timeout_seconds=3,
        )  # fmt: skip

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [binaries() / "postgres", "-D", self.data], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.folder, env=self._environment(), **_identity(self.user),
            )  # fmt: skip
        limit = time.monotonic() + START_SECONDS
        while True:
            try:
                self.admin("postgres").close()
                return
            except psycopg2.OperationalError as exc:
                if self._process.poll() is not None or time.monotonic() > limit:
                    raise AssertionError((self.folder / "log").read_text()[-2000:]) from exc
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGINT) -> None:
        """SIGINT is PostgreSQL's fast shutdown, SIGQUIT leaves everything as a crash would."""
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(20)
        self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def use_certificate(self, certificate: Certificate) -> None:
        """For the next start."""
        for name, content in (("server.crt", certificate.certificate), ("server.key", certificate.key)):
            path = self.folder / name
            path.write_bytes(content)
            path.chmod(0o600)
            shutil.chown(path, self.user)

    def admin(self, database: str = DATABASE) -> Connection:
        """As the superuser through the socket, whatever TLS does."""
        connection = psycopg2.connect(host=str(self.folder), port=self.port, dbname=database, user=self.user)
        connection.autocommit = True
        return connection

    def run(self, statement: str, *values: Any, database: str = DATABASE) -> list[tuple[Any, ...]]:
        connection = self.admin(database)
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def fill(self, *companies: Company) -> None:
        connection = self.admin()
        try:
            connection.autocommit = False
            fill(connection, companies)
        finally:
            connection.close()

    def tool(self, name: str, *words: str | Path) -> None:
        """Run one of PostgreSQL's programs as its user; passwords go through the environment."""
        done = subprocess.run(
            [binaries() / name, *words], capture_output=True, text=True, timeout=60, check=False, cwd=self.folder,
            env={**self._environment(), "PGPASSWORD": PASSWORD, "PGSSLMODE": "verify-full",
                 "PGSSLROOTCERT": str(self.root_certificate)},
            **_identity(self.user),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def _environment(self) -> dict[str, str]:
        # libpq looks for client certificates below HOME, and root's is closed to this user.
        return {**os.environ, "HOME": str(self.folder)}


@contextmanager
def new_cluster(user: str = "postgres") -> Iterator[Cluster]:
    """A primary with the role of the application, its database and empty tables of sessions."""
    with _folder(user) as folder:
        authority = Authority()
        cluster = Cluster(folder, free_port(), authority, user)
        _give(authority.write_root(cluster.root_certificate), user)
        cluster.use_certificate(authority.issue())
        cluster.tool("initdb", "-D", cluster.data, "-U", user, "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
        (cluster.data / "pg_hba.conf").write_text(_HBA)
        _configure(cluster)
        try:
            cluster.start()
            for statement in (
                f"CREATE ROLE {USER} LOGIN PASSWORD %s",
                f"CREATE ROLE {REPLICATION_USER} LOGIN REPLICATION PASSWORD %s",
            ):
                cluster.run(statement, PASSWORD, database="postgres")
            cluster.run(f"CREATE DATABASE {DATABASE} OWNER {USER}", database="postgres")
            cluster.run(f"SET ROLE {USER}; {SCHEMA}")
            yield cluster
        finally:
            cluster.stop()


@contextmanager
def new_standby(primary: Cluster) -> Iterator[Cluster]:
    """A hot standby that streams from the primary over TLS."""
    with _folder(primary.user) as folder:
        standby = replace(primary, folder=folder, port=free_port(), _process=None)
        shutil.copy(primary.root_certificate, standby.root_certificate)
        _give(standby.root_certificate, primary.user)
        standby.use_certificate(primary.authority.issue())
        standby.tool(
            "pg_basebackup", "-D", standby.data, "-h", "localhost", "-p", str(primary.port), "-U", REPLICATION_USER,
            "-R", "-X", "stream", "-c", "fast", "--no-sync",
        )  # fmt: skip
        _configure(standby)
        try:
            standby.start()
            yield standby
        finally:
            standby.stop()


def _configure(cluster: Cluster) -> None:
    settings = _SETTINGS.format(folder=cluster.folder, sockets=cluster.folder) + f"port = {cluster.port}\n"
    with (cluster.data / "postgresql.conf").open("a") as stream:
        stream.write(settings)


@contextmanager
def _folder(user: str) -> Iterator[Path]:
    # Not pytest's tmp_path: its parents are closed to the user that the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="baileys-pg-"))
    _give(folder, user)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _give(path: Path, user: str) -> None:
    shutil.chown(path, user)


def _identity(user: str) -> dict[str, Any]:
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
