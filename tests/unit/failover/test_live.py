# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a client's answers mean while a session moves in place. The real one is met in tests/integration/client."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest

from baileys_resilience.errors import Unavailable
from baileys_resilience.failover import live
from tests.support.client_admin import client

COMPANY = "962301"
STATUS = "GET /status"
SEAL = f"POST /store?company={COMPANY}&phase=seal&hold=h"
PLACE = urlencode({"directory": f"/sessions/company_{COMPANY}"})
COMMIT = f"POST /store?company={COMPANY}&phase=commit&hold=h&{PLACE}"
NO_ANSWER = (200, b"")


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(live, "holds_of", lambda _context: {COMPANY: "h"})
    with tempfile.TemporaryDirectory(prefix="client-") as path:
        yield SimpleNamespace(settings=SimpleNamespace(client_dir=path), target="files")


def status(store: str) -> tuple[int, dict[str, Any]]:
    return 200, {"sessions_dir": "/sessions", "sessions": [{"company": COMPANY, "store": store}]}


def test_a_commit_that_is_not_answered_is_taken_back_before_it_counts_as_failed(context: Any) -> None:
    answers = {COMMIT: NO_ANSWER, SEAL: (200, {"phase": "sealed"}), STATUS: status("postgres")}
    with client(Path(context.settings.client_dir), answers) as asked, pytest.raises(Unavailable):
        live.commit(context, COMPANY)
    assert asked[asked.index(COMMIT) :] == [COMMIT, SEAL, STATUS]


def test_one_that_has_gone_over_by_then_counts_as_done(context: Any) -> None:
    answers = {COMMIT: NO_ANSWER, SEAL: (409, {"name": "Committed", "error": "it is"}), STATUS: status("files")}
    with client(Path(context.settings.client_dir), answers) as asked:
        live.commit(context, COMPANY)
    assert SEAL in asked
