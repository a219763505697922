# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Service managers behind one small interface: PM2, systemd, or argument lists of the operator's own."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Protocol, Sequence, Tuple

from ..errors import ApplicationError, DeadlineExceeded, Misconfigured, UsageError
from .flags import check_flags
from .processes import User, is_alive, look_up_user, run, wait_for
from .settings import ApplicationSettings, ServiceSettings

_COMMAND_SECONDS = 20.0
#: a process that its manager has just ended is gone at once; it only has to be seen
_SEEN_GONE_SECONDS = 2.0
_START_SECONDS = 15.0


@dataclass(frozen=True)
class ServiceStatus:
    """``pids`` may be empty while running for managers that do not tell. ``script`` and ``log_file`` as the manager
    knows them. ``runs_from``: the paths that decide whose code runs; one of them has to lead through the directory that
    a switch of the code replaces. Empty where the manager does not tell.
    """

    running: bool
    pids: Tuple[int, ...] = ()
    script: str = ""
    cwd: str = ""
    log_file: str = ""
    runs_from: Tuple[str, ...] = ()


class Service(Protocol):
    """Stops and starts the application. Both return only when it is so, asked of the processes themselves."""

    def status(self) -> ServiceStatus: ...

    def pids(self) -> Sequence[int]:
        """The processes that run now, the cheapest way there is."""

    def stop(self) -> ServiceStatus: ...

    def start(self, flags: Mapping[str, str]) -> ServiceStatus:
        """Start with ``flags`` (the mode's variables) in effect, whatever the manager remembers of earlier
        environments.
        """

    def saved_otherwise(self, flags: Mapping[str, str]) -> str:
        """How a reboot would bring the application back with other flags, and what to do; empty when it would not."""


def make_service(application: ApplicationSettings) -> Service:
    settings = application.service
    if settings.manager == "pm2":
        return Pm2Service(settings, look_up_user(application.user))
    if settings.manager == "systemd":
        return SystemdService(settings)
    return ArgvService(settings, look_up_user(application.user))


