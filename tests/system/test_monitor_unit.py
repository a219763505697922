# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The monitor as the role installs it, under a real systemd: hardened, a user of its own, watched, over TLS."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab import ports
from tests.support import small_app
from tests.support.playbooks import Ansible, Played, Unsafe
from tests.support.synthetic import make_companies
from tests.system.containers import Host, podman_environment, wait_until
from tests.system.postgres15 import Cluster

# The first use on a machine builds the hosts' image.
pytestmark = pytest.mark.timeout(900)

UNIT = "baileys-resilience-monitor.service"
USER = "baileys-resilience-monitor"
CONFIG = "/etc/baileys-resilience/monitor.json"
STATE = "/var/lib/baileys-resilience-monitor"
PAGE = "/usr/local/share/baileys-resilience-monitor-page.json"
ROOT_CERTIFICATE = "/etc/baileys-resilience/root.crt"
COMMAND = ["/usr/bin/python3", "-m", "baileys_resilience.cli"]
TOKEN = "0123456789abcdef-token"
COMPANIES = make_companies(2)

Play = Callable[..., Played]


@pytest.fixture(scope="module")
def database(server: Cluster) -> Cluster:
    server.fill(*COMPANIES)
    return server


@pytest.fixture(scope="module")
def port() -> int:
    return ports.reserve()


@pytest.fixture
def play(host: Host, database: Cluster, ansible_env: dict[str, str], tmp_path: Path, port: int) -> Play:
    """The role on the host, with the monitor `present` or `absent`; or another role."""
    host.run("install", "--directory", "--mode=0700", "/etc/baileys-resilience")
    host.write(ROOT_CERTIFICATE, database.root_certificate.read_text())
    host.run("chmod", "0600", ROOT_CERTIFICATE)
    ansible = Ansible({**podman_environment(), **ansible_env}, tmp_path, timeout_seconds=300)
    params = database.params

    def run(state: str = "present", role: str = "health_monitor", **more: Any) -> Played:
        variables = {
            "ansible_host": host.name, "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_remote_tmp": "/var/lib/ansible-tmp",
            "session_companies": [company.id for company in COMPANIES],
            "health_monitor_state": state, "health_monitor_listen_port": port, "health_monitor_listen_token": TOKEN,
            "baileys_resilience_command": COMMAND, "baileys_resilience_login_host": params.host,
            "baileys_resilience_login_port": params.port, "baileys_resilience_login_db": params.dbname,
            "baileys_resilience_login_user": params.user, "baileys_resilience_login_password": Unsafe(params.password),
            "baileys_resilience_ssl_mode": params.ssl_mode, "baileys_resilience_ca_cert": ROOT_CERTIFICATE, **more,
        }  # fmt: skip
        roles = [{"role": f"baileys.resilience.{role}"}]
        played = ansible.playbook([{"connection": "piped_podman", "roles": roles, "vars": variables}])
        assert played.returncode == 0, played.output + host.run("journalctl", "--unit", UNIT, check=False).stdout
        assert params.password not in played.output
        assert TOKEN not in played.output
        return played

    return run


@pytest.fixture
def installed(host: Host, play: Play) -> None:
    if host.run("systemctl", "is-active", UNIT, check=False).returncode != 0:
        play()


def main_pid(host: Host) -> int:
    return int(host.run("systemctl", "show", UNIT, "--property=MainPID", "--value").stdout)


def ask(host: Host, port: int, path: str) -> str:
    program = (
        "import sys, urllib.request as u;"
        "r = u.Request(sys.argv[1], headers={'Authorization': 'Bearer ' + sys.argv[2]});"
        "print(u.urlopen(r, timeout=5).read().decode())"
    )
    done = host.run("python3", "-c", program, f"http://127.0.0.1:{port}{path}", TOKEN, check=False)
    return done.stdout


def status_of(host: Host, port: int) -> dict[str, Any]:
    text = ask(host, port, "/api/status")
    found: dict[str, Any] = json.loads(text) if text.startswith("{") else {"status": "silent", "open": []}
    return found


def wait_for_status(host: Host, port: int, status: str, *concerns: str) -> dict[str, Any]:
    def reached() -> bool:
        found = status_of(host, port)
        return found["status"] == status and [each["concern"] for each in found["open"]] == list(concerns)

    try:
        wait_until(reached, 60, f"status {status} with {concerns}")
    except AssertionError as error:
        journal = host.run("journalctl", "--unit", UNIT, "--lines", "30", check=False).stdout
        raise AssertionError(f"{error}: {status_of(host, port)}\n{journal}") from error
    return status_of(host, port)


