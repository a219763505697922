# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd and own commands need no user in the settings: what root writes is the service's user's all the same."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from baileys_resilience.errors import Misconfigured
from baileys_resilience.failover.context import FailoverContext
from baileys_resilience.failover.failover_steps import preflight
from baileys_resilience.failover.processes import owner_of, user_of, wait_for
from baileys_resilience.failover.services import ServiceStatus
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict
from baileys_resilience.sessions.export import export_companies
from tests.support.sources import MemorySource
from tests.support.synthetic import SMALL_MIX, make_company

UID = 12345
COMPANY = make_company("962301", 1, SMALL_MIX)
AS_USER = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]


class Service:
    def __init__(self, pid: int) -> None:
        self._pid = pid

    def status(self) -> ServiceStatus:
        return ServiceStatus(True, (self._pid,))

    def stop(self) -> ServiceStatus:
        return self.status()

    def start(self, flags: Mapping[str, str]) -> ServiceStatus:
        return self.status()


@pytest.fixture
def settings() -> Iterator[FailoverSettings]:
    with tempfile.TemporaryDirectory(prefix="baileys-resilience-") as made:
        root = Path(made)
        root.chmod(0o755)
        (root / "app").mkdir(0o755)
        (root / "app" / ".env").write_text("PORT=1\n")
        yield settings_from_dict(
            {
                "host": "app1",
                "companies": [COMPANY.id],
                "database": {},
                "sessions_dir": str(root / "app" / "baileys_sessions"),
                "state_dir": str(root / "state"),
                "application": {
                    "dir": str(root / "app"),
                    "service": {"manager": "systemd"},
                    "health": {"url": "http://127.0.0.1:9/health"},
                },
            }
        )


@pytest.fixture
def pid() -> Iterator[int]:
    with subprocess.Popen([*AS_USER, "sleep", "60"]) as process:
        assert wait_for(lambda: owner_of(process.pid) == (UID, UID), 20)
        yield process.pid
        process.kill()


def context_of(settings: FailoverSettings, pid: int) -> FailoverContext:
    context = FailoverContext(settings, "run", "files")
    context._service = Service(pid)
    return context


def test_the_services_user_can_read_what_later_steps_write(settings: FailoverSettings, pid: int) -> None:
    preflight(context_of(settings, pid))
    later = context_of(settings, pid)
    assert later.home.owner == (UID, UID)
    assert not export_companies(MemorySource([COMPANY]), later.home, [COMPANY.id]).failed
    place = later.home.directory(COMPANY.id)
    subprocess.run([*AS_USER, "cat", str(place / "creds.json")], check=True, capture_output=True, timeout=20)
    user = user_of(later.home.owner)
    assert user is not None, "Node would run the application's code as root"
    assert user.uid == UID
    preflight(context_of(settings, pid))


def test_a_home_of_roots_is_refused_by_the_check(settings: FailoverSettings, pid: int) -> None:
    Path(settings.sessions_dir).mkdir(0o700)
    with pytest.raises(Misconfigured) as caught:
        preflight(context_of(settings, pid))
    assert f"runs as {UID} and could not read them: they would belong to root" in caught.value.cause
    assert "failover_owner" in caught.value.hint
