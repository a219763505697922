# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database of its own for each test, in the PostgreSQL 18 of one lab."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import connection as Connection

from baileys_resilience.postgres import ConnectParams
from lab import Lab
from tests.support.database import SCHEMA, everything, fill
from tests.support.synthetic import Company, Form

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Database:
    """One database with the sessions' default tables, empty at first."""

    lab: Lab
    name: str

    @property
    def params(self) -> ConnectParams:
        """As the application's role, past the proxy."""
        server = self.lab.need_postgres()
        return ConnectParams(server.host, server.direct_port, self.name, server.user, server.password)

    def connect(self, **options: Any) -> Connection:
        return self.lab.connect(direct=True, database=self.name, **options)

    def fill(self, *companies: Company, form: Form | None = None) -> None:
        with self.open() as connection:
            fill(connection, companies, form)

    @contextmanager
    def open(self) -> Iterator[Connection]:
        connection = self.connect()
        try:
            yield connection
        finally:
            connection.close()

    def run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement (or several without values) and commit; returns rows where there are any."""
        with self.open() as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def everything(self, *, versions: bool = False) -> list[tuple[Any, ...]]:
        with self.open() as connection:
            return everything(connection, versions=versions)


@contextmanager
def new_database(lab: Lab, schema: str = SCHEMA) -> Iterator[Database]:
    server = lab.need_postgres()
    database = Database(lab, f"test_{next(_numbers)}")
    admin = lab.connect(superuser=True, direct=True, database="postgres")
    try:
        admin.autocommit = True
        with admin.cursor() as cursor:
            cursor.execute(f'CREATE DATABASE {database.name} OWNER "{server.user}"')
            if schema:
                database.run(schema)
            yield database
            cursor.execute(f"DROP DATABASE {database.name} WITH (FORCE)")
    finally:
        admin.close()