def test_the_unit_watches_over_tls_and_a_second_run_of_the_role_changes_nothing(
    host: Host, play: Play, port: int
) -> None:
    play(role="failover", failover_action="mirror", failover_mirror_interval=1)
    play()
    assert host.run("systemctl", "is-enabled", UNIT).stdout.strip() == "enabled"
    found = wait_for_status(host, port, "ok")
    assert set(found["figures"]) == {"database", "keys", "mirror"}
    assert found["figures"]["database"]["canary"]
    assert found["figures"]["keys"]["count"] == sum(len(company.keys) for company in COMPANIES)
    assert "ok: came round" in ask(host, port, "/healthz")
    assert "wa_session_storage_up 1.0" in ask(host, port, "/metrics")
    assert "<title>WhatsApp sessions</title>" in ask(host, port, "/")
    assert host.run("stat", "--format=%a %U", PAGE).stdout.split() == ["644", "root"]
    pid = main_pid(host)
    assert "changed=0" in play().output
    assert main_pid(host) == pid


@pytest.mark.usefixtures("installed")
def test_its_user_can_read_neither_the_configuration_nor_the_mirror_and_no_secret_shows(
    host: Host, database: Cluster
) -> None:
    pid = main_pid(host)
    assert host.run("stat", "--format=%U", f"/proc/{pid}").stdout.strip() == USER
    assert host.run("stat", "--format=%a %U", CONFIG).stdout.split() == ["600", "root"]
    for path in (CONFIG, ROOT_CERTIFICATE, "/var/lib/baileys-resilience/mirror/mirror.sqlite3"):
        seen = host.run("runuser", "--user", USER, "--", "cat", path, check=False)
        assert seen.returncode != 0, path
    shown = host.run("systemctl", "cat", UNIT).stdout + host.run("cat", f"/proc/{pid}/cmdline").stdout
    shown += host.run("cat", f"/proc/{pid}/environ").stdout + host.run("journalctl", "--unit", UNIT).stdout
    assert database.params.password not in shown
    assert TOKEN not in shown
    modes = host.run("find", STATE, "-printf", "%y%m %u\\n").stdout.splitlines()
    assert set(modes) == {f"d700 {USER}", f"f600 {USER}"}


@pytest.mark.usefixtures("installed")
def test_a_database_that_goes_is_told_once_also_over_a_restart_of_the_service(
    host: Host, database: Cluster, port: int
) -> None:
    wait_for_status(host, port, "ok")
    database.stop()
    try:
        since = wait_for_status(host, port, "critical", "serves")["open"][0]["since"]
        host.run("systemctl", "restart", UNIT)
        assert wait_for_status(host, port, "critical", "serves")["open"][0]["since"] == since
    finally:
        database.start()
    wait_for_status(host, port, "ok")
    journal = host.run("journalctl", "--unit", UNIT, "--output=cat").stdout
    assert journal.count("kind=alert") == 1
    assert journal.count("kind=recovery") == 1


@pytest.mark.usefixtures("installed")
def test_root_silences_it_for_a_while(host: Host, port: int) -> None:
    wait_for_status(host, port, "ok")
    said = host.run(*COMMAND, "--config", CONFIG, "silence", "10min").stdout
    assert said == "nothing is told of everything for 10 min\n"
    assert [each["subject"] for each in status_of(host, port)["silences"]] == ["all"]
    host.run(*COMMAND, "--config", CONFIG, "silence", "0")
    wait_until(lambda: status_of(host, port)["silences"] == [], 30, "the silence is over")


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_systemd_starts_a_monitor_anew_that_does_not_move(host: Host, port: int) -> None:
    pid = main_pid(host)
    host.run("systemctl", "kill", "--signal=STOP", UNIT)
    wait_until(lambda: main_pid(host) not in (0, pid), 90, "the watchdog has noticed")
    wait_for_status(host, port, "ok")


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_it_runs_again_after_a_reboot_of_the_host(host: Host, port: int) -> None:
    host.restart()
    wait_for_status(host, port, "ok")


