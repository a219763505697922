# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Service managers: the operator's own commands with real little processes, and PM2 where no daemon may be asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from baileys_resilience.errors import ApplicationError, DeadlineExceeded, Misconfigured, ToolMissing, UsageError
from baileys_resilience.failover import services
from baileys_resilience.failover.common_steps import check_service
from baileys_resilience.failover.context import FailoverContext
from baileys_resilience.failover.flags import check_flags
from baileys_resilience.failover.processes import environment_of, is_alive, look_up_user, run
from baileys_resilience.failover.services import make_service
from baileys_resilience.failover.settings import ApplicationSettings, ServiceSettings, settings_from_dict

START = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"])
open(sys.argv[1], "w").write(str(child.pid))
"""
STOP = """
import os, sys
try:
    os.kill(int(open(sys.argv[1]).read()), 15)
except (OSError, ValueError):
    pass
"""
STATUS = """
import sys
try:
    pid = int(open(sys.argv[1]).read())
    sys.exit(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] in "ZX")
except (OSError, ValueError):
    sys.exit(3)
"""


@pytest.fixture
def pid_file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "app.pid"
    yield path
    if path.exists() and is_alive(int(path.read_text())):
        os.kill(int(path.read_text()), signal.SIGKILL)


def argv(source: str, path: Path) -> tuple[str, ...]:
    return (sys.executable, "-c", source, str(path))


def service(pid_file: Path, stop_seconds: float = 30, **commands: tuple[str, ...]) -> services.Service:
    given = {"start": argv(START, pid_file), "stop": argv(STOP, pid_file), "status": argv(STATUS, pid_file)}
    settings = ServiceSettings(manager="argv", name="toy", stop_seconds=stop_seconds, **{**given, **commands})
    return make_service(ApplicationSettings(service=settings))


def test_the_operators_commands_start_with_the_flags_and_stop_for_real(pid_file: Path) -> None:
    toy = service(pid_file)
    assert not toy.status().running
    started = time.monotonic()
    assert toy.start({"USE_DATABASE_AUTH_STATE": "false"}).running
    assert time.monotonic() - started < 10, "a daemon that keeps the output open is not waited for"
    assert toy.status().running
    pid = int(pid_file.read_text())
    assert environment_of(pid)["USE_DATABASE_AUTH_STATE"] == "false"
    assert not toy.stop().running
    assert not is_alive(pid)
    assert not toy.status().running
    toy.stop()


def test_a_service_that_survives_its_stop_command_is_an_error(pid_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_SEEN_GONE_SECONDS", 0.3)
    toy = service(pid_file, stop_seconds=0.3, stop=("true",))
    toy.start({})
    with pytest.raises(ApplicationError) as caught:
        toy.stop()
    assert "still runs after its stop command" in caught.value.cause
    assert "application.service.stop" in caught.value.hint


def test_a_service_that_does_not_come_up_is_an_error(pid_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_START_SECONDS", 0.3)
    with pytest.raises(ApplicationError) as caught:
        service(pid_file, start=("true",)).start({})
    assert "no process" in caught.value.cause
    assert "toy" in caught.value.hint


def test_a_command_that_fails_or_is_missing_is_a_typed_error_with_what_it_said(pid_file: Path) -> None:
    with pytest.raises(ApplicationError) as caught:
        service(pid_file, start=("sh", "-c", "echo no disk >&2; exit 4")).start({})
    assert "ended with 4: no disk" in caught.value.cause
    with pytest.raises(ToolMissing) as missing:
        service(pid_file, status=("/nowhere/status",)).status()
    assert "not found" in missing.value.cause


@pytest.mark.parametrize("word", ["start", "stop", "status"])
def test_a_command_that_is_not_given_is_named(pid_file: Path, word: str) -> None:
    with pytest.raises(UsageError) as caught:
        service(pid_file, **{word: ()})
    assert caught.value.subject == f"application.service.{word}"


def test_a_program_that_hangs_is_ended_at_its_deadline() -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        run(["sleep", "60"], seconds=0.2)
    assert time.monotonic() - started < 5
    assert "no end after 0.2 s" in caught.value.cause


def test_a_program_is_waited_for_where_the_kernel_has_no_descriptor_of_a_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(_pid: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", none)
    assert run(["sh", "-c", "exit 3"], seconds=20, check=False).returncode == 3
    with pytest.raises(DeadlineExceeded):
        run(["sleep", "60"], seconds=0.1)


def test_output_that_is_no_text_is_read_all_the_same() -> None:
    done = run([sys.executable, "-c", "import os; os.write(1, b'a\\xffb'); os.write(2, b'c')"], seconds=20)
    assert (done.stdout, done.stderr) == ("a�b", "c")


def pm2(home: Path, log: Path, user: str = "") -> services.Service:
    """A PM2 that would betray itself if it were asked."""
    settings = ServiceSettings(name="toy", pm2=("touch", str(log)), pm2_home=str(home))
    return make_service(ApplicationSettings(service=settings, user=user))


@pytest.mark.parametrize("content", [None, "", "nonsense", "0", "ended"])
def test_no_pm2_is_asked_where_no_daemon_runs(tmp_path: Path, content: str | None) -> None:
    home = tmp_path / "pm2"
    home.mkdir()
    if content == "ended":
        ended = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True)
        content = ended.stdout
    if content is not None:
        (home / "pm2.pid").write_text(content)
    for ask in ("status", "pids", "stop"):
        with pytest.raises(Misconfigured) as caught:
            getattr(pm2(home, tmp_path / "asked"), ask)()
        assert str(home) in caught.value.cause
        assert "service.pm2_home" in caught.value.hint
    assert not (tmp_path / "asked").exists()


@pytest.fixture
def daemon_of_another_user() -> Iterator[int]:
    """As root, a process of `nobody`; as anybody else, the first process of the machine, which is root's."""
    if os.geteuid() != 0:
        yield 1
        return
    daemon = subprocess.Popen(["sleep", "60"], user=65534)
    yield daemon.pid
    daemon.kill()
    daemon.wait()


