# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of the scenarios, by their names in the inventory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import testinfra
from testinfra.host import Host


def machine(name: str) -> Host:
    return testinfra.get_host(f"podman://{container(name)}")


def container(name: str) -> str:
    return f"baileys-resilience-molecule-{name}"


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Ask again until the answer is true, and return it; fail with what was waited for."""
    limit = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < limit, f"not within {seconds:g} s: {what}"
        time.sleep(0.2)
    return answer