#: what the session client says where its database is away, over its port and its socket
STAND_IN = """
import http.server, json, socketserver, sys, threading
company, port, place = sys.argv[1], int(sys.argv[2]), sys.argv[3]
metrics = 'wa_session_pool_max_connections 10\\nwa_session_pool_pending_requests 0\\n'
metrics += 'wa_session_pool_connections{state="idle"} 1\\nwa_session_pool_connections{state="active"} 0\\n'
metrics += 'wa_session_cache_age_seconds{company="' + company + '"} 12\\n'
status = json.dumps({"sessions": [{"company": company, "state": "outage", "outage": {}}]})

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write((metrics if self.path == "/metrics" else status).encode())
    def address_string(self):
        return "local"

unix = socketserver.ThreadingUnixStreamServer(place, Handler)
threading.Thread(target=unix.serve_forever, daemon=True).start()
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
AUTO = "baileys-resilience-auto-failover"
APP, CLIENT_DIR = "/srv/app", "/srv/client"


@pytest.fixture
def application(host: Host) -> dict[str, Any]:
    """It runs until it is told to stop, and says that it is without its database. Variables of both roles."""
    client_port = ports.reserve()
    host.write("/srv/small_app.py", Path(small_app.__file__).read_text())
    host.write(f"{APP}/app/.env", f"PORT=1\n{small_app.FLAG}=true\n")
    host.write(f"{APP}/companies", " ".join(company.id for company in COMPANIES))
    host.run("mkdir", "--parents", CLIENT_DIR)
    host.write("/srv/stand_in.py", STAND_IN)
    words = f"/usr/bin/python3 /srv/stand_in.py {COMPANIES[0].id} {client_port} {CLIENT_DIR}/admin.sock"
    host.unit("stand-in.service", f"[Service]\nExecStart={words}\n")
    host.run("systemctl", "start", "stand-in.service")
    word = {
        each: ["/usr/bin/python3", "/srv/small_app.py", APP, each] for each in ("start", "stop", "status", "health")
    }
    host.run(*word["start"])
    return {
        "failover_app_dir": f"{APP}/app", "failover_client_dir": CLIENT_DIR, "failover_mirror_interval": 1,
        "failover_service_manager": "argv", "failover_health_kind": "command",
        "failover_service_start": word["start"], "failover_service_stop": word["stop"],
        "failover_service_status": word["status"], "failover_health_command": word["health"],
        "failover_load_check_script": "", "failover_mode": "restart",
        "health_monitor_auto_failover": True, "health_monitor_auto_failover_after": 5,
        "health_monitor_clients": [{"name": "app", "port": client_port, "token": TOKEN}],
    }  # fmt: skip


@pytest.mark.slow
def test_an_outage_that_both_see_ends_on_files_by_itself_and_the_application_lives_on(
    host: Host, database: Cluster, play: Play, port: int, application: dict[str, Any]
) -> None:
    play(role="failover", failover_action="mirror", **application)
    play(**application)
    assert "changed=0" in play(**application).output
    assert host.run("systemctl", "is-active", f"{AUTO}.path").stdout.strip() == "active"
    wait_until(
        lambda: status_of(host, port)["figures"].get("mirror", {}).get("age_seconds") is not None, 30, "a mirror"
    )
    store = f"{APP}/store"
    assert host.run("cat", store).stdout == "postgres"
    database.stop()
    try:
        wait_until(lambda: host.run("cat", store).stdout == "files", 90, "the application runs from files")
        wait_until(
            lambda: host.run("systemctl", "is-active", f"{AUTO}.service", check=False).stdout.strip() == "inactive",
            30, "the unit has ended",
        )  # fmt: skip
    except AssertionError as error:
        journal = host.run("journalctl", "--unit", UNIT, "--unit", AUTO, "--lines", "60", check=False).stdout
        raise AssertionError(f"{error}: {status_of(host, port)}\n{journal}") from error
    finally:
        database.start()
    report = json.loads(host.run("cat", "/var/lib/baileys-resilience/auto-failover.json").stdout)
    assert (report["outcome"], report["request"]["client"]) == ("done", "app")
    assert host.run("/usr/bin/python3", "/srv/small_app.py", APP, "status", check=False).returncode == 0
    assert host.run("test", "-e", f"{STATE}/auto-failover/request.json", check=False).returncode == 1
    mask, home = host.run(
        "sh", "-c", f"cd /proc/$(cat {APP}/app.pid) && grep Umask status && tr '\\0' '\\n' < environ | grep ^HOME="
    ).stdout.split("\n")[:2]
    assert (mask.split()[1], home) == ("0022", "HOME=/root"), "as one that a human has started"
    _goes_on_looking_while_the_configuration_cannot_be_read(host)
    play(**{**application, "health_monitor_auto_failover": False})
    assert host.run("systemctl", "cat", f"{AUTO}.path", f"{AUTO}.service", check=False).returncode != 0


def _goes_on_looking_while_the_configuration_cannot_be_read(host: Host) -> None:
    """The request stays then, and a unit that ends at once would soon be started no more."""
    config, request = "/etc/baileys-resilience/failover.json", f"{STATE}/auto-failover/request.json"

    def starts() -> int:
        journal = host.run("journalctl", "--unit", f"{AUTO}.service", "--output=cat", check=False).stdout
        return journal.count(f"{AUTO}.service: Main process exited")

    before = starts()
    host.run("mv", config, f"{config}.away")
    host.run("runuser", "--user", USER, "--", "touch", request)
    try:
        wait_until(lambda: starts() > before + 5, 90, "it was started more often than systemd's limit")
    finally:
        host.run("mv", f"{config}.away", config)
    wait_until(lambda: host.run("test", "-e", request, check=False).returncode != 0, 30, "the request is taken")
    assert host.run("systemctl", "is-active", f"{AUTO}.path").stdout.strip() == "active"


@pytest.mark.usefixtures("installed")
def test_the_role_removes_it_and_at_last_all_that_it_knew(host: Host, play: Play) -> None:
    play("absent")
    assert host.run("systemctl", "cat", UNIT, check=False).returncode != 0
    assert host.run("test", "-e", PAGE, check=False).returncode == 1
    assert host.run("test", "-e", f"{STATE}/alerts.json", check=False).returncode == 0
    assert "changed=0" in play("absent").output
    play("absent", health_monitor_purge=True)
    assert host.run("test", "-e", STATE, check=False).returncode == 1
    assert host.run("id", USER, check=False).returncode != 0
    assert "changed=0" in play("absent", health_monitor_purge=True).output