def test_the_pm2_daemon_of_another_user_is_not_asked(tmp_path: Path, daemon_of_another_user: int) -> None:
    (tmp_path / "pm2.pid").write_text(str(daemon_of_another_user))
    owner = 0 if os.geteuid() else 65534
    with pytest.raises(Misconfigured) as caught:
        pm2(tmp_path, tmp_path / "asked").status()
    assert f"belongs to uid {owner}, not to {os.geteuid()}" in caught.value.cause
    assert "application.user" in caught.value.hint
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize("listed", ["[]", '[{"name": "other", "pid": 1, "pm2_env": {}}]', "[PM2] Spawning\n[]"])
def test_a_process_that_pm2_does_not_list_is_an_error_with_those_it_does(tmp_path: Path, listed: str) -> None:
    (tmp_path / "pm2.pid").write_text(str(os.getpid()))
    settings = ServiceSettings(name="toy", pm2=("sh", "-c", f"printf '{listed}'", "--"), pm2_home=str(tmp_path))
    with pytest.raises(Misconfigured) as caught:
        make_service(ApplicationSettings(service=settings)).status()
    assert ("it knows: other" if "other" in listed else "it knows: none") in caught.value.cause


@pytest.mark.parametrize("said", ["[PM2] Spawning PM2 daemon", ""])
def test_an_answer_of_pm2_that_is_no_list_is_a_typed_error(tmp_path: Path, said: str) -> None:
    (tmp_path / "pm2.pid").write_text(str(os.getpid()))
    settings = ServiceSettings(name="toy", pm2=("sh", "-c", f"echo '{said}'", "--"), pm2_home=str(tmp_path))
    with pytest.raises(ApplicationError, match="gives no list"):
        make_service(ApplicationSettings(service=settings)).status()


FAKE_PM2 = """
if [ "$2" = jlist ]; then cat "$1/list"; else echo "$2" >>"$1/told"; fi
"""


def fake_pm2(home: Path, name: str, pid_file: str, stop_seconds: float = 0.3) -> services.Service:
    """A PM2 that knows one process, whose pid it keeps in `pid_file`, and that ends nothing."""
    (home / "pids").mkdir(exist_ok=True)
    (home / "pm2.pid").write_text(str(os.getpid()))
    entry = {"name": name, "pid": 0, "pm2_env": {"pm_pid_path": str(home / "pids" / pid_file)}}
    (home / "list").write_text(json.dumps([entry]))
    command = ("sh", "-c", FAKE_PM2, "--", str(home))
    settings = ServiceSettings(name=name, pm2=command, pm2_home=str(home), stop_seconds=stop_seconds)
    return make_service(ApplicationSettings(service=settings))


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_SEEN_GONE_SECONDS", 0.3)


@pytest.mark.usefixtures("soon")
def test_a_pid_file_of_an_earlier_or_other_process_is_not_waited_for(tmp_path: Path) -> None:
    """Their pids belong to others by now."""
    toy = fake_pm2(tmp_path, "toy", "toy-3.pid")
    for stale in ("toy-staging-1.pid", "toy-0.pid"):
        (tmp_path / "pids" / stale).write_text(str(os.getpid()))
    assert not toy.stop().running
    (tmp_path / "pids" / "toy-3.pid").write_text(str(os.getpid()))
    with pytest.raises(ApplicationError) as caught:
        toy.stop()
    assert f"pid {os.getpid()} still lives" in caught.value.cause
    assert "two writers" in caught.value.hint


