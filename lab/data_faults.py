# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults in the rows themselves, and putting back exactly the rows a fault touched.

Before a row is damaged, its old and new content are saved. A row is put back only while it still holds what the fault
left there: what the application wrote since is newer than our copy, and stays.
"""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
from psycopg2.extras import RealDictCursor

from . import postgres
from .errors import LabError, LabStateError
from .state import LabState, write_private

VARIANTS = ("tampered", "empty", "null")
KEY_TYPES = ("pre-key", "session", "sender-key", "app-state-sync-key", "lid-mapping", "identity-key")
ROWS_PER_TYPE = 2
GARBAGE = ("null", "{}", '"not a key"', '{"type": "Buffer", "data": "!!not base64!!"}', "[1, 2, 3]", "17")
Row = dict[str, Any]


def save_path(lab_dir: Path, fault: str) -> Path:
    return lab_dir / "faults" / f"{fault}.json"


def corrupt_creds(state: LabState, company: str, variant: str) -> list[Row]:
    if variant not in VARIANTS:
        raise LabError(f"unknown variant {variant!r}", f"one of {', '.join(VARIANTS)}")
    with _Database(state) as cursor:
        cursor.execute(
            "SELECT company_id, creds::text AS old FROM whatsapp_auth WHERE company_id = %s FOR UPDATE", [company]
        )
        row = cursor.fetchone()
        if row is None:
            raise LabError(f"company {company} has no row in whatsapp_auth", "lab status lists the companies")
        damaged = {"tampered": _tampered(row["old"]), "empty": "{}", "null": None}[variant]
        cursor.execute(
            "UPDATE whatsapp_auth SET creds = %s::jsonb WHERE company_id = %s RETURNING creds::text AS new",
            [damaged, company],
        )
        saved = [{"table": "whatsapp_auth", **row, **_only(cursor)}]
        _save(state, "creds-corrupt", saved)
    return saved


def _tampered(creds: str | None) -> str:
    """The same creds with another noise private key: every field well-formed, the pair no longer a pair."""
    content = json.loads(creds or "{}")
    if not content.get("noiseKey"):
        raise LabError("these creds have no noiseKey to tamper with", "use --variant empty or null")
    content["noiseKey"]["private"] = {"type": "Buffer", "data": base64.b64encode(secrets.token_bytes(32)).decode()}
    return json.dumps(content)


def corrupt_keys(state: LabState, company: str) -> list[Row]:
    saved: list[Row] = []
    with _Database(state) as cursor:
        cursor.execute(
            """
            SELECT company_id, key_type, key_id, value::text AS old FROM (
                SELECT *, row_number() OVER (PARTITION BY key_type ORDER BY key_id) AS place
                FROM whatsapp_keys WHERE company_id = %s AND key_type = ANY(%s)) numbered
            WHERE place <= %s ORDER BY key_type, key_id""",
            [company, list(KEY_TYPES), ROWS_PER_TYPE],
        )
        for number, row in enumerate(cursor.fetchall()):
            cursor.execute(
                """
                UPDATE whatsapp_keys SET value = %s::jsonb WHERE (company_id, key_type, key_id) = (%s, %s, %s)
                RETURNING value::text AS new""",
                [GARBAGE[number % len(GARBAGE)], row["company_id"], row["key_type"], row["key_id"]],
            )
            saved.append({"table": "whatsapp_keys", **row, **_only(cursor)})
        if not saved:
            raise LabError(f"company {company} has no keys to corrupt", "lab status lists the companies")
        _save(state, "keys-corrupt", saved)
    return saved


def delete_rows(state: LabState, company: str) -> list[Row]:
    """Delete every second key of a company, each type halved."""
    with _Database(state) as cursor:
        cursor.execute(
            """
            DELETE FROM whatsapp_keys k USING (
                SELECT ctid, row_number() OVER (ORDER BY key_type, key_id) AS place
                FROM whatsapp_keys WHERE company_id = %s) numbered
            WHERE k.ctid = numbered.ctid AND place %% 2 = 0 RETURNING to_jsonb(k)::text AS old""",
            [company],
        )
        saved = [{"table": "whatsapp_keys", "deleted": True, **row} for row in cursor.fetchall()]
        if not saved:
            raise LabError(f"company {company} has no keys to delete", "lab status lists the companies")
        _save(state, "rows-delete", saved)
    return saved


def _only(cursor: RealDictCursor) -> Row:
    row = cursor.fetchone()
    if row is None:
        raise LabError("a row vanished while the fault was made", "try again")
    return dict(row)


def put_back(state: LabState, fault: str) -> dict[str, int]:
    """Undo a data fault. Returns how many rows were put back and how many had changed since and were left alone."""
    path = save_path(state.path, fault)
    try:
        saved: list[Row] = json.loads(path.read_text())
    except FileNotFoundError as exc:
        raise LabStateError(f"the copy {path} of fault {fault} is gone", "lab down, then lab up") from exc
    count = 0
    with _Database(state) as cursor:
        # The copy holds created_at and updated_at too: what is put back looks as if nothing had happened.
        for row in saved:
            count += _put_back_row(cursor, row)
    path.unlink()
    return {"put_back": count, "left_alone": len(saved) - count}


def _put_back_row(cursor: RealDictCursor, row: Row) -> int:
    if row.get("deleted"):
        cursor.execute(
            """
            INSERT INTO whatsapp_keys SELECT * FROM jsonb_populate_record(NULL::whatsapp_keys, %s::jsonb)
            ON CONFLICT DO NOTHING""",
            [row["old"]],
        )
    elif row["table"] == "whatsapp_auth":
        cursor.execute(
            """UPDATE whatsapp_auth SET creds = %s::jsonb
                          WHERE company_id = %s AND creds IS NOT DISTINCT FROM %s::jsonb""",
            [row["old"], row["company_id"], row["new"]],
        )
    else:
        cursor.execute(
            """UPDATE whatsapp_keys SET value = %s::jsonb
                          WHERE (company_id, key_type, key_id) = (%s, %s, %s)
                            AND value IS NOT DISTINCT FROM %s::jsonb""",
            [row["old"], row["company_id"], row["key_type"], row["key_id"], row["new"]],
        )
    return int(cursor.rowcount)


def _save(state: LabState, fault: str, rows: list[Row]) -> None:
    """Inside the transaction: a fault that cannot be undone is not committed."""
    path = save_path(state.path, fault)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_private(path, json.dumps(rows))


class _Database:
    """One transaction as the application's role, on the direct port: the network may be broken by another fault."""

    def __init__(self, state: LabState) -> None:
        self.state = state

    def __enter__(self) -> RealDictCursor:
        try:
            self.connection = postgres.connect(self.state.need_postgres(), direct=True)
        except psycopg2.OperationalError as exc:
            raise LabStateError(f"PostgreSQL does not answer: {exc}".strip(), "lab heal") from exc
        # No trigger of ours exists, but the application may hold a row: fail rather than hang.
        cursor = self.connection.cursor(cursor_factory=RealDictCursor)
        cursor.execute("SET lock_timeout = '5s'; SET statement_timeout = '30s'")
        return cursor

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        try:
            if kind is None:
                self.connection.commit()
        finally:
            self.connection.close()
