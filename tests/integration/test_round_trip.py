# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any JSON value of a type that we do not know survives row -> file -> row, in a real database."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from baileys_resilience.sessions.directory_source import DirectorySource
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.importing import import_companies
from baileys_resilience.sessions.model import TableMapping
from lab import Lab
from tests.support.databases import Database, new_database
from tests.support.exports import export_all
from tests.support.synthetic import SMALL_MIX, Company, make_company

COMPANY = make_company(mix={"app-state-sync-key": 1, "pre-key": 1, "tctoken": SMALL_MIX["tctoken"]})

# What jsonb can hold: no NUL, no lone surrogates; numbers as JavaScript has them.
_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
_NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
_VALUES = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=15,
)


def _ours(value: Any) -> bool:
    """Null is no key; a text that is JSON, and an object that says it is bytes, are rewritten on purpose."""
    if value is None or (isinstance(value, str) and value[:1] in ("{", "[")):
        return False
    text = json.dumps(value)
    return '"Buffer"' not in text and '"buffer"' not in text


@pytest.fixture(scope="module")
def shared(lab: Lab) -> Iterator[Database]:
    with new_database(lab) as database:
        database.run("CREATE TABLE before (LIKE whatsapp_keys)")
        yield database


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values=st.dictionaries(_TEXT.filter(bool), _VALUES.filter(_ours), min_size=1, max_size=12))
def test_any_value_of_an_unknown_type_survives_row_to_file_to_row(shared: Database, values: dict[str, Any]) -> None:
    names = {key_id.replace("/", "__").replace(":", "-"): key_id for key_id in values}  # no two in one file
    keys = {("a-new-type", key_id): values[key_id] for name, key_id in names.items() if len(name.encode()) < 200}
    company = Company(COMPANY.id, COMPANY.creds, {**COMPANY.keys, **keys})
    shared.run("TRUNCATE whatsapp_auth, whatsapp_keys, before")
    shared.fill(company, form="base64")
    shared.run("INSERT INTO before SELECT * FROM whatsapp_keys")
    with tempfile.TemporaryDirectory() as directory:
        home = SessionsHome(Path(directory) / "sessions")
        assert export_all(shared.params, home).failed == {}
        shared.run("TRUNCATE whatsapp_auth, whatsapp_keys")
        report = import_companies(DirectorySource(home), shared.params, TableMapping(), [company.id])
    assert report.failed == {}
    columns = "company_id, key_type, key_id, value"
    one_way = f"SELECT {columns} FROM before EXCEPT SELECT {columns} FROM whatsapp_keys"
    assert shared.run(one_way) == []
    assert shared.run("SELECT count(*) FROM whatsapp_keys") == [(len(company.keys),)]
