# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real libraries load what was exported: every key of the manifest, and each with the meaning it had in its row."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.manifest import CREDS_TYPE, read_manifest
from tests.interop.libraries import Library
from tests.support.databases import Database
from tests.support.exports import export_all
from tests.support.synthetic import FORMS, MIX, Company, Form, in_form, make_company

TYPES = {**MIX, "tctoken": 5}
VERSIONS = {"baileys": "7.0.0-rc14", "baileys-6": "6.7.24"}


def exported(database: Database, home: SessionsHome, form: Form | None) -> Company:
    company = make_company(mix=TYPES)
    # Bytes of an unknown type in the index form stay as they are: nobody can tell them from an object of numbers.
    extra = {("a-new-type", "x/y:z"): {"token": {"type": "Buffer", "data": "AP8="}, "list": [1, "two", None]}}
    company = Company(company.id, company.creds, {**company.keys, **extra})
    database.fill(company, form=form)
    assert export_all(database.params, home).failed == {}
    return company


@pytest.fixture
def home(tmp_path: Path) -> SessionsHome:
    return SessionsHome(tmp_path / "sessions")


def test_the_libraries_are_the_versions_that_the_facts_are_about(library: Library) -> None:
    assert library.version == VERSIONS[library.package.name]


@pytest.mark.parametrize("form", [*FORMS, None])
def test_every_key_of_the_manifest_is_loaded_with_its_meaning(
    database: Database, home: SessionsHome, library: Library, form: Form | None
) -> None:
    company = exported(database, home, form)
    manifest = read_manifest(home.manifest(company.id))
    names = [(entry.type, entry.id) for entry in manifest.entries() if entry.type != CREDS_TYPE]
    loaded = library.load(home.directory(company.id), names)
    assert loaded.counts() == manifest.totals.counts == company.counts()
    assert loaded.user == company.creds["me"]["id"]
    assert loaded.creds == in_form(company.creds, "base64")
    for (key_type, key_id), value in company.keys.items():
        expected = meaning(key_type, in_form(value, "base64"))
        assert meaning(key_type, loaded.keys[key_type, key_id]) == expected, (key_type, key_id)


def meaning(key_type: str, value: Any) -> Any:
    """The library turns app state keys into protobuf objects, whose bytes and numbers have other JSON forms."""
    if key_type != "app-state-sync-key":
        return value
    data = value["keyData"]
    raw = base64.b64decode(data if isinstance(data, str) else data["data"])
    return raw, value["fingerprint"], str(value["timestamp"])


def test_the_library_writes_a_key_where_the_export_expects_it(
    database: Database, home: SessionsHome, library: Library
) -> None:
    """Names the other way round: what we would call a file is what the library opens."""
    company = exported(database, home, None)
    directory = home.directory(company.id)
    for key_type, key_id in company.keys:
        name = f"{key_type}-{key_id}.json".replace("/", "__").replace(":", "-")
        assert (directory / name).is_file()
    (directory / "pre-key-5.json").unlink(missing_ok=True)
    (directory / "session-30000000000001_1.0.json").write_text("{")
    loaded = library.load(directory, company.keys)
    missing = [name for name, value in loaded.keys.items() if value is None]
    assert missing == [("pre-key", "5"), ("session", "30000000000001_1.0")]


def test_a_directory_without_creds_is_a_new_identity_to_the_library(tmp_path: Path, library: Library) -> None:
    """Why nothing is handed over before the audit: the library makes no error of it."""
    (tmp_path / "creds.json").write_text("{")
    loaded = library.load(tmp_path, [])
    assert loaded.user is None
    assert loaded.creds["noiseKey"]
