# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The faults of the lab: a table of names, what breaks, and how it is undone. One fault at a time per kind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import data_faults, postgres, processes, services
from .errors import LabError, LabStateError
from .state import LabState, write_private

DEFAULT_DELAY_MS = 200


@dataclass
class Order:
    """A fault as it was asked for."""

    name: str
    company: str = ""
    variant: str = "tampered"
    delay_ms: int = DEFAULT_DELAY_MS


@dataclass
class Active:
    """A fault that is in force."""

    name: str
    kind: str
    since: str
    detail: str


@dataclass(frozen=True)
class Fault:
    kind: str
    summary: str
    break_: Callable[[LabState, Order], str]


def _kill(state: LabState, order: Order) -> str:
    return f"SIGKILL to {len(postgres.kill_tree(state.need_postgres()))} processes"


def _freeze(state: LabState, order: Order) -> str:
    pid = _running(state)
    return f"SIGSTOP to {len(processes.signal_tree(pid, signal.SIGSTOP))} processes"


def _stop(state: LabState, order: Order) -> str:
    _running(state)
    postgres.stop_fast(state.path, state.need_postgres())
    return "fast shutdown"


def _running(state: LabState) -> int:
    pid = postgres.postmaster_pid(state.need_postgres())
    if pid is None:
        raise LabStateError("PostgreSQL is not running", "lab heal")
    return pid


def _network(mode: str) -> Callable[[LabState, Order], str]:
    def set_mode(state: LabState, order: Order) -> str:
        request = {"mode": mode, "delay_ms": order.delay_ms}
        status = services.ask_proxy(state.need_proxy(), request)
        return f"proxy in mode {status['mode']}, {status['connections']} connections" + (
            f", {order.delay_ms} ms in each direction" if mode == "delay" else ""
        )

    return set_mode


def _creds(state: LabState, order: Order) -> str:
    data_faults.corrupt_creds(state, order.company, order.variant)
    return f"creds of company {order.company} {order.variant}"


def _keys(state: LabState, order: Order) -> str:
    rows = data_faults.corrupt_keys(state, order.company)
    types = sorted({row["key_type"] for row in rows})
    return f"{len(rows)} keys of company {order.company} replaced by garbage ({', '.join(types)})"


def _rows(state: LabState, order: Order) -> str:
    return f"{len(data_faults.delete_rows(state, order.company))} keys of company {order.company} deleted"


FAULTS = {
    "postgres-kill": Fault("postgres", "SIGKILL to the whole PostgreSQL process tree", _kill),
    "postgres-freeze": Fault("postgres", "SIGSTOP to the whole PostgreSQL process tree", _freeze),
    "postgres-stop": Fault("postgres", "fast shutdown of PostgreSQL", _stop),
    "network-drop": Fault("network", "the network swallows everything; connections stay open", _network("drop")),
    "network-reset": Fault("network", "every connection, open or new, is reset", _network("reset")),
    "network-delay": Fault("network", "every byte arrives --delay-ms later, in each direction", _network("delay")),
    "creds-corrupt": Fault("creds", "creds of --company damaged (--variant tampered, empty or null)", _creds),
    "keys-corrupt": Fault("keys", "some keys of --company, of several types, replaced by garbage", _keys),
    "rows-delete": Fault("rows", "half of the keys of --company deleted", _rows),
}


def active(lab_dir: Path) -> list[Active]:
    try:
        return [Active(**entry) for entry in json.loads((lab_dir / "faults.json").read_text())]
    except FileNotFoundError:
        return []


def _record(lab_dir: Path, faults: list[Active]) -> None:
    write_private(lab_dir / "faults.json", json.dumps([asdict(fault) for fault in faults], indent=2) + "\n")


def break_(state: LabState, order: Order) -> Active:
    """Bring one fault about, and record it."""
    fault = FAULTS.get(order.name)
    if fault is None:
        raise LabError(f"unknown fault {order.name!r}", f"one of {', '.join(FAULTS)}")
    current = active(state.path)
    same_kind = next((entry for entry in current if entry.kind == fault.kind), None)
    if same_kind is not None:
        raise LabStateError(f"fault {same_kind.name} is active since {same_kind.since}", "lab heal first")
    if fault.kind in ("creds", "keys", "rows"):
        _check_company(state, order)
    detail = fault.break_(state, order)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    entry = Active(order.name, fault.kind, now, detail)
    _record(state.path, [*current, entry])
    return entry


def _check_company(state: LabState, order: Order) -> None:
    known = [company.id for company in state.companies]
    order.company = order.company or (known[0] if known else "")
    if order.company not in known:
        raise LabError(f"company {order.company!r} is not in this lab", f"one of {', '.join(known)}")


def heal(state: LabState) -> list[dict[str, Any]]:
    """Undo whatever is broken, PostgreSQL and network first since rows need them. Returns what was done."""
    done: list[dict[str, Any]] = []
    current = active(state.path)
    for what in (_heal_postgres(state), _heal_proxy(state)):
        if what:
            done.append(what)
    remaining = [entry for entry in current if entry.kind not in ("postgres", "network")]
    _record(state.path, remaining)
    for entry in reversed(list(remaining)):
        done.append({"healed": entry.name, **data_faults.put_back(state, entry.name)})
        remaining.remove(entry)
        _record(state.path, remaining)
    return done


def _heal_postgres(state: LabState) -> dict[str, Any] | None:
    server = state.need_postgres()
    pid = postgres.postmaster_pid(server)
    if pid is None:
        server.pid = postgres.start(state.path, server)
        state.save()
        return {"healed": "postgres", "action": "started", "pid": server.pid}
    frozen = [member for member in processes.tree(pid) if postgres.is_frozen(member)]
    if not frozen:
        return None
    # Children first: a running postmaster would take a still frozen child for a hung one.
    for member in reversed(frozen):
        os.kill(member, signal.SIGCONT)
    return {"healed": "postgres", "action": "thawed", "processes": len(frozen)}


def _heal_proxy(state: LabState) -> dict[str, Any] | None:
    proxy = state.need_proxy()
    if not processes.is_alive(proxy.pid, proxy.started):
        control_port = int(proxy.control.rpartition(":")[2])
        state.proxy = services.start_proxy(state.path, state.need_postgres(), control_port)
        state.save()
        return {"healed": "proxy", "action": "started", "pid": state.proxy.pid}
    mode = services.ask_proxy(proxy)["mode"]
    if mode == "pass":
        return None
    services.ask_proxy(proxy, {"mode": "pass"})
    return {"healed": "proxy", "action": "set to pass", "was": mode}
