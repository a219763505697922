# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Who follows a primary, and how far behind: connected standbys, and slots that keep WAL for absent ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Optional

from ..alerts.model import REPLICA, Subject
from ..alerts.readings import Replica

# A standby with a slot has the slot's name, connected or not. Without pg_monitor, rows of others have no name.
_FOLLOWERS = """
SELECT coalesce(s.slot_name, r.application_name || coalesce('@' || host(r.client_addr), '')), r.pid IS NOT NULL,
    greatest(0, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(),
        coalesce(r.replay_lsn, s.confirmed_flush_lsn, s.restart_lsn)), 0))::bigint,
    coalesce(extract(epoch FROM r.replay_lag), 0)::float8
FROM (SELECT * FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup') r
FULL JOIN (SELECT * FROM pg_replication_slots WHERE NOT temporary) s ON s.active_pid = r.pid
ORDER BY 1 LIMIT 100
"""


@dataclass(frozen=True)
class ReplicaState:
    """``behind_seconds`` is how long ago the primary wrote what was replayed last; 0 where all is replayed."""

    name: Optional[str]
    connected: bool
    behind_bytes: int
    behind_seconds: float

    def reading(self) -> Replica:
        return Replica(Subject(REPLICA, self.name or ""), self.behind_bytes, self.behind_seconds)


def read_replication(cursor: Any) -> List[ReplicaState]:
    """One question to a primary. Raises psycopg2's errors."""
    cursor.execute(_FOLLOWERS)
    return [ReplicaState(*row) for row in cursor.fetchall()]
