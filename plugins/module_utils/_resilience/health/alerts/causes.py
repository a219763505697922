# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What can be wrong, how grave it is, and what to run: one table, which docs/alerts.md shows to humans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Tuple

from ..findings import CRITICAL, WARNING


@dataclass(frozen=True)
class Concern:
    """What is looked at. All its causes are equally grave, so that a cause which changes is no news of its own.

    - ``quick``: a first failure is looked at again at once, since each second counts.
    - ``proven``: one look is enough in both directions, because it sums up many already (a count, a window).
    - ``held``: a trouble must last the settings' ``hold_seconds``.
    - ``slow_data``: it is counted hourly.
    - ``explained_by``: while one of these is not well, for the same subject or for the database, this one is not told.
    - ``services``: those of :mod:`notify` that are told of it; all where there is none.
    """

    name: str
    severity: str
    quick: bool = False
    proven: bool = False
    held: bool = False
    slow_data: bool = False
    explained_by: Tuple[str, ...] = ()
    services: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Cause:
    """One way in which a concern is bad. ``command`` can be copied and changes nothing; ``note`` is where to run it,
    or what to do with what it prints.
    """

    name: str
    concern: str
    title: str
    command: str
    note: str = ""


SERVES, CONNECTIONS, DISK, LATENCY, KEYS, MIRROR = "serves", "connections", "disk", "latency", "keys", "mirror"
OLD_KEYS, LAG, BACKUP, ANSWERS, POOL, CACHE, SLOW = "old keys", "lag", "backup", "answers", "pool", "cache", "slow"
BOUNCER, SIZE = "bouncer", "size"

_CONCERNS = (
    Concern(SERVES, CRITICAL, quick=True),
    Concern(ANSWERS, CRITICAL, held=True),
    Concern(CACHE, CRITICAL, held=True, explained_by=(SERVES, ANSWERS)),
    Concern(DISK, CRITICAL, quick=True),
    Concern(CONNECTIONS, WARNING, held=True, explained_by=(SERVES,)),
    Concern(POOL, WARNING, held=True, explained_by=(SERVES, ANSWERS)),
    Concern(BOUNCER, WARNING, held=True, explained_by=(SERVES,)),
    # Each slow query is in the application's own Sentry already.
    Concern(SLOW, WARNING, proven=True, explained_by=(SERVES, ANSWERS), services=("telegram",)),
    Concern(LATENCY, WARNING, held=True, explained_by=(SERVES, ANSWERS)),
    Concern(LAG, WARNING, held=True, explained_by=(SERVES,)),
    Concern(MIRROR, WARNING, held=True, explained_by=(SERVES,)),
    Concern(BACKUP, WARNING, held=True),
    Concern(KEYS, WARNING, proven=True, slow_data=True, explained_by=(SERVES,)),
    Concern(OLD_KEYS, WARNING, proven=True, slow_data=True, explained_by=(SERVES,)),
    Concern(SIZE, WARNING, proven=True, slow_data=True, explained_by=(SERVES,)),
)
CONCERNS: Dict[str, Concern] = {each.name: each for each in _CONCERNS}

_PLAN = "ansible-playbook baileys.resilience.emergency_failover --check"
_CLEANUP = "ansible-playbook baileys.resilience.key_cleanup --check"
_HEALTH = "ansible-playbook baileys.resilience.health_check"
_MIRROR = "systemctl status baileys-resilience-mirror"
_TIMERS = "systemctl list-timers 'baileys-resilience*'"
_SESSIONS = "SELECT usename, application_name, state, count(*) FROM pg_stat_activity GROUP BY 1, 2, 3 ORDER BY 4 DESC;"
_LOCKS = (
    "SELECT pid, relation::regclass, mode, application_name FROM pg_locks JOIN pg_stat_activity USING (pid)"
    " WHERE granted AND mode LIKE '%ExclusiveLock';"
)
_UNREACHABLE = "see the runbook, 1. PostgreSQL is unreachable"
_BOUNCER = "on its console (database pgbouncer); look at slow queries first, then raise pool_size"
_IDLE = "end what is idle, or raise the limit"

