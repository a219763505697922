# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The file: one SQLite database in WAL mode. Opening it, its tables, and what is no database of ours.

A kill at any moment leaves the last transaction whole. A power failure may lose the last minutes, and damages nothing
(``synchronous=NORMAL``).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Iterator, List, Optional, Tuple
from urllib.parse import quote

from ... import files
from ...errors import Misconfigured, StoreError
from .model import CORRUPT, HistoryWarning

VERSION = 1
#: "BRhi", in the header of the file
APPLICATION_ID = 0x42526869
_MAGIC = b"SQLite format 3\0"
_SET_ASIDE_KEPT = 2
_BUSY_SECONDS = 5.0
_WAL_BYTES = 16 * 1024 * 1024
_SIDES = ("-wal", "-shm")

_TABLES = (
    """CREATE TABLE series (
        id INTEGER PRIMARY KEY, kind TEXT NOT NULL, subject TEXT NOT NULL, name TEXT NOT NULL,
        UNIQUE (kind, subject, name))""",
    # In the order of time: what is written together lies together, and what is old goes as one piece.
    """CREATE TABLE times (
        tier INTEGER NOT NULL, at INTEGER NOT NULL, series INTEGER NOT NULL,
        samples INTEGER NOT NULL, most_us INTEGER NOT NULL, histogram BLOB NOT NULL,
        PRIMARY KEY (tier, at, series)) WITHOUT ROWID""",
    """CREATE TABLE figures (
        tier INTEGER NOT NULL, at INTEGER NOT NULL, series INTEGER NOT NULL,
        samples INTEGER NOT NULL, total REAL NOT NULL, least REAL NOT NULL, most REAL NOT NULL, last REAL NOT NULL,
        PRIMARY KEY (tier, at, series)) WITHOUT ROWID""",
    """CREATE TABLE events (
        id INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, cause TEXT NOT NULL,
        severity TEXT NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL, duration REAL NOT NULL)""",
    "CREATE INDEX events_at ON events (at)",
    "CREATE TABLE tiers (tier INTEGER PRIMARY KEY, closed INTEGER NOT NULL, trimmed INTEGER NOT NULL)",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
)

_NAMES = ("series", "times", "figures", "events", "tiers", "facts")


def open_for_writing(path: Path) -> Tuple[sqlite3.Connection, List[HistoryWarning]]:
    """Make the file, or open it. One that is damaged is put aside, and a new one begun: that is a warning. Raises
    Misconfigured for a file of a newer release or of somebody else, StoreError for a disk that refuses.
    """
    files.make_private_directory(path.parent)
    warnings: List[HistoryWarning] = []
    damage = _damage_of(path)
    if damage:
        warnings.append(set_aside(path, damage))
    try:
        return _opened(path), warnings
    except sqlite3.Error as exc:
        raise _unusable(path, exc) from exc
    except OSError as exc:
        raise files.translate_os_error(exc, "open history", path) from exc


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Raises StoreError where there is none, or none that can be read."""
    try:
        connection = _connect(path, "ro")
        _check_owner(connection, path)
        return connection
    except sqlite3.Error as exc:
        raise _unusable(path, exc) from exc


def set_aside(path: Path, damage: str) -> HistoryWarning:
    """Give the damaged file another name. The two newest of them are kept. Raises StoreError."""
    stem = f"{path.name}.damaged-"
    now = time.time_ns()
    moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now // 10**9))
    place = path.with_name(f"{stem}{moment}.{now % 10**9:09d}Z")
    try:
        for side in ("", *_SIDES):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{path}{side}").rename(f"{place}{side}")
        older = [each for each in sorted(path.parent.glob(f"{stem}*")) if not each.name.endswith(_SIDES)]
        for each in older[:-_SET_ASIDE_KEPT]:
            for side in ("", *_SIDES):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{each}{side}").unlink()
    except OSError as exc:
        raise files.translate_os_error(exc, "put history aside", path) from exc
    return HistoryWarning(
        CORRUPT, f"the history was damaged ({damage}); a new one is begun, the old one is put aside", str(place)
    )


def is_damage(exc: sqlite3.Error) -> bool:
    """Whether this says that the file is no longer whole, and not that it is locked or the disk full."""
    text = str(exc)
    return isinstance(exc, sqlite3.DatabaseError) and any(
        each in text for each in ("malformed", "not a database", "corrupt", "no such table", "no such column")
    )


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def bytes_used(connection: sqlite3.Connection) -> Tuple[int, int]:
    """The size of the file, and how much of it is in use."""
    size = int(connection.execute("PRAGMA page_size").fetchone()[0])
    pages = int(connection.execute("PRAGMA page_count").fetchone()[0])
    free = int(connection.execute("PRAGMA freelist_count").fetchone()[0])
    return size * pages, size * (pages - free)


def _opened(path: Path) -> sqlite3.Connection:
    # Made before SQLite does it: its modes are those of the umask. What lies beside it gets the mode of the file.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, files.FILE_MODE))
    connection = _connect(path, "rw")
    try:
        new = _check_owner(connection, path)
        if new:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        if new:
            _make_tables(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_tables(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        for each in _TABLES:
            connection.execute(each)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode={mode}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def _check_owner(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether it is empty. Raises Misconfigured for one that is not ours, or of a newer release."""
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if application == APPLICATION_ID and version == VERSION:
        return False
    if application == APPLICATION_ID:
        raise Misconfigured(
            f"it is of version {version}, and this release reads version {VERSION}",
            operation="open history",
            subject=str(path),
            hint="install the release that wrote it, or move the file away: a new one is begun",
        )
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise Misconfigured(
            "it is a database of something else",
            operation="open history",
            subject=str(path),
            hint="give the history a path of its own",
        )
    return True


def _damage_of(path: Path) -> str:
    """What is wrong with the file; empty where nothing is, or where there is none."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(len(_MAGIC))
    except FileNotFoundError:
        return ""
    except OSError as exc:
        raise files.translate_os_error(exc, "open history", path) from exc
    if not head:
        return ""
    if head != _MAGIC:
        return "it is no SQLite file"
    connection: Optional[sqlite3.Connection] = None
    try:
        connection = _connect(path, "rw")
        new = _check_owner(connection, path)
        found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        if found != "ok":
            return found.splitlines()[-1]
        if not new:
            for each in _NAMES:
                connection.execute(f"SELECT 1 FROM {each} LIMIT 1").fetchone()  # noqa: S608
        return ""
    except sqlite3.Error as exc:
        if is_damage(exc):
            return str(exc)
        raise _unusable(path, exc) from exc
    finally:
        if connection is not None:
            connection.close()


def _unusable(path: Path, exc: sqlite3.Error) -> StoreError:
    return StoreError(
        str(exc),
        operation="open history",
        subject=str(path),
        hint="check that the path, its owner and its disk are right",
    )
