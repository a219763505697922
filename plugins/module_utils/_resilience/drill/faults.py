# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The ways to break a staging database, and how each is healed.

Every way can be healed at any time, also when it was only half brought about or is healed already: a watch that heals
and a drill that heals must be able to do it twice. Breaking is verified, healing too.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

from ..errors import Misconfigured, ResilienceError, StepFailed, ToolMissing, UsageError

UNIT_KINDS = ("stop", "kill", "freeze")
KINDS = (*UNIT_KINDS, "isolate", "command")
TABLE = "baileys_resilience_drill"

_RUNTIME_UNITS = Path("/run/systemd/system")
_DROP_IN = "baileys-resilience-drill.conf"
#: a shutdown of PostgreSQL waits for its checkpoint, its start for recovery
_COMMAND_SECONDS = 120.0
_SETTLE_SECONDS = 10.0
_POLL_SECONDS = 0.1
#: sudo and cron bring a PATH without the directories of root's programs
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Fault:
    """What is broken: ``unit`` (systemd) for stop, kill and freeze; ``addresses`` and ``port`` for isolate, where no
    address means that the database is on this host; two lists of words for command.
    """

    kind: str
    unit: str = ""
    addresses: Tuple[str, ...] = ()
    port: int = 5432
    break_command: Tuple[str, ...] = ()
    heal_command: Tuple[str, ...] = ()

    def as_dict(self) -> Dict[str, Any]:
        return {name: list(each) if isinstance(each, tuple) else each for name, each in asdict(self).items()}

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> Fault:
        known = {each.name for each in fields(Fault)}
        values: Dict[str, Any] = {
            name: tuple(each) if isinstance(each, list) else each for name, each in content.items() if name in known
        }
        return Fault(**values)

    def check_settings(self) -> None:
        """Raises UsageError for what can be seen without looking at the host."""
        if self.kind not in KINDS:
            raise _wrong(f"{self.kind!r} is no way to break", f"choose one of {', '.join(KINDS)}")
        if self.kind in UNIT_KINDS and not self.unit:
            raise _wrong("no unit is named", "set failover_drill_unit, such as postgresql@17-main")
        if self.kind == "command" and not (self.break_command and self.heal_command):
            raise _wrong(
                "a command to break needs one to heal",
                "set failover_drill_break_command and failover_drill_heal_command",
            )
        if self.kind == "isolate" and any(each.startswith("/") for each in self.addresses):
            raise _wrong(
                "the database is reached by a unix socket, and no network can be cut",
                "choose stop, kill, freeze or command",
            )

    def sentence(self) -> str:
        """What is done to the host, in words."""
        if self.kind == "isolate":
            where = f"to {', '.join(self.addresses)} " if self.addresses else "that come in "
            return f"drop packets {where}for port {self.port}, in the nftables table {TABLE}"
        if self.kind == "command":
            return f"run {self.break_command[0]} to break, {self.heal_command[0]} to heal"
        verb = {"stop": "stop", "kill": "kill every process of", "freeze": "freeze every process of"}[self.kind]
        return f"{verb} the unit {self.unit}"


def _wrong(cause: str, hint: str) -> UsageError:
    return UsageError(cause, operation="read settings", subject="fault", hint=hint)


def check(fault: Fault) -> None:
    """Raises what keeps ``fault`` from being brought about, or healed, on this host. Changes nothing."""
    fault.check_settings()
    if fault.kind == "isolate":
        _nft(["list", "tables"])
        _addresses(fault)
    elif fault.kind == "command":
        for words in (fault.break_command, fault.heal_command):
            _program(words[0], "give the whole path of a program that is on this host")
    else:
        _check_unit(fault)


def bring_about(fault: Fault) -> None:
    _WAYS[fault.kind][0](fault)


def heal(fault: Fault) -> None:
    _WAYS[fault.kind][1](fault)


def _stop(fault: Fault) -> None:
    _systemctl("stop", fault.unit)
    _settled(fault, "is still active after the stop", lambda: not _is_active(fault.unit))


def _kill(fault: Fault) -> None:
    # Restart= in the unit would heal before anybody has noticed.
    directory = _drop_in(fault).parent
    directory.mkdir(parents=True, exist_ok=True)
    _drop_in(fault).write_text("[Service]\nRestart=no\n", "utf-8")
    _systemctl("daemon-reload")
    _systemctl("kill", "--signal=SIGKILL", fault.unit)
    _settled(fault, "is still active after SIGKILL", lambda: not _is_active(fault.unit))


def _freeze(fault: Fault) -> None:
    _systemctl("kill", "--signal=SIGSTOP", fault.unit)
    _settled(fault, "still runs after SIGSTOP", lambda: all(_state(pid) in "TtZX" for pid in _pids(fault.unit)))


def _heal_unit(fault: Fault) -> None:
    if _drop_in(fault).exists():
        _drop_in(fault).unlink()
        if not any(_drop_in(fault).parent.iterdir()):
            _drop_in(fault).parent.rmdir()
        _systemctl("daemon-reload")
    if _pids(fault.unit):
        _systemctl("kill", "--signal=SIGCONT", fault.unit)
    _run([_program("systemctl", ""), "reset-failed", fault.unit], allowed=(0, 1))
    _systemctl("start", fault.unit)
    _settled(fault, "is not active after the start", lambda: _is_active(fault.unit))


