# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Pools of a PgBouncer: ``SHOW POOLS`` and ``SHOW DATABASES`` on its admin console, which speaks little SQL and no
transactions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, List

from .._thirdparty import require
from ..errors import Refused, Unavailable, UsageError
from ..postgres import ConnectParams, Deadline, connect_once_within, translated
from .findings import OK, WARNING, Finding
from .thresholds import PoolThresholds

FIGURE = "pgbouncer"
#: PgBouncer's own database, which is its console
CONSOLE = "pgbouncer"
#: it gives no error code, and refuses before the login is over
_NOT_ALLOWED = re.compile(r"not allowed|no such user|(login|authentication) failed")


@dataclass(frozen=True)
class BouncerPool:
    """One pool: clients that work or wait, connections to the server that are lent out or idle."""

    database: str
    user: str
    clients_active: int
    clients_waiting: int
    servers_active: int
    servers_idle: int
    longest_wait_seconds: float
    pool_size: int
    pool_mode: str

    @property
    def used_percent(self) -> float:
        return round(100.0 * self.servers_active / self.pool_size, 1) if self.pool_size else 0.0

    @property
    def name(self) -> str:
        return f"{self.user}@{self.database}"

    def as_dict(self) -> Dict[str, object]:
        return {**vars(self), "used_percent": self.used_percent}


def console_params(dsn: str) -> ConnectParams:
    """The console that a DSN names. Raises UsageError without ever quoting the DSN, which may hold a password."""
    psycopg2, extensions = require("psycopg2"), require("psycopg2.extensions")
    try:
        given = {name: str(value) for name, value in extensions.parse_dsn(dsn).items()}
        port = int(given.pop("port", "6432"))
    except (psycopg2.Error, ValueError) as exc:
        raise UsageError(
            "is no connection string of libpq",
            operation="read",
            subject="pgbouncer_dsn",
            hint="write host=127.0.0.1 port=6432 user=stats, or postgresql://stats@127.0.0.1:6432/pgbouncer",
        ) from exc
    return ConnectParams(
        host=given.pop("host", "localhost"),
        port=port,
        dbname=given.pop("dbname", CONSOLE),
        user=given.pop("user", CONSOLE),
        password=given.pop("password", ""),
        ssl_mode=given.pop("sslmode", "prefer"),
        ca_cert=given.pop("sslrootcert", ""),
        extra=given,
    )


def read_bouncer(params: ConnectParams, *, seconds: float) -> List[BouncerPool]:
    """The pools, without that of the console itself. Raises typed errors."""
    operation = "read pools of PgBouncer"
    try:
        connection = connect_once_within(params, seconds, operation=operation)
    except Unavailable as exc:
        if _NOT_ALLOWED.search(exc.cause) is None:
            raise
        raise Refused(
            exc.cause,
            operation=operation,
            subject=params.where,
            hint="name the user in stats_users of pgbouncer.ini, and give its password",
        ) from exc
    try:
        connection.autocommit = True
        watch = Deadline(connection, seconds, operation=operation, subject=params.where)
        with watch, translated(operation, params.where), connection.cursor() as cursor:
            pools = _show(cursor, "SHOW POOLS")
            sizes = {str(each["name"]): int(each["pool_size"]) for each in _show(cursor, "SHOW DATABASES")}
    finally:
        connection.close()
    return [_pool(each, sizes) for each in pools if each["database"] != CONSOLE]


def _show(cursor: Any, statement: str) -> List[Dict[str, Any]]:
    """Rows by the names of their columns, since each release adds some."""
    cursor.execute(statement)
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row)) for row in cursor.fetchall()]


def _pool(row: Dict[str, Any], sizes: Dict[str, int]) -> BouncerPool:
    wait = float(row.get("maxwait", 0)) + float(row.get("maxwait_us", 0)) / 1e6
    return BouncerPool(
        database=str(row["database"]),
        user=str(row["user"]),
        clients_active=int(row["cl_active"]),
        clients_waiting=int(row["cl_waiting"]),
        servers_active=int(row["sv_active"]),
        servers_idle=int(row["sv_idle"]),
        longest_wait_seconds=round(wait, 6),
        pool_size=sizes.get(str(row["database"]), 0),
        pool_mode=str(row.get("pool_mode", "")),
    )


def judge_bouncer(pools: List[BouncerPool], thresholds: PoolThresholds) -> Finding:
    causes = []
    for pool in pools:
        name = pool.name
        if pool.used_percent > thresholds.used_percent:
            causes.append(f"{pool.servers_active} of {pool.pool_size} connections of {name} are used")
        if pool.clients_waiting > thresholds.waiting:
            causes.append(f"{pool.clients_waiting} clients of {name} wait for {pool.longest_wait_seconds:.1f} s")
    advice = "look at the queries first (query_latency_info); then raise pool_size of that database in pgbouncer.ini"
    return Finding(FIGURE, WARNING if causes else OK, "; ".join(causes), advice if causes else "")
