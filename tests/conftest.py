# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every suite shares: where things are, and an environment in which Ansible finds the collection as it ships."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A shell that runs the tests in the background lets them ignore SIGINT, and every process that they start would too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def collections_path() -> Path:
    """A directory for ANSIBLE_COLLECTIONS_PATH with the collection built from the sources as they are now."""
    done = subprocess.run([ROOT / "scripts" / "collection-dir"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture
def ansible_env(collections_path: Path, tmp_path: Path) -> dict[str, str]:
    """Environment for ansible commands: the built collection, the checkout's venv, and no trace outside tmp_path."""
    # No line of Ansible and of modules, which run from an archive, is counted; that would take a third of their time.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return {
        **inherited,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(collections_path),
        "ANSIBLE_CONNECTION_PLUGINS": str(ROOT / "tests" / "support" / "connection"),
        "ANSIBLE_LOCAL_TEMP": str(tmp_path / "ansible-local"),
        "ANSIBLE_REMOTE_TEMP": str(tmp_path / "ansible-remote"),
        "ANSIBLE_NOCOLOR": "1",
    }