def _isolate(fault: Fault) -> None:
    rules = [f"tcp dport {fault.port} drop"]
    hook = "input"
    if fault.addresses:
        hook = "output"
        rules = [f"{family} daddr {address} {rules[0]}" for family, address in _addresses(fault)]
    # Deleted first in the same transaction, so that a table which is there is replaced and not added to.
    text = [f"table inet {TABLE}", f"delete table inet {TABLE}", f"table inet {TABLE} {{", "chain drill {"]
    text += [f"type filter hook {hook} priority -300; policy accept;", *rules, "}", "}"]
    _nft(["-f", "-"], "\n".join(text) + "\n")


def _heal_network(fault: Fault) -> None:
    if f"table inet {TABLE}" in _nft(["list", "tables"]):
        _nft(["delete", "table", "inet", TABLE])


def _run_break(fault: Fault) -> None:
    _run(fault.break_command)


def _run_heal(fault: Fault) -> None:
    _run(fault.heal_command)


_WAYS: Dict[str, Tuple[Callable[[Fault], None], Callable[[Fault], None]]] = {
    "stop": (_stop, _heal_unit),
    "kill": (_kill, _heal_unit),
    "freeze": (_freeze, _heal_unit),
    "isolate": (_isolate, _heal_network),
    "command": (_run_break, _run_heal),
}


def _check_unit(fault: Fault) -> None:
    if not Path("/run/systemd/system").is_dir():
        raise ToolMissing(
            "this host does not run systemd",
            operation="check fault",
            subject=fault.unit,
            hint="set failover_drill_fault to command, with the words that stop and start this database",
        )
    shown = _systemctl("show", "--property=LoadState", "--value", fault.unit).strip()
    if shown != "loaded":
        raise _unit_problem(
            fault, f"systemd says that it is {shown or 'unknown'}", "systemctl list-units 'postgresql*'"
        )
    if not _is_active(fault.unit):
        raise _unit_problem(fault, "it is not active, so there is nothing to break", f"systemctl start {fault.unit}")
    if not _pids(fault.unit) and fault.kind != "stop":
        # Debian's postgresql.service is a bracket around the units of its clusters.
        raise _unit_problem(fault, "no process belongs to it", "systemctl list-units 'postgresql@*'")


def _unit_problem(fault: Fault, cause: str, command: str) -> Misconfigured:
    return Misconfigured(
        cause,
        operation="check fault",
        subject=fault.unit,
        hint=f"set failover_drill_unit to the unit of the database's processes; to find it: {command}",
    )


def _drop_in(fault: Fault) -> Path:
    name = fault.unit if "." in fault.unit else f"{fault.unit}.service"
    return _RUNTIME_UNITS / f"{name}.d" / _DROP_IN


def _is_active(unit: str) -> bool:
    state = _systemctl("show", "--property=ActiveState", "--value", unit).strip()
    return state == "active"


def _pids(unit: str) -> List[int]:
    group = _systemctl("show", "--property=ControlGroup", "--value", unit).strip()
    if not group:
        return []
    for root in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/systemd")):
        found = root / group.lstrip("/")
        if (found / "cgroup.procs").exists():
            return [int(line) for each in found.rglob("cgroup.procs") for line in each.read_text("utf-8").split()]
    return []


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "X"


def _settled(fault: Fault, otherwise: str, condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + _SETTLE_SECONDS
    while not condition():
        if time.monotonic() >= limit:
            raise StepFailed(
                f"it {otherwise}",
                operation=f"fault {fault.kind}",
                subject=fault.unit,
                hint=f"systemctl status {fault.unit}",
            )
        time.sleep(_POLL_SECONDS)


def _addresses(fault: Fault) -> List[Tuple[str, str]]:
    """(family, address) of every address that the names stand for."""
    found = []
    for name in fault.addresses:
        try:
            answers = socket.getaddrinfo(name, fault.port, type=socket.SOCK_STREAM)
        except OSError as exc:
            raise Misconfigured(
                f"it has no address: {exc.strerror or exc}",
                operation="check fault",
                subject=name,
                hint="check baileys_resilience_login_host and the resolver of this host",
            ) from exc
        found += [("ip6" if each[0] == socket.AF_INET6 else "ip", str(each[4][0])) for each in answers]
    return sorted(set(found))


def _nft(words: Sequence[str], text: str = "") -> str:
    return _run([_program("nft", "install nftables on this host"), *words], text)


def _systemctl(*words: str) -> str:
    return _run([_program("systemctl", "this way to break needs systemd"), *words])


def _program(name: str, hint: str) -> str:
    found = shutil.which(name, path=os.pathsep.join(filter(None, (os.environ.get("PATH", ""), _PATH))))
    if not found:
        raise ToolMissing("this program is not there", operation="check fault", subject=name, hint=hint)
    return found


def _run(words: Sequence[str], text: str = "", *, allowed: Sequence[int] = (0,)) -> str:
    """Its output. Only the program's name and its last words go into an error: arguments may be anybody's secret."""
    where: Dict[str, Any] = {"operation": "run", "subject": words[0]}
    try:
        done = subprocess.run(
            list(words), input=text, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise StepFailed(f"it did not end within {_COMMAND_SECONDS:g} s", hint="run it by hand", **where) from exc
    except OSError as exc:
        raise _not_started(exc, where) from exc
    if done.returncode not in allowed:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        # nft ends with a line that points at the mistake, Python with the mistake itself.
        line = next((each for each in said if "error" in each.lower()), said[-1])
        raise StepFailed(f"exit code {done.returncode}: {line}", hint="run it by hand on this host", **where)
    return done.stdout


def _not_started(exc: OSError, where: Mapping[str, Any]) -> ResilienceError:
    return ToolMissing(f"cannot be started: {exc.strerror}", hint="give the whole path of a program", **where)
