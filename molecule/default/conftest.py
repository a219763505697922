# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has on it now, beside what it had before anything was done."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from testinfra.host import Host

# Of the running system, not of anybody who uses it
OF_THE_SYSTEM = (
    "/var/lib/systemd/",
    "/var/tmp/systemd-private-",
    "/etc/resolv.conf ",
    "/etc/hosts ",
    "/etc/hostname ",
    "/etc/mtab ",
    # Users and groups are compared by themselves
    *(
        f"/etc/{each}{old} "
        for each in ("passwd", "shadow", "group", "gshadow", "subuid", "subgid")
        for old in ("", "-")
    ),
    "/etc/.pwd.lock ",
)


@pytest.fixture(scope="session")
def touched() -> Callable[[Host], list[str]]:
    """Lines of footprint.sh that are new, gone or different since prepare.yml."""
    before = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "footprint").read_text("utf-8").splitlines()
    script = Path(__file__).with_name("footprint.sh").read_text("utf-8")

    def compare(host: Host) -> list[str]:
        now = host.check_output("sh -c %s", script).splitlines()
        assert len(now) > 100
        different = {*before} ^ {*now}
        return sorted(line for line in different if not line.startswith(OF_THE_SYSTEM) or "baileys" in line)

    return compare
