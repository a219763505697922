# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`up` and `down`."""

from __future__ import annotations

import contextlib
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from . import application, inventory, nodejs, ports, postgres, processes, services, status
from .errors import LabError, LabStateError
from .progress import Silent
from .state import STATE_FILE, Company, LabState

FIRST_COMPANY = 962301
FOLDERS = ("postgres", "standin", "receivers", "logs", "mirror", "state", "faults")
S = TypeVar("S", bound=LabState)


@dataclass
class Wish:
    """What `up` shall make."""

    companies: list[str] = field(default_factory=lambda: company_ids(1))
    with_app: bool = True
    with_client: bool = True


def company_ids(count: int) -> list[str]:
    if not 1 <= count <= 2000:
        raise LabError(f"--companies {count} makes no sense", "between 1 and 2000")
    return [str(FIRST_COMPANY + number) for number in range(count)]


def up(kind: type[S], directory: Path, wish: Wish, progress: Silent) -> S:
    """Make a lab in `directory`. Whatever goes wrong, Ctrl-C included, nothing of it stays."""
    directory = directory.resolve()
    different = len(set(wish.companies)) == len(wish.companies) > 0
    if not different or not all(name.isascii() and name.isalnum() for name in wish.companies):
        raise LabError("company ids must be different, and letters and digits only", "for instance --ids 962301,962302")
    _check_place(directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    state = kind(
        dir=str(directory),
        mirror_dir=str(directory / "mirror"),
        state_dir=str(directory / "state"),
        companies=[Company(id=name) for name in wish.companies],
    )
    state.save()
    try:
        _build(state, wish, progress)
    except BaseException:
        progress.step("did not succeed: removing what was made")
        _remove(state)
        raise
    finally:
        ports.release()
    return state


def _check_place(directory: Path) -> None:
    if (directory / STATE_FILE).exists():
        state = LabState.load(directory)
        if state.phase != "ready":
            raise LabStateError(
                f"`lab up` in {directory} never ended", f"if it is not running any more: lab down --dir {directory}"
            )
        dead = status.dead_parts(state)
        if dead:
            healable = set(dead) <= {"PostgreSQL", "proxy"}
            remedy = f"lab heal --dir {directory}" if healable else f"lab down --dir {directory}, then lab up"
            raise LabStateError(f"the lab in {directory} is half-dead: not running: {', '.join(dead)}", remedy)
        raise LabStateError(
            f"a lab is already up in {directory}", f"use it, or remove it first: lab down --dir {directory}"
        )
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise LabStateError(f"{directory} exists and is not a lab", "choose another --dir, or empty it yourself")


def _build(state: LabState, wish: Wish, progress: Silent) -> None:
    for name in FOLDERS:
        (state.path / name).mkdir(mode=0o700)
    state.node, state.npm_cli = nodejs.find() if wish.with_app else ("", "")
    with progress.timed("PostgreSQL 18 is up"):
        state.postgres = postgres.create(state.path)
        state.save()
    with progress.timed("proxy and receivers are up"):
        state.proxy = services.start_proxy(state.path, state.postgres)
        state.receivers = services.start_receivers(state.path)
        state.save()
    if wish.with_app:
        _build_app(state, wish, progress)
    state.phase = "ready"
    inventory.write(state)
    state.save()


def _build_app(state: LabState, wish: Wish, progress: Silent) -> None:
    if wish.with_client:
        state.client_dir = application.folder_for_sockets(state, "client", application.LONGEST_CLIENT_DIR)
    with progress.timed("packages of the lab's Node programs are installed"):
        nodejs.ensure_lab_packages(state.path, state.node)
    with progress.timed("stand-in for the WhatsApp server is up"):
        state.standin = services.start_standin(state.path, state.node)
        state.save()
    with progress.timed("application is built"):
        state.app = application.build(state)
        state.save()
    with progress.timed(f"{len(state.companies)} companies are paired"):
        application.pair(state)
        state.save()
    with progress.timed("application is open under PM2"):
        application.write_env(state)
        application.start(state)


def down(directory: Path) -> bool:
    """Remove a lab with all its processes. False when there was none."""
    directory = directory.resolve()
    if not directory.exists():
        return False
    if not (directory / STATE_FILE).exists():
        raise LabStateError(f"{directory} is not a lab: it has no {STATE_FILE}", "check --dir; nothing was removed")
    _remove(LabState.load(directory))
    return True


def _remove(state: LabState) -> None:
    if state.app is not None:
        # PM2 restarts a killed application: its daemon has to go before, in one sweep with it.
        with contextlib.suppress(LabError):
            application.pm2(state, "kill", timeout_seconds=15)
    for _ in range(5):
        left = processes.marked_processes(state.path, state.app.pm2_home if state.app else None)
        if not left:
            break
        members = {member for pid in left for member in processes.signal_tree(pid, signal.SIGSTOP)}
        processes.kill_all(sorted(members))
    data_dir = state.path / "postgres" / "data"
    postgres.remove_shared_memory(data_dir)
    application.remove_outside(state)
    shutil.rmtree(state.path)