class Pm2Service:
    """PM2. A process belongs to the daemon of one PM2_HOME; asking where no daemon runs would start an empty one, so
    that is checked first.
    """

    def __init__(self, settings: ServiceSettings, user: Optional[User]) -> None:
        self._settings = settings
        self._user = user
        home = user.home if user else os.path.expanduser("~")
        self._home = Path(settings.pm2_home or f"{home}/.pm2")
        self._pid_files: List[Path] = []
        self._environment = {
            "HOME": home,
            "PM2_HOME": str(self._home),
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
        }

    def status(self) -> ServiceStatus:
        self._check_daemon()
        entries = self._entries()
        if len(entries) > 1:
            raise Misconfigured(
                f"PM2 runs {len(entries)} processes of this name, and each would write every session",
                operation="find service",
                subject=self._settings.name,
                hint="run one instance: a WhatsApp session has one writer",
            )
        environment = entries[0]["pm2_env"]
        pids = tuple(int(e["pid"]) for e in entries if e.get("pid") and is_alive(int(e["pid"])))
        return ServiceStatus(
            bool(pids),
            pids,
            environment.get("pm_exec_path", ""),
            environment.get("pm_cwd", ""),
            environment.get("pm_out_log_path", ""),
            tuple(filter(None, [environment.get("pm_exec_path", "")])),
        )

    def stop(self) -> ServiceStatus:
        before = self.pids()
        with _deadline(self._settings) as limit:
            self._pm2("stop", self._settings.name, seconds=self._settings.stop_seconds)
        _wait_for_end(before, self._settings, limit)
        return ServiceStatus(False)

    def start(self, flags: Mapping[str, str]) -> ServiceStatus:
        before = set(self.pids())
        # restart starts a stopped process too; --update-env is what makes new values reach it (dotenv does not
        # override).
        self._pm2("restart", self._settings.name, "--update-env", environment=flags)
        if not wait_for(lambda: bool(set(self.pids()) - before), _START_SECONDS):
            raise _did_not_start(self._settings.name, "pm2 logs")
        pids = tuple(sorted(set(self.pids()) - before))
        check_flags(pids, flags)
        return ServiceStatus(True, pids)

    def saved_otherwise(self, flags: Mapping[str, str]) -> str:
        try:
            entries = json.loads((self._home / "dump.pm2").read_text("utf-8"))
            saved = next(each for each in entries if each.get("name") == self._settings.name)
        except (OSError, ValueError, TypeError, AttributeError, StopIteration):
            return ""  # nothing is saved, so nothing is brought back
        # What resurrect hands to the process: the saved entry, and its "env" over it.
        held = {**saved, **(saved.get("env") or {})}
        wrong = [f"{name}={held[name]}" for name, value in flags.items() if str(held.get(name, value)) != value]
        if not wrong:
            return ""
        words = ["env", f"PM2_HOME={self._home}", *self._settings.pm2, "save"]
        command = shlex.join([*(["sudo", "-u", self._user.name] if self._user else []), *words])
        return (
            f"a reboot (pm2 resurrect) would start {self._settings.name} with {', '.join(wrong)}, as it was saved last,"
            f" and that wins over .env. Run once: {command} (it saves every process of this PM2 as it runs now)"
        )

    def _check_daemon(self) -> None:
        try:
            pid = int((self._home / "pm2.pid").read_text())
        except (OSError, ValueError):
            pid = 0
        if not pid or not is_alive(pid):
            raise Misconfigured(
                f"no PM2 daemon runs for PM2_HOME {self._home}",
                operation="find service",
                subject=self._settings.name,
                hint="set application.user to the owner of the PM2 process, or service.pm2_home to its PM2_HOME",
            )
        owner = Path(f"/proc/{pid}").stat().st_uid
        acting = self._user.uid if self._user else os.geteuid()
        if owner != acting:
            raise Misconfigured(
                f"the PM2 daemon of {self._home} belongs to uid {owner}, not to {acting}",
                operation="find service",
                subject=self._settings.name,
                hint="set application.user to the owner of the PM2 process",
            )

    def _entries(self) -> List[Dict[str, Any]]:
        output = self._pm2("jlist")
        # PM2 may write notices before the list ("[PM2] Spawning PM2 daemon", "In-memory PM2 is out-of-date").
        line = next((each for each in output.splitlines() if each.startswith(("[{", "[]"))), "")
        if not line:
            raise ApplicationError(
                f"pm2 jlist gives no list: {output.strip()[:200]}",
                operation="find service",
                subject=self._settings.name,
                hint=f"run it by hand with PM2_HOME={self._home}",
            )
        entries: List[Dict[str, Any]] = json.loads(line)
        found = [entry for entry in entries if entry.get("name") == self._settings.name]
        if not found:
            names = ", ".join(sorted({str(entry.get("name")) for entry in entries})) or "none"
            raise Misconfigured(
                f"PM2 knows no process of this name (it knows: {names})",
                operation="find service",
                subject=self._settings.name,
                hint="set application.service.name to the process, and application.user to its owner",
            )
        self._pid_files = [Path(each["pm2_env"]["pm_pid_path"]) for each in found if "pm_pid_path" in each["pm2_env"]]
        return found

    def pids(self) -> List[int]:
        """Live pids by PM2's own pid files: no Node start of 0.25 s for a question that is asked in a loop. Only PM2
        knows which: names lose characters on the way, and files of earlier processes stay behind with pids that are
        others' by now.
        """
        if not self._pid_files:
            self._check_daemon()
            self._entries()
        found = []
        for path in self._pid_files:
            try:
                pid = int(path.read_text())
            except (OSError, ValueError):
                continue
            if is_alive(pid):
                found.append(pid)
        return found

    def _pm2(
        self, *words: str, environment: Optional[Mapping[str, str]] = None, seconds: float = _COMMAND_SECONDS
    ) -> str:
        env = {**(environment or {}), **self._environment}
        cwd = self._home if self._user is None or os.access(self._home, os.X_OK) else Path("/")
        return run([*self._settings.pm2, *words], seconds=seconds, user=self._user, env=env, cwd=cwd).stdout


class SystemdService:
    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._unit = settings.name if "." in settings.name else f"{settings.name}.service"

    def status(self) -> ServiceStatus:
        shown = self._show()
        if shown.get("LoadState") != "loaded":
            raise Misconfigured(
                f"systemd has no such unit ({shown.get('LoadState', 'unknown')})",
                operation="find service",
                subject=self._unit,
                hint="set application.service.name to the unit",
            )
        pid = int(shown.get("MainPID") or 0)
        return ServiceStatus(
            shown.get("ActiveState") in ("active", "activating"),
            (pid,) if pid else (),
            "",
            _working_directory(shown),
            runs_from=(_working_directory(shown), *_absolute_words(shown.get("ExecStart", ""))),
        )

    def pids(self) -> Sequence[int]:
        return self.status().pids

    def stop(self) -> ServiceStatus:
        before = [pid for pid in self.status().pids if is_alive(pid)]
        with _deadline(self._settings) as limit:
            run(["systemctl", "stop", self._unit], seconds=self._settings.stop_seconds)
        _wait_for_end(before, self._settings, limit)
        return ServiceStatus(False)

    def start(self, flags: Mapping[str, str]) -> ServiceStatus:
        self.status()
        run(["systemctl", "reset-failed", self._unit], seconds=_COMMAND_SECONDS, check=False)
        run(["systemctl", "restart", self._unit], seconds=_COMMAND_SECONDS)
        if not wait_for(self._has_begun_or_failed, _START_SECONDS) or not self.status().pids:
            raise _did_not_start(self._unit, "journalctl -u")
        status = self.status()
        check_flags(status.pids, flags, strict=False)
        return status

    def saved_otherwise(self, flags: Mapping[str, str]) -> str:
        return ""  # a unit is read from its file, which start has proven

    def _has_begun_or_failed(self) -> bool:
        shown = self._show()
        pid = int(shown.get("MainPID") or 0)
        return _runs_its_program(pid) if pid else shown.get("ActiveState") == "failed"

    def _show(self) -> Dict[str, str]:
        output = run(
            ["systemctl", "show", self._unit, "-p", "LoadState,ActiveState,MainPID,WorkingDirectory,ExecStart"],
            seconds=_COMMAND_SECONDS,
        ).stdout
        return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)