SYSTEMD = """#!/bin/sh
printf 'LoadState=loaded\\nActiveState=active\\nMainPID=1\\nWorkingDirectory=%s\\nExecStart=%s\\n' "$CWD" "$COMMAND"
"""
NODE = "{ path=/usr/bin/node ; argv[]=/usr/bin/node %s ; ignore_errors=no ; start_time=[n/a] ; pid=0 }"


@pytest.mark.parametrize(
    ("cwd", "script", "switches", "refused"),
    [
        ("/srv/app", "src/index.js", True, ""),
        ("!/srv/app", "src/index.js", True, ""),
        ("/srv/app/server", "index.js", True, ""),
        ("", "/srv/app/src/index.js", True, ""),
        ("/srv/app", "--require /opt/apm/agent.js src/index.js", True, ""),
        ("/srv/elsewhere", "src/index.js", True, "/srv/elsewhere /usr/bin/node"),
        ("/srv/app-files", "src/index.js", True, "/srv/app-files"),
        ("", "src/index.js", True, "/ /usr/bin/node"),
        ("/srv/elsewhere", "src/index.js", False, ""),
    ],
)
def test_a_unit_that_a_switch_of_the_code_would_not_reach_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cwd: str, script: str, switches: bool, refused: str
) -> None:
    """The directory of the application becomes a link to other code: whoever runs elsewhere keeps the old code."""
    (tmp_path / "systemctl").write_text(SYSTEMD)
    (tmp_path / "systemctl").chmod(0o755)
    for name, value in (("PATH", f"{tmp_path}:{os.environ['PATH']}"), ("CWD", cwd), ("COMMAND", NODE % script)):
        monkeypatch.setenv(name, value)
    settings = settings_from_dict(
        {
            "host": "app1",
            "companies": ["962301"],
            "sessions_dir": str(tmp_path / "sessions"),
            "state_dir": str(tmp_path / "state"),
            "application": {"dir": "/srv/app", "service": {"manager": "systemd", "name": "wa"}},
            "code": {"source": "archive" if switches else "none"},
        }
    )
    context = FailoverContext(settings, "", "files")
    if not refused:
        assert check_service(context).running
        return
    with pytest.raises(ApplicationError) as caught:
        check_service(context)
    assert f"the service runs {refused}" in caught.value.cause
    assert "set application.dir to the directory that it runs from (now /srv/app)" in caught.value.hint


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(("name", "pid_file"), [("my_app@1", "my-app-1-0.pid"), ("my app", "my-app-0.pid")])
def test_a_process_is_found_by_the_pid_file_that_pm2_names_whatever_it_made_of_the_name(
    tmp_path: Path, name: str, pid_file: str
) -> None:
    toy = fake_pm2(tmp_path, name, pid_file)
    (tmp_path / "pids" / pid_file).write_text(str(os.getpid()))
    with pytest.raises(ApplicationError) as caught:
        toy.stop()
    assert "still lives" in caught.value.cause


@pytest.mark.usefixtures("soon")
def test_a_stop_that_takes_longer_than_allowed_names_the_setting(pid_file: Path, tmp_path: Path) -> None:
    slow = service(pid_file, stop_seconds=0.3, stop=("sleep", "20"))
    slow.start({})
    with pytest.raises(ApplicationError) as caught:
        slow.stop()
    assert "still lives 0.3 s after the stop" in caught.value.cause
    for word in ("kill_timeout", "TimeoutStopSec", "failover_service_stop_seconds"):
        assert word in caught.value.hint


def test_a_stop_may_take_as_long_as_the_setting_says(pid_file: Path) -> None:
    source = "import time; time.sleep(1)\n" + STOP
    toy = service(pid_file, stop_seconds=15, stop=argv(source, pid_file))
    toy.start({})
    assert not toy.stop().running


@pytest.mark.parametrize(
    ("holds", "strict", "wrong"),
    [({"A": "1"}, True, ""), ({"A": "2"}, True, "A"), ({}, True, "A"), ({}, False, ""), ({"A": "2"}, False, "A")],
)
def test_what_the_started_process_really_holds_decides(holds: dict[str, str], strict: bool, wrong: str) -> None:
    env = {"PATH": os.environ["PATH"], **holds}
    with subprocess.Popen(["sleep", "60"], env=env) as process:
        try:
            if wrong:
                with pytest.raises(ApplicationError) as caught:
                    check_flags([process.pid], {"A": "1"}, strict=strict)
                assert f"other values for {wrong}" in caught.value.cause
                assert ".env decides" in caught.value.hint
            else:
                check_flags([process.pid], {"A": "1"}, strict=strict)
        finally:
            process.kill()


def test_a_user_that_does_not_exist_is_named_and_ones_own_is_nobody_else() -> None:
    import pwd

    with pytest.raises(UsageError) as caught:
        look_up_user("no-such-user")
    assert "application.user" in caught.value.hint
    assert look_up_user(pwd.getpwuid(os.geteuid()).pw_name) is None
    assert look_up_user("") is None
