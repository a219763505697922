# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode has said what would be done on a host that has nothing of it."""

from __future__ import annotations

from collections.abc import Callable

from testinfra.host import Host


def test_check_mode_left_the_host_as_it_was(blank: Host, touched: Callable[[Host], list[str]]) -> None:
    assert touched(blank) == []
    assert not blank.package("python3-venv").is_installed
