# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The room that the session tables take before and after a run, how old the keys are, and whether a VACUUM is worth it.

Nothing here vacuums. PostgreSQL does that by itself, later; and ``VACUUM FULL``, which gives the room back to the disk,
locks the table while every session waits.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List, Mapping, Tuple

from .._thirdparty import require
from ..sessions.info import AGE_BUCKETS, OLDEST_BUCKET, UNKNOWN_AGE
from ..sessions.model import TableMapping
from ..sessions.postgres_store import regclass_text, table_identifier
from ..sessions.sizes import TableSize, table_sizes

#: Youngest first.
BUCKETS = (*(name for name, _days in AGE_BUCKETS), OLDEST_BUCKET, UNKNOWN_AGE)
#: Autovacuum comes when a fifth of the rows are dead (autovacuum_vacuum_scale_factor), and a run deletes less than
#: that. Below a twentieth nobody would notice the difference; the rows of a whole default run are many in any table.
MANY_SHARE = 0.05
MANY_AT_LEAST = 1000
MANY = 10000


@dataclass(frozen=True)
class Room:
    """Sizes by table. ``is_vacuumed``: autovacuum comes to the keys' table by itself."""

    sizes: Mapping[str, TableSize] = field(default_factory=dict)
    is_vacuumed: bool = True

    @property
    def total_bytes(self) -> int:
        return sum(each.total for each in self.sizes.values())

    def as_dict(self) -> Dict[str, Dict[str, int]]:
        return {name: asdict(each) for name, each in self.sizes.items()}


def read_room(cursor: Any, tables: TableMapping) -> Room:
    sql = require("psycopg2.sql")

    def ask(query: Any) -> List[Tuple[Any, ...]]:
        cursor.execute(query)
        return list(cursor.fetchall())

    # 'off' and 'false' and '0' are the same to PostgreSQL, which stores the option as it was written.
    switched_off = sql.SQL(
        "SELECT NOT current_setting('autovacuum')::boolean OR coalesce(bool_or(option_value::boolean IS FALSE), false)"
        " FROM pg_class CROSS JOIN pg_options_to_table(reloptions)"
        " WHERE option_name = 'autovacuum_enabled' AND oid IN (SELECT to_regclass({table})::oid UNION"
        " SELECT relid::oid FROM pg_partition_tree(to_regclass({table})))"
    ).format(table=sql.Literal(regclass_text(tables.keys.table)))
    return Room(table_sizes(ask, tables), not ask(switched_off)[0][0])


def vacuum_advice(cursor: Any, tables: TableMapping, deleted: int, total: int, room: Room) -> str:
    """What to run, and why; empty where it is not worth it. ``total``: the keys before."""
    is_much = deleted >= MANY or (deleted >= MANY_AT_LEAST and deleted >= MANY_SHARE * total)
    if not deleted or (room.is_vacuumed and not is_much):
        return ""
    by_itself = (
        "PostgreSQL does it by itself once a fifth of the table's rows are dead" if room.is_vacuumed else
        "autovacuum is switched off, so nobody else does it"
    )  # fmt: skip
    return (
        f"new keys can have the room of the {deleted} that went after: VACUUM (ANALYZE)"
        f" {table_identifier(tables.keys.table).as_string(cursor)}; nobody waits for it, and {by_itself}. Never"
        " VACUUM FULL: it locks the table"
    )


def in_order(ages: Mapping[str, int]) -> Dict[str, int]:
    """Without what is not there."""
    return {name: ages[name] for name in BUCKETS if ages.get(name)}


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def ages_line(ages: Mapping[str, int]) -> str:
    return "written: " + ", ".join(f"{name} {number}" for name, number in ages.items())
