# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host after `state: absent` of both roles."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from testinfra.host import Host

PLAYBOOK = Path(__file__).parents[2] / "side_effect.yml"


def test_the_host_is_as_it_was_before_anything_was_installed(blank: Host, touched: Callable[[Host], list[str]]) -> None:
    different = touched(blank)
    assert not different, "\n".join(different)


def test_systemd_has_forgotten_the_units_and_nothing_runs(blank: Host) -> None:
    for words in ("list-units --all --plain", "list-unit-files", "list-timers --all"):
        assert blank.run(f"systemctl {words} --no-legend 'baileys*'").stdout == ""
    assert "baileys" not in blank.run("cat /proc/[0-9]*/cmdline").stdout


def test_removing_again_changes_nothing() -> None:
    inventory = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "inventory")
    again = subprocess.run(
        ["ansible-playbook", "-i", inventory, PLAYBOOK], capture_output=True, text=True, timeout=120, check=False
    )
    assert again.returncode == 0, again.stdout
    assert "changed=0" in again.stdout, again.stdout
