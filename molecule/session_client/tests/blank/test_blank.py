# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose application has no client yet: what check mode leaves, and what the role says where it cannot work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from application import find_app
from client import APP, DATA
from controller import Controller
from testinfra.host import Host

CONVERGE = Path(__file__).parents[2] / "converge.yml"
CLIENT = Path(__file__).parents[2] / "client.yml"
#: Root's alone
CLOSED = "/var/lib/closed"
FOOTPRINT = (
    f"find {APP} {DATA} {CLOSED} /etc /home -type d -printf '%p %m %u\\n' -o -printf '%p %m %u %s %T@\\n' | sort"
)
#: What an operator may have set wrong, and what is said about it
WRONG = {
    f"baileys_resilience_client_dir={CLOSED}/client": f"the journals of whatsapp: {CLOSED} is closed to that user",
    "baileys_resilience_client_dir=/var/lib/postgresql": "the journals of whatsapp: it belongs to postgres",
    f"baileys_resilience_node={CLOSED}/node": f"{CLOSED}/node cannot be run by whatsapp: .*Permission denied",
}
pytestmark = pytest.mark.usefixtures("client_host")


def test_check_mode_foretells_changes_and_makes_none(client_host: Host, tmp_path: Path) -> None:
    before = client_host.run(FOOTPRINT).stdout
    run = Controller(tmp_path, str(CONVERGE), "--check")
    assert run.end() == 0, run.output
    assert int(re.findall(r"changed=(\d+)", run.recap["app-client"])[0]) >= 4, run.output
    assert client_host.run(FOOTPRINT).stdout == before
    find_app("app-client").assert_lives_in("postgres")


def test_what_root_may_and_the_applications_user_may_not_is_refused_before_anything_is_written(
    client_host: Host, tmp_path: Path
) -> None:
    client_host.check_output(f"mkdir --mode=0700 {CLOSED} && cp -L /srv/node/bin/node {CLOSED}/node")
    before = client_host.run(FOOTPRINT).stdout
    runs = {wrong: Controller(tmp_path, str(CLIENT), "-e", wrong) for wrong in WRONG}
    for wrong, run in runs.items():
        assert run.end() != 0, run.output
        said = " ".join(run.output.split())
        assert re.search(WRONG[wrong], said), said
        assert "HINT: set " in said
    assert client_host.run(FOOTPRINT).stdout == before
    client_host.check_output(f"rm -r {CLOSED}")
