# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`lab up` and `lab down`: side by side, refusals, interruption, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lab import Lab, LabError, LabStateError, ports, postgres, processes
from tests.lab.helpers import (
    PROJECT,
    lab_command,
    lab_json,
    processes_of,
    shared_memory_segment,
    shared_memory_segments,
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A place for one lab, emptied whatever happens."""
    place = tmp_path / "lab"
    yield place
    if (place / "lab.json").exists():
        Lab.load(place).down()


def test_the_command_line_goes_through_a_whole_life(folder: Path) -> None:
    place = ("--dir", str(folder))
    made = lab_json("up", "--no-app", "--ids", "962301,962377", *place)
    assert [company["id"] for company in made["companies"]] == ["962301", "962377"]
    assert lab_json("status", *place)["ok"] is True
    assert lab_json("break", "network-drop", *place)["name"] == "network-drop"
    broken = lab_command("status", "--json", *place)
    assert broken.returncode == 1
    assert json.loads(broken.stdout)["faults"][0]["name"] == "network-drop"
    assert lab_json("heal", *place)["healed"][0]["healed"] == "proxy"
    assert lab_command("status", *place).returncode == 0
    assert lab_json("down", *place)["removed"] is True
    assert not folder.exists()
    assert processes_of(folder) == []
    assert lab_json("down", *place)["removed"] is False


def test_the_wrapper_runs_from_any_folder(bare_lab: Lab, tmp_path: Path) -> None:
    done = subprocess.run(
        [PROJECT / "lab" / "lab", "status", "--dir", bare_lab.dir],
        cwd=tmp_path,
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "18." in done.stdout


def test_two_labs_live_side_by_side_and_down_takes_only_its_own(bare_lab: Lab, folder: Path) -> None:
    other = Lab.up(folder, app=False)
    ours, theirs = bare_lab.need_postgres(), other.need_postgres()
    assert {ours.direct_port, ours.proxy_port}.isdisjoint({theirs.direct_port, theirs.proxy_port})
    other.break_("postgres-kill")
    assert bare_lab.status()["ok"]
    other.down()
    assert bare_lab.status()["ok"]


def test_a_reserved_port_goes_to_nobody_else_but_its_server_can_listen() -> None:
    port = ports.reserve()
    try:
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", port))
        with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
    finally:
        ports.release()


def test_programs_in_a_folder_closed_to_others_run_even_when_the_server_has_another_owner(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clone in root's home: PostgreSQL refuses to run as root, and nobody else may enter that folder.
    original = postgres.bin_dir().parents[1]
    closed = tmp_path / "closed"
    for name in (original.name, f"{original.name}.libs"):
        shutil.copytree(original.parent / name, closed / name, symlinks=True)
    closed.chmod(0o700)
    monkeypatch.setattr(postgres, "bin_dir", lambda: closed / original.name / "pginstall" / "bin")
    lab = Lab.up(folder, app=False)
    lab.break_("postgres-stop")
    lab.heal()
    assert lab.status()["ok"]


def test_down_leaves_nothing_behind_even_of_a_killed_or_frozen_server(folder: Path) -> None:
    for fault in ("postgres-kill", "postgres-freeze"):
        lab = Lab.up(folder, app=False)
        segment = shared_memory_segment(lab)
        assert segment in shared_memory_segments()
        lab.break_(fault)
        lab.down()
        assert not folder.exists()
        assert processes_of(folder) == []
        assert segment not in shared_memory_segments()


def test_files_and_folders_with_secrets_are_for_the_owner_only(bare_lab: Lab) -> None:
    assert stat.S_IMODE(bare_lab.path.stat().st_mode) == 0o700
    for name in ("lab.json", "inventory.yml", "receivers/sentry.jsonl"):
        assert stat.S_IMODE((bare_lab.path / name).stat().st_mode) == 0o600, name


def test_no_password_is_on_a_command_line(bare_lab: Lab) -> None:
    server = bare_lab.need_postgres()
    secrets = (server.password, server.superuser_password, bare_lab.need_receivers().telegram_token)
    for line in processes_of(bare_lab.path):
        assert not any(secret in line for secret in secrets)


def test_up_refuses_a_folder_that_is_not_a_lab_and_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(LabStateError, match="exists and is not a lab"):
        Lab.up(tmp_path, app=False)
    refused = lab_command("down", "--dir", str(tmp_path))
    assert refused.returncode == 3
    assert "nothing was removed" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_up_on_a_living_lab_says_that_it_is_up(bare_lab: Lab) -> None:
    again = lab_command("up", "--no-app", "--json", "--dir", bare_lab.dir)
    assert again.returncode == 3
    answer = json.loads(again.stdout)
    assert "already up" in answer["error"]
    assert "lab down" in answer["hint"]


def test_up_on_a_half_dead_lab_names_the_dead_and_what_to_do(folder: Path) -> None:
    lab = Lab.up(folder, app=False)
    processes.kill_all([lab.need_receivers().pid])
    with pytest.raises(LabStateError, match="half-dead: not running: receivers") as caught:
        Lab.up(folder, app=False)
    assert "lab down" in caught.value.hint


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_up_cleans_up(folder: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", "up", "--no-app", "--dir", str(folder)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    processes.wait_until(lambda: (folder / "postgres" / "postgres.log").exists(), "PostgreSQL's log", 20, 0.005)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert not folder.exists()
    assert processes_of(folder) == []


def test_down_removes_what_an_up_killed_half_way_left(folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", "up", "--no-app", "--dir", str(folder)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stderr=subprocess.DEVNULL,
    )
    processes.wait_until(lambda: (folder / "postgres" / "postgres.log").exists(), "PostgreSQL's log", 20, 0.005)
    process.kill()
    process.wait()
    again = lab_command("up", "--no-app", "--dir", str(folder))
    assert again.returncode == 3
    assert "never ended" in again.stderr
    assert lab_command("down", "--dir", str(folder)).returncode == 0
    assert not folder.exists()
    assert processes_of(folder) == []


def test_a_deep_folder_works(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 80) / ("b" * 80) / "with space and 'quote'"
    lab = Lab.up(deep, app=False)
    try:
        assert lab.status()["ok"]
    finally:
        lab.down()


@pytest.mark.parametrize("ids", [["../x"], ["1", "1"], []])
def test_bad_company_ids_are_refused_before_anything_is_made(folder: Path, ids: list[str]) -> None:
    with pytest.raises(LabError):
        Lab.up(folder, companies=ids, app=False)
    assert not folder.exists()


def test_without_a_lab_every_command_says_how_to_get_one(folder: Path) -> None:
    for command in (["status"], ["heal"], ["break", "postgres-kill"]):
        done = lab_command(*command, "--dir", str(folder))
        assert done.returncode == 3
        assert "lab up" in done.stderr


def test_the_inventory_is_yaml_whose_password_is_no_template(bare_lab: Lab) -> None:
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!unsafe", lambda loader, node: ("unsafe", loader.construct_scalar(node)))
    text = (bare_lab.path / "inventory.yml").read_text()
    host = yaml.load(text, Loader)["all"]["hosts"]["lab-app"]  # noqa: S506 - a SafeLoader with one more tag
    assert host["ansible_connection"] == "local"
    password = next(value for value in host.values() if value == ("unsafe", bare_lab.need_postgres().password))
    assert password[1].startswith("}X|o<7n?0 '\"$")
