# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Connections of the server: who holds them in which state, how many there may be, how many are free."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List, Optional, Tuple

from ..postgres import ConnectParams, session
from .findings import CRITICAL, OK, UNKNOWN, WARNING, Finding, grant
from .thresholds import PoolThresholds

FIGURE = "server connections"
SESSIONS_FIGURE = "server sessions"
_LIMITS = """
SELECT current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int,
    coalesce(current_setting('reserved_connections', true), '0')::int,
    pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'),
    r.rolname::text, nullif(r.rolconnlimit, -1), nullif(d.datconnlimit, -1)
FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()
"""
# Without the right to see them, sessions of other roles are rows without state and kind. Those that serve a database
# are clients, but for the few workers of autovacuum and of parallel queries.
_SESSIONS = """
SELECT coalesce(state, ''), coalesce(application_name, ''), coalesce(usename = current_user, false),
    coalesce(datname = current_database(), false), count(*)
FROM pg_stat_activity
WHERE backend_type = 'client backend' OR (backend_type IS NULL AND datid IS NOT NULL)
GROUP BY 1, 2, 3, 4
"""
#: what a state is called that this role may not see
HIDDEN = "hidden"


@dataclass(frozen=True)
class Limits:
    """What the server allows; None is no limit. ``superuser_reserved`` and ``reserved`` are slots that a role like the
    application's never gets.
    """

    max_connections: int
    superuser_reserved: int
    reserved: int
    role: Optional[int]
    database: Optional[int]

    @property
    def usable(self) -> int:
        return max(0, self.max_connections - self.superuser_reserved - self.reserved)


@dataclass
class ServerPool:
    """``by_state`` and ``by_application`` count sessions; None where this role may not see those of others."""

    limits: Limits
    login_role: str
    all_visible: bool
    used: int = 0
    used_by_role: int = 0
    used_in_database: int = 0
    by_state: Optional[Dict[str, int]] = field(default_factory=dict)
    by_application: Dict[str, int] = field(default_factory=dict)

    @property
    def free(self) -> int:
        """Connections that a role which is no superuser can still open to this database."""
        limits = self.limits
        rooms = [limits.usable - self.used]
        if limits.role is not None:
            rooms.append(limits.role - self.used_by_role)
        if limits.database is not None:
            rooms.append(limits.database - self.used_in_database)
        return max(0, min(rooms))

    @property
    def used_percent(self) -> float:
        """Of the tightest of the limits."""
        pairs = [(self.used, self.limits.usable), (self.used_by_role, self.limits.role)]
        pairs.append((self.used_in_database, self.limits.database))
        shares = [100.0 * used / limit if limit else 100.0 for used, limit in pairs if limit is not None]
        return round(min(100.0, max(shares)), 1)

    def as_dict(self) -> Dict[str, Any]:
        return {
            **{name: each for name, each in vars(self).items() if name != "limits"},
            "limits": asdict(self.limits),
            "free": self.free,
            "used_percent": self.used_percent,
        }


def read_server_pool(params: ConnectParams, *, seconds: float) -> ServerPool:
    """Ask the server. Raises typed errors; ``seconds`` bound connecting and each silence."""
    operation = "read connections"
    opened = session(params, operation=operation, deadline_seconds=seconds, connect_seconds=seconds)
    with opened as (connection, _deadline):
        return count_connections(connection.cursor())


def count_connections(cursor: Any) -> ServerPool:
    """Two questions. Raises psycopg2's errors."""
    cursor.execute(_LIMITS)
    most, superuser, reserved, visible, role, role_limit, database_limit = cursor.fetchone()
    pool = ServerPool(Limits(most, superuser, reserved, role_limit, database_limit), role, visible)
    cursor.execute(_SESSIONS)
    _count(pool, cursor.fetchall())
    return pool


def _count(pool: ServerPool, rows: List[Tuple[str, str, bool, bool, int]]) -> None:
    states: Dict[str, int] = {}
    for state, application, ours, here, number in rows:
        pool.used += number
        pool.used_by_role += number if ours else 0
        pool.used_in_database += number if here else 0
        states[state or HIDDEN] = states.get(state or HIDDEN, 0) + number
        pool.by_application[application] = pool.by_application.get(application, 0) + number
    pool.by_state = states if pool.all_visible else None


def judge_server_pool(pool: ServerPool, thresholds: PoolThresholds) -> List[Finding]:
    return [_judge_slots(pool, thresholds), _judge_sight(pool)]


def _judge_slots(pool: ServerPool, thresholds: PoolThresholds) -> Finding:
    advice = (
        "find who holds them: SELECT application_name, state, count(*) FROM pg_stat_activity GROUP BY 1, 2; end what is"
        " idle, or raise max_connections (or the limit of role or database)"
    )
    if pool.free == 0:
        return Finding(FIGURE, CRITICAL, "no connection is free for the application", advice)
    if pool.used_percent > thresholds.used_percent:
        cause = f"{pool.used_percent:g}% of the connections are used, more than {thresholds.used_percent:g}%"
        return Finding(FIGURE, WARNING, f"{cause}; {pool.free} are free", advice)
    return Finding(FIGURE)


def _judge_sight(pool: ServerPool) -> Finding:
    if pool.all_visible:
        return Finding(SESSIONS_FIGURE, OK)
    return Finding(
        SESSIONS_FIGURE,
        UNKNOWN,
        f"{pool.login_role} does not see the states of other roles' sessions",
        grant("pg_monitor", "", pool.login_role),
    )
