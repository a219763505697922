# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Where the mirror's files are, how its SQLite database is made and opened, and what its errors mean.

The format is written down in docs/formats/mirror.md.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any, Dict, Iterator
from urllib.parse import quote

from ...errors import Busy, NoSpace, NotWritable, ResilienceError, StoreError
from ...files import DIRECTORY_MODE, FILE_MODE, make_private_directory, translate_os_error

FORMAT = "baileys-resilience/mirror"
VERSION = 1
DATABASE_FILE = "mirror.sqlite3"
STATUS_FILE = "status.json"
SCAN_LOCK = "scan.lock"
SERVICE_LOCK = "service.lock"

_BUSY_TIMEOUT_SECONDS = 10.0
#: what the WAL file is cut back to after a big scan (the first one writes everything through it)
_WAL_LIMIT_BYTES = 32 * 1024 * 1024

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE scans (
    id INTEGER PRIMARY KEY, mode TEXT NOT NULL, kind TEXT NOT NULL, snapshot_at TEXT NOT NULL, started_at TEXT NOT NULL,
    finished_at TEXT NOT NULL, duration_seconds REAL NOT NULL, lsn TEXT, snapshot TEXT NOT NULL,
    timeline TEXT NOT NULL, started TEXT NOT NULL, companies_changed INTEGER NOT NULL, keys_read INTEGER NOT NULL
);
CREATE TABLE companies (
    company TEXT PRIMARY KEY, creds BLOB, creds_sha256 BLOB, creds_updated_at TEXT, creds_version TEXT NOT NULL,
    creds_bad_since TEXT, creds_bad_reason TEXT, fingerprint TEXT NOT NULL, key_count INTEGER NOT NULL,
    good_at TEXT, problem TEXT, problem_since TEXT, epoch INTEGER NOT NULL, store TEXT NOT NULL, aside_at TEXT,
    present INTEGER NOT NULL, read_at TEXT NOT NULL DEFAULT ''
);
CREATE TABLE keys (
    company TEXT NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL, version TEXT NOT NULL, content BLOB, sha256 BLOB,
    updated_at TEXT, gone_incident INTEGER, bad_since TEXT, bad_reason TEXT, PRIMARY KEY (company, type, id)
);
CREATE INDEX keys_gone ON keys (gone_incident) WHERE gone_incident IS NOT NULL;
CREATE INDEX keys_bad ON keys (company) WHERE bad_since IS NOT NULL;
CREATE TABLE incidents (
    id INTEGER PRIMARY KEY, company TEXT NOT NULL, kind TEXT NOT NULL, at TEXT NOT NULL, details TEXT NOT NULL,
    resolved_at TEXT, resolution TEXT
);
"""
_SCRATCH = """
CREATE TEMP TABLE seen (type TEXT NOT NULL, id TEXT NOT NULL, version TEXT NOT NULL, PRIMARY KEY (type, id));
CREATE TEMP TABLE gone (type TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (type, id));
"""


def open_writer(directory: Path) -> sqlite3.Connection:
    """Open the mirror for writing; make it where there is none. Raises StoreError: other format, damaged file."""
    make_private_directory(directory)
    path = directory / DATABASE_FILE
    try:
        os.chmod(directory, DIRECTORY_MODE)
        # SQLite gives its -wal and -shm files the mode of the database, so this one call sets all three.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE))
        os.chmod(path, FILE_MODE)
    except OSError as exc:
        raise translate_os_error(exc, "open mirror", directory) from exc
    with translated("open mirror", path):
        connection = sqlite3.connect(str(path), timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        for statement in filter(str.strip, _SCHEMA.split(";")):
            connection.execute(statement)
        connection.executemany("INSERT INTO meta VALUES (?, ?)", [("format", FORMAT), ("version", str(VERSION))])
    connection.execute("COMMIT")
    check_format(connection, path)
    connection.executescript(_SCRATCH)


def open_reader(directory: Path) -> sqlite3.Connection:
    """Open the mirror read-only, inside a read transaction: everything read is of one complete scan."""
    path = directory / DATABASE_FILE
    if not path.exists():
        raise StoreError(
            "there is no mirror",
            operation="open mirror",
            subject=str(directory),
            hint="start the mirror's service, or run baileys-resilience mirror once, while the database answers",
        )
    with translated("open mirror", path):
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None
        )
        try:
            connection.execute("BEGIN")
            check_format(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def check_format(connection: sqlite3.Connection, path: Path) -> None:
    """Raise StoreError unless this is a mirror that this version reads."""
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        raise StoreError(
            "the mirror is empty: its first scan never began",
            operation="open mirror",
            subject=str(path),
            hint="run baileys-resilience mirror once while the database answers",
        )
    found = dict(connection.execute("SELECT name, value FROM meta")) if "meta" in tables else {}
    if found.get("format") != FORMAT or found.get("version") != str(VERSION):
        raise StoreError(
            f"format {found.get('format', 'unknown')} {found.get('version', '')}, expected {FORMAT} {VERSION}".strip(),
            operation="open mirror",
            subject=str(path),
            hint="use the version of baileys.resilience that wrote it, or another mirror directory",
        )


def meta(connection: sqlite3.Connection, name: str) -> str:
    """One value of the table meta, empty when there is none."""
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return "" if row is None else str(row[0])


def bytes_on_disk(directory: Path) -> int:
    """Size of the database with its WAL."""
    return sum(path.stat().st_size for path in directory.glob(f"{DATABASE_FILE}*") if path.exists())


@contextlib.contextmanager
def translated(operation: str, path: Path) -> Iterator[None]:
    """Turn SQLite's errors inside the block into typed ones."""
    try:
        yield
    except sqlite3.Error as exc:
        raise _translate(exc, operation, path) from exc


def _translate(exc: sqlite3.Error, operation: str, path: Path) -> ResilienceError:
    message = str(exc)
    where: Dict[str, Any] = {"operation": operation, "subject": str(path)}
    if "disk is full" in message or "disk I/O error" in message:
        return NoSpace(message, hint="free space there, and check the disk, then run again", **where)
    if "locked" in message or "busy" in message:
        return Busy(message, hint="another process writes the mirror: wait for it", **where)
    if "readonly" in message or "unable to open" in message:
        return NotWritable(message, hint="check owner and mode of the mirror's directory, or run as its owner", **where)
    return StoreError(
        f"the mirror is damaged: {message}",
        hint="keep the directory for a human, remove it, and let a new mirror be made while the database answers",
        **where,
    )
