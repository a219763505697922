# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways in which a database can fail that a monitor has to tell, each brought about in the lab and healed again."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from lab import Lab, postgres

#: floors of the median, in seconds from the fault to the notice: what is refused at once, and what is waited for
REFUSED, HANGS = 5.0, 12.0
MOST_CONNECTIONS = 200
#: how full the disk gets, in percent; the server still finds room for its WAL
FILLED = 97


@dataclass(frozen=True)
class Fault:
    """``break_`` may return the moment (monotonic) at which the fault is there, where bringing it about takes long."""

    name: str
    floor_seconds: float
    break_: Callable[[], object]
    heal: Callable[[], object]


def all_faults(lab: Lab, disk: Path | None) -> Iterator[Fault]:
    """`disk` is a small file system that holds the data directory, or None where there is none to be filled."""
    yield Fault("killed", REFUSED, _lab(lab, "postgres-kill"), lab.heal)
    yield Fault("frozen, whole", HANGS, _lab(lab, "postgres-freeze"), lab.heal)
    yield Fault("frozen, the postmaster alone", HANGS, lambda: _stop_postmaster(lab), lab.heal)
    yield Fault("packets dropped", HANGS, _lab(lab, "network-drop"), lab.heal)
    yield Fault("connections reset", REFUSED, _lab(lab, "network-reset"), lab.heal)
    yield from _of_rights(lab)
    yield from _held(lab)
    if disk is not None:
        filler = disk / "filler"
        yield Fault("data disk full", HANGS, lambda: _fill(filler), filler.unlink)


def _of_rights(lab: Lab) -> Iterator[Fault]:
    role = f'ROLE "{lab.need_postgres().user}"'
    database, here = "postgres", lab.need_postgres().database
    reload = "SELECT pg_reload_conf()"
    standby = "ALTER SYSTEM {} synchronous_standby_names"
    for name, floor, break_, heal in (
        ("read-only by default", REFUSED, [f"ALTER {role} SET default_transaction_read_only = on"],
         [f"ALTER {role} RESET default_transaction_read_only"]),
        ("role may not log in", REFUSED, [f"ALTER {role} NOLOGIN"], [f"ALTER {role} LOGIN"]),
        ("synchronous standby missing", HANGS, [standby.format("SET") + " = 'nobody'", reload],
         [standby.format("RESET"), reload]),
    ):  # fmt: skip
        yield Fault(name, floor, _sql(lab, database, *break_), _sql(lab, database, *heal))
    grant = f'{{}} UPDATE ON whatsapp_keys {{}} "{lab.need_postgres().user}"'
    yield Fault(
        "a right revoked", REFUSED, _sql(lab, here, grant.format("REVOKE", "FROM")),
        _sql(lab, here, grant.format("GRANT", "TO")),
    )  # fmt: skip


def _held(lab: Lab) -> Iterator[Fault]:
    """What lasts as long as somebody's connections do."""
    held = contextlib.ExitStack()

    def lock() -> None:
        connection = held.enter_context(contextlib.closing(lab.connect(superuser=True, direct=True)))
        connection.cursor().execute("LOCK TABLE whatsapp_keys IN ACCESS EXCLUSIVE MODE")

    def use_up() -> float:
        with contextlib.suppress(psycopg2.OperationalError):
            for _each in range(MOST_CONNECTIONS):
                held.enter_context(contextlib.closing(lab.connect(direct=True)))
        return time.monotonic()

    yield Fault("table locked", HANGS, lock, held.close)
    yield Fault("connections used up", REFUSED, use_up, held.close)


def _lab(lab: Lab, name: str) -> Callable[[], object]:
    return lambda: lab.break_(name)


def _stop_postmaster(lab: Lab) -> None:
    pid = postgres.postmaster_pid(lab.need_postgres())
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)


def _sql(lab: Lab, database: str, *statements: str) -> Callable[[], None]:
    def run() -> None:
        with contextlib.closing(lab.connect(superuser=True, direct=True, database=database)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for each in statements:
                    cursor.execute(each)

    return run


def _fill(filler: Path) -> None:
    found = os.statvfs(filler.parent)
    room = found.f_bavail - found.f_blocks * (100 - FILLED) // 100
    with filler.open("wb") as stream:
        for _each in range(room):
            stream.write(b"x" * found.f_frsize)
