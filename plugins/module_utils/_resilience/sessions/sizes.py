# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""How much room the session tables take on the server's disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, Sequence, Tuple

from .._thirdparty import require
from .model import TableMapping
from .postgres_store import regclass_text


@dataclass(frozen=True)
class TableSize:
    """Bytes on disk: the rows with what is stored apart from them, and the indexes."""

    table_bytes: int
    index_bytes: int

    @property
    def total(self) -> int:
        return self.table_bytes + self.index_bytes


def table_sizes(ask: Callable[[Any], Sequence[Tuple[Any, ...]]], tables: TableMapping) -> Dict[str, TableSize]:
    """Of both tables, by name. ``ask`` gives a query's rows. Of a partitioned table, all its partitions; of a view,
    nothing.
    """
    sql = require("psycopg2.sql")
    found = {}
    for table in (tables.auth.table, tables.keys.table):
        query = sql.SQL(
            "SELECT coalesce(sum(pg_table_size(relid)), 0)::bigint, coalesce(sum(pg_indexes_size(relid)), 0)::bigint"
            " FROM (SELECT to_regclass({table}) AS relid UNION"
            " SELECT relid FROM pg_partition_tree(to_regclass({table}))) AS parts"
        ).format(table=sql.Literal(regclass_text(table)))
        table_bytes, index_bytes = ask(query)[0]
        found[table] = TableSize(table_bytes, index_bytes)
    return found
