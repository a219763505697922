# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`baileys-resilience monitor` and `silence` as processes: what systemd, a human and a monitoring plugin see."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.postgres import ConnectParams
from lab import Lab, ports
from tests.support.databases import Database

COMMAND = [sys.executable, "-m", "baileys_resilience.cli"]
PATIENCE_SECONDS = 60.0


class Files:
    """A configuration and its command."""

    def __init__(self, folder: Path, params: ConnectParams, **more: Any) -> None:
        self.state = folder / "state"
        self.port = ports.reserve()
        self.user = params.user
        self.path = folder / "monitor.json"
        database = {"host": params.host, "port": params.port, "dbname": params.dbname, "user": params.user}
        content = {
            "database": {**database, "password": params.password}, "state_dir": str(self.state),
            "listen": {"port": self.port}, "interval_seconds": 1, **more,
        }  # fmt: skip
        self.path.write_text(json.dumps(content))
        self.path.chmod(0o600)

    def argv(self, *words: str) -> list[str]:
        return [*COMMAND, "--config", str(self.path), *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.argv(*words), capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)

    def ask(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE_SECONDS) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        limit = time.monotonic() + PATIENCE_SECONDS
        while not (found := condition()):
            assert time.monotonic() < limit, f"waited in vain: {what}; {self.ask('/api/status')}"
            time.sleep(0.05)
        return found

    @contextlib.contextmanager
    def running(self, **environment: str) -> Iterator[subprocess.Popen[str]]:
        env = {**os.environ, **environment}
        process = subprocess.Popen(
            self.argv("monitor"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
        )
        try:
            self.wait(lambda: self.ask("/api/status")[0] == 200, "the first look")
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def files(database: Database, tmp_path: Path) -> Files:
    return Files(tmp_path, database.params)


def test_systemd_hears_that_it_is_ready_and_that_it_goes_on_and_ends_it_cleanly(files: Files, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_SECONDS)
        with files.running(NOTIFY_SOCKET=str(tmp_path / "notify")) as process:
            assert manager.recv(100) == b"READY=1"
            assert [manager.recv(100) for _each in range(3)] == [b"WATCHDOG=1"] * 3
            assert files.ask("/healthz")[0] == 200
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
            assert (process.returncode, out) == (0, "monitor: stopped\n")
            assert "Traceback" not in err
            heard = b""
            while heard != b"STOPPING=1":
                heard = manager.recv(100)
    assert json.loads((files.state / "alerts.json").read_text())["keys"]


def test_a_stopped_process_is_not_petted_and_its_watchdog_word_stops(files: Files, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_SECONDS)
        with files.running(NOTIFY_SOCKET=str(tmp_path / "notify")) as process:
            process.send_signal(signal.SIGSTOP)
            manager.settimeout(3.0)
            with contextlib.suppress(TimeoutError):
                while True:
                    manager.recv(100)
            process.send_signal(signal.SIGCONT)
            manager.settimeout(PATIENCE_SECONDS)
            assert manager.recv(100) == b"WATCHDOG=1"


def test_once_shows_everything_and_keeps_nothing(files: Files) -> None:
    done = files.run("monitor", "--once")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("status ok\n")
    assert "degraded: no write that stays is tried" in done.stdout
    assert f'GRANT pg_monitor TO "{files.user}";' in done.stdout, "each lack comes with what helps"
    assert not files.state.exists()


def test_once_ends_as_a_monitoring_plugin_does(lab: Lab, whole_server: ConnectParams, tmp_path: Path) -> None:
    down = Files(tmp_path, whole_server, data_dirs=[str(tmp_path / "none")])
    lab.break_("postgres-stop")
    done = down.run("--json", "monitor", "--once")
    found = json.loads(done.stdout)
    assert (done.returncode, found["status"]) == (2, "critical")
    concerns = found["subjects"][f"database {whole_server.where}"]["concerns"]
    assert concerns["serves"]["cause"] == "down"
    assert concerns["disk"]["status"] == "unknown"


def test_tables_that_are_larger_than_is_meant_are_told(database: Database, tmp_path: Path) -> None:
    size = database.run("SELECT pg_total_relation_size('whatsapp_auth') + pg_total_relation_size('whatsapp_keys')")[0][
        0
    ]
    for limit, status, code in ((size, "ok", 0), (size - 1, "warning", 1)):
        done = Files(tmp_path, database.params, alerts={"tables_bytes": limit}).run("--json", "monitor", "--once")
        found = json.loads(done.stdout)
        assert (done.returncode, found["status"]) == (code, status)
    assert found["subjects"][f"database {database.params.where}"]["concerns"]["size"]["cause"] == "tables_large"


def test_a_port_that_is_taken_and_a_second_monitor_end_with_a_sentence(files: Files) -> None:
    with files.running():
        second = files.run("monitor")
        assert second.returncode == 8
        assert "another monitor runs" in second.stderr
    with socket.create_server(("127.0.0.1", files.port)):
        taken = files.run("monitor")
    assert taken.returncode == 3
    assert f"listen 127.0.0.1:{files.port}: cannot listen there" in taken.stderr
    assert taken.stderr.count("\n") == 1


def test_silence_reaches_the_running_monitor_and_is_over_when_it_is_ended(files: Files) -> None:
    def silences() -> list[str]:
        return [each["subject"] for each in json.loads(files.ask("/api/status")[1])["silences"]]

    with files.running():
        assert files.run("silence", "2h").stdout == "nothing is told of everything for 2 h\n"
        assert silences() == ["all"]
        assert files.run("silence", "0").returncode == 0
        files.wait(lambda: silences() == [], "it is over")
    assert files.run("silence", "soon").returncode == 2
    wrong = files.run("silence", "2h", "--subject", "the moon")
    assert wrong.returncode == 2
    assert "is no subject" in wrong.stderr


def test_a_damaged_state_is_set_aside_and_said(files: Files) -> None:
    files.state.mkdir()
    (files.state / "alerts.json").write_text("{")
    with files.running() as process:
        process.send_signal(signal.SIGTERM)
        _out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert "the saved alerts were damaged and are now" in err
    assert (files.state / "alerts.json.damaged").read_text() == "{"


def test_without_a_configuration_it_says_what_makes_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--config", str(tmp_path / "none.json"), "monitor"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "HINT: run the role health_monitor on this host" in done.stderr


def may_log_in(database: Database, user: str, *, may: bool) -> None:
    with contextlib.closing(database.lab.connect(superuser=True, direct=True, database=database.name)) as connection:
        connection.autocommit = True
        connection.cursor().execute(f'ALTER ROLE "{user}" {"LOGIN" if may else "NOLOGIN"}')


def test_health_shows_what_the_running_monitor_knows_and_looks_by_itself_where_none_runs(
    files: Files, database: Database
) -> None:
    alone = files.run("health")
    assert (alone.returncode, alone.stderr) == (1, ""), alone.stdout
    assert "No monitor answers (Connection refused), so this is one look." in alone.stdout
    with contextlib.ExitStack() as ended:
        ended.callback(may_log_in, database, files.user, may=True)
        ended.enter_context(files.running())
        files.wait(lambda: files.run("health").returncode == 0, "a healthy board")
        shown = files.run("health").stdout
        assert shown.startswith("OVERALL       ok")
        assert ": serves\n" in shown
        assert "free\n" in shown
        status, content = files.ask("/api/latency")
        assert (status, set(json.loads(content))) == (200, {"range", "operations"})
        may_log_in(database, files.user, may=False)
        files.wait(lambda: files.run("health").returncode == 2, "a board that is critical")
        said = json.loads(files.run("--json", "health").stdout)
        assert (said["status"], said["open"][0]["cause"]) == ("critical", "login_refused")
        assert "Run: ansible-playbook baileys.resilience.emergency_failover --check" in files.run("health").stdout
        watching = subprocess.Popen(files.argv("health", "--watch", "1"), stdout=subprocess.PIPE, text=True)
        assert watching.stdout is not None
        boards = 0
        while boards < 2:
            boards += watching.stdout.readline().startswith("OVERALL       critical")
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=PATIENCE_SECONDS)
        assert watching.returncode == 2
