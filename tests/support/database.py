# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions' tables in a real database: made with the columns that people have, filled by COPY."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from psycopg2.extensions import connection as Connection

from tests.support.synthetic import FORMS, Company, Form, make_company, stored

#: like lab/schema.sql: `created_at` and `expires_at` stand for the columns that we do not know
SCHEMA = """
CREATE TABLE whatsapp_auth (
    company_id text PRIMARY KEY,
    creds jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE whatsapp_keys (
    company_id text NOT NULL,
    key_type text NOT NULL,
    key_id text NOT NULL,
    value jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    PRIMARY KEY (company_id, key_type, key_id)
);
"""
COMPANY_INDEX = "CREATE INDEX ON whatsapp_keys (company_id)"
_KEY_COLUMNS = ("company_id", "key_type", "key_id", "value", "updated_at", "created_at", "expires_at")
_AUTH_COLUMNS = ("company_id", "creds", "updated_at", "created_at")
_DAYS = ("2026-01-05T06:07:08.25Z", "2025-12-24T23:59:59.999999Z", "2025-11-30T00:00:00Z")
_CREATED = "2025-10-01T00:00:00Z"
_EXPIRES = "2027-01-01T00:00:00Z"


def fill(connection: Connection, companies: Iterable[Company], form: Form | None = None) -> None:
    """Store the companies in the default tables. `form` None: the three encodings in turn, row by row."""
    for company in companies:
        copy_in(connection, "whatsapp_auth", _AUTH_COLUMNS, [_auth_row(company, form)])
        copy_in(connection, "whatsapp_keys", _KEY_COLUMNS, key_rows(company, form))
    connection.commit()


def fill_many(connection: Connection, count: int, templates: int = 8, first: int = 962301) -> list[str]:
    """`count` full-size companies, quickly: the material of a few, each under many ids. Returns the ids.

    A reader cannot tell: no two rows are equal in company, type and id, and nothing is shared between companies.
    """
    bodies = []
    for seed in range(min(templates, count)):
        company = make_company("template", seed)
        bodies.append((company, [("\t" + _line(row[1:])).encode() for row in key_rows(company, None)]))
    ids = [str(first + n) for n in range(count)]
    for company_id, (company, _body) in zip(ids, itertools.cycle(bodies), strict=False):
        copy_in(connection, "whatsapp_auth", _AUTH_COLUMNS, [_auth_row(company.named(company_id), None)])
    for start in range(0, count, 50):
        text = b"".join(
            company_id.encode() + line
            for company_id, (_company, body) in zip(
                ids[start : start + 50], itertools.islice(itertools.cycle(bodies), start, None), strict=False
            )
            for line in body
        )
        with connection.cursor() as cursor:
            cursor.copy_expert(_copy_statement("whatsapp_keys", _KEY_COLUMNS), io.BytesIO(text))
    connection.commit()
    return ids


def key_rows(company: Company, form: Form | None) -> Iterator[Sequence[str | None]]:
    for n, ((key_type, key_id), value) in enumerate(company.keys.items()):
        text = stored(value, form or FORMS[n % len(FORMS)])
        yield company.id, key_type, key_id, text, _DAYS[n % len(_DAYS)], _CREATED, _EXPIRES if n % 7 == 0 else None


def _auth_row(company: Company, form: Form | None) -> Sequence[str | None]:
    return company.id, stored(company.creds, form or FORMS[len(company.keys) % len(FORMS)]), _DAYS[0], _CREATED


def copy_in(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[str | None]]) -> None:
    text = io.StringIO("".join(_line(row) for row in rows))
    with connection.cursor() as cursor:
        cursor.copy_expert(_copy_statement(table, columns), text)


def _copy_statement(table: str, columns: Sequence[str]) -> str:
    return f"COPY {table} ({', '.join(columns)}) FROM STDIN"


def _line(row: Sequence[str | None]) -> str:
    return "\t".join(map(_field, row)) + "\n"


def _field(value: str | None) -> str:
    if value is None:
        return r"\N"
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def everything(connection: Connection, *, versions: bool = False) -> list[tuple[Any, ...]]:
    """Every column of every row of the default tables, comparable; with xmin, which tells whether a row was written."""
    xmin = "xmin::text" if versions else "''"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {xmin}, 'auth', company_id, '', '', creds::text, updated_at, created_at, NULL FROM whatsapp_auth"
            f" UNION ALL SELECT {xmin}, 'key', company_id, key_type, key_id, value::text, updated_at, created_at,"
            " expires_at FROM whatsapp_keys ORDER BY 2, 3, 4, 5"
        )
        found = cursor.fetchall()
    connection.rollback()
    return found
