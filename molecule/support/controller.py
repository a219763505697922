# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An operator's ansible-playbook beside the hosts, which a test can watch and cut off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

STATE = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
INVENTORY = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "molecule" / "inventory"
DOOMED_IP = "10.213.77.17"


class Controller:
    """One run of a playbook, in a group of processes of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        (folder / "ssh.yml").write_text(json.dumps({"all": {"hosts": {"doomed": _by_ssh()}}}))
        # molecule's own settings, among them colours
        molecules = ("ANSIBLE_CONFIG", "ANSIBLE_FORCE_COLOR", "PY_COLORS")
        env = {name: value for name, value in os.environ.items() if name not in molecules}
        self._log = (folder / f"{id(self)}.log").open("w+")
        self._process = subprocess.Popen(
            ["ansible-playbook", "-i", INVENTORY, "-i", folder / "ssh.yml", *words],
            env={**env, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_PIPELINING": "1", "ANSIBLE_HOME": str(folder / "ansible")},
            cwd=folder, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    @property
    def output(self) -> str:
        return Path(self._log.name).read_text("utf-8")

    @property
    def recap(self) -> dict[str, str]:
        """The last line of each host."""
        return {line.split()[0]: line for line in self.output.splitlines() if "unreachable=" in line}

    def end(self, seconds: float = 600) -> int:
        return self._process.wait(timeout=seconds)

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=10)


def _by_ssh() -> dict[str, str]:
    return {
        "ansible_connection": "ssh",
        "ansible_host": DOOMED_IP,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(STATE / "doomed_key"),
        "ansible_ssh_common_args": "-o ServerAliveInterval=2 -o ServerAliveCountMax=2 -o ConnectTimeout=5"
        " -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
    }
