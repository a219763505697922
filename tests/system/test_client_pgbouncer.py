# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The session client through PgBouncer in transaction mode: each transaction may get another connection of the server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.postgres import ConnectParams
from lab import nodejs
from tests.support.synthetic import SMALL_MIX, Company, make_companies
from tests.system.bouncer import SETTINGS, transaction_pooler
from tests.system.postgres15 import DATABASE, USER, Cluster

ROOT = Path(__file__).resolve().parents[2]
PROCESS = ROOT / "lab" / "node" / "test" / "client" / "process.mjs"
TIMEOUT_SECONDS = 60
ANSWERS = list[dict[str, Any]]


@pytest.fixture
def company(tables: Cluster) -> Company:
    (company,) = make_companies(1, SMALL_MIX)
    tables.fill(company)
    return company


def through(params: ConnectParams) -> dict[str, Any]:
    return {"host": params.host, "port": params.port, "database": DATABASE, "user": USER, "password": ""}


def run_client(tmp_path: Path, company: Company, commands: ANSWERS, **options: Any) -> ANSWERS:
    """What a process with the session answers: to its opening, and to each command."""
    node, _npm = nodejs.find()
    nodejs.ensure_lab_packages(tmp_path, node)
    settings = {"dir": str(tmp_path / "client"), "admin": False, **options}
    done = subprocess.run(
        [node, PROCESS, json.dumps(settings), company.id], input="".join(json.dumps(each) + "\n" for each in commands),
        capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) in (1, 1 + len(commands)), done.stderr
    return answers


def test_locks_through_it_are_refused_and_the_way_out_is_said(
    server: Cluster, company: Company, tmp_path: Path
) -> None:
    with transaction_pooler(server) as pooler:
        (answer,) = run_client(tmp_path, company, [], connection=through(pooler))
    assert answer["name"] == "Misconfigured"
    assert "leads through a pooler, where locks of a session mean nothing" in answer["error"]
    assert "HINT: set directConnection (WA_SESSION_DIRECT_HOST, WA_SESSION_DIRECT_PORT)" in answer["error"]


def test_with_a_direct_connection_for_the_locks_the_rest_goes_through_it(
    server: Cluster, company: Company, tmp_path: Path
) -> None:
    writes = [{"do": "set", "data": {"lid-mapping": {str(n): "1", "gone": None}}} for n in range(20)]
    with transaction_pooler(server) as pooler:
        opened, *answers = run_client(
            tmp_path, company, [*writes, {"do": "status"}, {"do": "close"}],
            connection=through(pooler), directConnection={"host": str(server.folder), "port": server.port},
        )  # fmt: skip
    assert opened["ok"]["keys"] == len(company.keys)
    assert all("error" not in answer for answer in answers), answers
    assert answers[-2]["ok"]["state"] == "online"
    rows = server.run("SELECT count(*) FROM whatsapp_keys WHERE key_type = 'lid-mapping' AND value = '\"1\"'")
    assert rows == [(20,)]


def test_a_pooler_that_refuses_our_deadlines_is_said_with_its_setting(
    server: Cluster, company: Company, tmp_path: Path
) -> None:
    bare = "\n".join(line for line in SETTINGS.splitlines() if not line.startswith("ignore_startup_parameters"))
    with transaction_pooler(server, bare) as pooler:
        (answer,) = run_client(
            tmp_path, company, [],
            connection=through(pooler), directConnection={"host": str(server.folder), "port": server.port},
        )  # fmt: skip
    assert "HINT: PgBouncer needs ignore_startup_parameters" in answer["error"]
