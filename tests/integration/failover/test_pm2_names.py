# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real PM2 makes file names of process names; whatever it makes of them, the process is stopped and started."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from baileys_resilience.failover.processes import is_alive
from baileys_resilience.failover.services import make_service
from baileys_resilience.failover.settings import ApplicationSettings, ServiceSettings
from lab import Lab, nodejs

NAME = "wa_service@1 (main)"


@pytest.fixture
def own_pm2(lab: Lab, tmp_path: Path) -> Iterator[ServiceSettings]:
    """A PM2 of its own with one process of a difficult name."""
    settings = ServiceSettings(name=NAME, pm2=(lab.node, lab.need_app().pm2_bin), pm2_home=str(tmp_path))
    script = tmp_path / "app.js"
    script.write_text("setInterval(() => {}, 1000)\n")
    env = nodejs.environment(lab.path, lab.node, {"PM2_HOME": str(tmp_path), "PM2_DISCRETE_MODE": "true"})

    def pm2(*words: str) -> None:
        subprocess.run([*settings.pm2, *words], env=env, check=True, capture_output=True, timeout=30, cwd=tmp_path)

    pm2("start", str(script), "--name", NAME, "--interpreter", lab.node)
    try:
        yield settings
    finally:
        pm2("kill")


def test_a_process_with_any_name_is_stopped_and_started(own_pm2: ServiceSettings) -> None:
    service = make_service(ApplicationSettings(service=own_pm2))
    (before,) = service.status().pids
    assert not service.stop().running
    assert not is_alive(before)
    # A new process asks for itself, as each step of a playbook does.
    (after,) = make_service(ApplicationSettings(service=own_pm2)).start({"A": "1"}).pids
    assert is_alive(after)
