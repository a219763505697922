# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two companies of which a little may go: 20 memories of groups each, the oldest of their keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.cleanup import archive
from baileys_resilience.cleanup.plan import CleanupSettings
from baileys_resilience.sessions.model import TableMapping
from tests.support.databases import Database
from tests.support.synthetic import make_companies

MIX = {"pre-key": 60, "session": 60, "sender-key": 30, "sender-key-memory": 30, "app-state-sync-key": 6}
COMPANIES = ("962301", "962302")
OLD = 20

Settings = Callable[..., CleanupSettings]


def contents(path: Path) -> tuple[archive.Archive, list[archive.Batch]]:
    """An archive with what was deleted."""
    batches: list[archive.Batch] = []
    return archive.read(path, batches.append), batches


@pytest.fixture
def aged(database: Database) -> Database:
    """All keys but 20 memories of each company are of today."""
    database.fill(*make_companies(2, MIX))
    database.run(
        "UPDATE whatsapp_keys SET updated_at = now();"
        "UPDATE whatsapp_keys SET updated_at = now() - interval '31 days', expires_at = '2026-01-02T03:04:05.678901Z'"
        " WHERE (company_id, key_type, key_id) IN (SELECT company_id, key_type, key_id FROM (SELECT *, row_number()"
        f" OVER (PARTITION BY company_id ORDER BY key_id) AS place FROM whatsapp_keys WHERE key_type ="
        f" 'sender-key-memory') AS placed WHERE place <= {OLD})"
    )
    return database


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Settings:
    def make(**options: Any) -> CleanupSettings:
        return CleanupSettings(database.params, TableMapping(), tmp_path / "state", **options)

    return make