_CAUSES = (
    Cause("down", SERVES, "PostgreSQL takes no connections", _PLAN, _UNREACHABLE),
    Cause("frozen", SERVES, "PostgreSQL keeps silent", _PLAN, _UNREACHABLE),
    Cause("slots_used_up", SERVES, "all connections of PostgreSQL are used up", _SESSIONS, _IDLE),
    Cause(
        "login_refused",
        SERVES,
        "PostgreSQL refuses the login",
        _PLAN,
        "a new, empty server says that, too: see the runbook, First look",
    ),
    Cause(
        "read_only",
        SERVES,
        "PostgreSQL takes no writes",
        _PLAN,
        "ask the database's people which server is the primary",
    ),
    Cause("privileges_lost", SERVES, "a right on the session tables is missing", _HEALTH, "it prints the GRANT"),
    Cause(
        "tables_missing",
        SERVES,
        "the database, a session table or a column is missing",
        _PLAN,
        "do not run init-db; see the runbook, 3. Rows or tables were deleted",
    ),
    Cause("locked", SERVES, "somebody holds a lock on the session tables", _LOCKS, "end that session"),
    Cause("failing", SERVES, "PostgreSQL answers with errors", _HEALTH),
    Cause("disk_full", DISK, "the disk of PostgreSQL is nearly full", "df -h", "on the host of PostgreSQL"),
    Cause("connections_used", CONNECTIONS, "the connections of PostgreSQL are running out", _SESSIONS, _IDLE),
    Cause("slow_queries", SLOW, "queries are slow", _HEALTH),
    Cause("slower_than_usual", LATENCY, "queries are slower than usual", _HEALTH),
    Cause(
        "client_hangs",
        ANSWERS,
        "the application hangs",
        "pm2 list",
        "as the application's user (under systemd: systemctl status); read its log, and look at the database, before"
        " you restart it",
    ),
    Cause("pool_used", POOL, "the application's connections are running out", _HEALTH),
    Cause("pool_waiting", POOL, "operations wait for a connection", _HEALTH),
    Cause("bouncer_used", BOUNCER, "the connections of PgBouncer are running out", "SHOW POOLS;", _BOUNCER),
    Cause("bouncer_waiting", BOUNCER, "clients wait for a connection of PgBouncer", "SHOW POOLS;", _BOUNCER),
    Cause(
        "cache_in_use",
        CACHE,
        "sessions run without the database",
        _PLAN,
        "this host's monitor reaches the database: look at what is between the application and it",
    ),
    Cause("replica_lag", LAG, "the replica is behind", "SELECT * FROM pg_stat_replication;", "on the primary"),
    Cause("mirror_old", MIRROR, "the mirror is too old", _MIRROR),
    Cause("mirror_unusable", MIRROR, "the mirror cannot be used", "baileys-resilience mirror status"),
    Cause("backup_old", BACKUP, "the newest backup is too old", _TIMERS),
    Cause("backup_missing", BACKUP, "there is no backup", _TIMERS),
    Cause("removable_keys", KEYS, "many keys may go", _CLEANUP, "then without --check; nothing breaks while they stay"),
    Cause("old_keys", OLD_KEYS, "many keys are old", _HEALTH, "old is not expired"),
    Cause(
        "tables_large",
        SIZE,
        "the session tables are large",
        _CLEANUP,
        "it says how many keys there are, and how old; where that is meant, raise tables_bytes",
    ),
)
CAUSES: Dict[str, Cause] = {each.name: each for each in _CAUSES}

#: the cause that no rule makes
NO_DATA_CAUSE = "no_data"
NO_DATA_TITLE = "nothing is known"
NO_DATA_COMMAND = "journalctl -u 'baileys-resilience*' --since -15min"