def _working_directory(shown: Mapping[str, str]) -> str:
    """What systemd itself takes is "/"; "!" marks a directory that may be missing."""
    return shown.get("WorkingDirectory", "").lstrip("!-") or "/"


def _absolute_words(command: str) -> List[str]:
    """Of ``{ path=... ; argv[]=/usr/bin/node /opt/app/index.js ; ... }`` the words that are paths from the root."""
    words = command.partition("argv[]=")[2].partition(" ; ")[0].split()
    return [word for word in words if word.startswith("/")]


def _runs_its_program(pid: int) -> bool:
    """Between fork and exec a process is still systemd itself and shows systemd's environment: one start in five was
    asked that early.
    """
    try:
        program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except OSError:  # gone, or not ours to look at: then its environment is not either
        return True
    return program not in ("systemd", "systemd-executor")


class ArgvService:
    """Start, stop and status as the operator's own commands; status ends with 0 when it runs, with anything else when
    not.
    """

    def __init__(self, settings: ServiceSettings, user: Optional[User]) -> None:
        for word in ("start", "stop", "status"):
            if not getattr(settings, word):
                raise UsageError(
                    "no command is given",
                    operation="read settings",
                    subject=f"application.service.{word}",
                    hint="give a list of words",
                )
        self._settings = settings
        self._user = user

    def status(self) -> ServiceStatus:
        return ServiceStatus(self._run(self._settings.status, check=False).returncode == 0)

    def pids(self) -> Sequence[int]:
        return self.status().pids

    def stop(self) -> ServiceStatus:
        with _deadline(self._settings) as limit:
            self._run(self._settings.stop, seconds=self._settings.stop_seconds)
        if not wait_for(lambda: not self.status().running, _left(limit)):
            raise ApplicationError(
                "still runs after its stop command",
                operation="stop service",
                subject=self._settings.name,
                hint="check application.service.stop and status; if it only takes longer, raise stop_seconds",
            )
        return ServiceStatus(False)

    def start(self, flags: Mapping[str, str]) -> ServiceStatus:
        self._run(self._settings.start, flags=flags)
        if not wait_for(lambda: self.status().running, _START_SECONDS):
            raise _did_not_start(self._settings.name, "look at the log of")
        return ServiceStatus(True)

    def saved_otherwise(self, flags: Mapping[str, str]) -> str:
        return ""  # what these commands remember is the operator's own

    def _run(
        self,
        argv: Sequence[str],
        *,
        flags: Optional[Mapping[str, str]] = None,
        check: bool = True,
        seconds: float = _COMMAND_SECONDS,
    ) -> Any:
        env = {**os.environ, **(flags or {})}
        return run(argv, seconds=seconds, user=self._user, env=env, check=check)


@contextlib.contextmanager
def _deadline(settings: ServiceSettings) -> Iterator[float]:
    """Around a stop command; gives the moment (monotonic) at which the process must be gone."""
    try:
        yield time.monotonic() + settings.stop_seconds
    except DeadlineExceeded as exc:
        raise _still_lives("the application", settings) from exc


def _left(limit: float) -> float:
    return max(limit - time.monotonic(), _SEEN_GONE_SECONDS)


def _wait_for_end(pids: Sequence[int], settings: ServiceSettings, limit: float) -> None:
    if not wait_for(lambda: not any(is_alive(pid) for pid in pids), _left(limit)):
        raise _still_lives(f"pid {', '.join(map(str, pids))}", settings)


def _still_lives(what: str, settings: ServiceSettings) -> ApplicationError:
    return ApplicationError(
        f"{what} still lives {settings.stop_seconds:g} s after the stop",
        operation="stop service",
        subject=settings.name,
        hint="two writers would destroy the session: end the process by hand. Where its manager gives it"
        " more time (kill_timeout of PM2, TimeoutStopSec of systemd), set application.service.stop_seconds"
        " (failover_service_stop_seconds) above that",
    )


def _did_not_start(name: str, log: str) -> ApplicationError:
    return ApplicationError(
        f"no process stays (waited at most {_START_SECONDS:g} s)",
        operation="start service",
        subject=name,
        hint=f"see: {log} {name}",
    )
