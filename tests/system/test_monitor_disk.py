# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that fills, as the monitor sees it: a real file system, filled and freed."""

from __future__ import annotations

import queue
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from baileys_resilience.health.alerts.core import Alerts
from baileys_resilience.health.alerts.model import DATABASE, Subject
from baileys_resilience.health.monitor.loop import Loop
from baileys_resilience.health.monitor.saved import AlertFile
from baileys_resilience.health.monitor.surroundings import DiskSource
from baileys_resilience.health.monitor.watch import Watch
from baileys_resilience.progress import Silent
from tests.support.monitored import QUICK_ALERTS, Kept

SIZE = 8 * 1024 * 1024


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "data"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "baileys-test", path], check=True, timeout=20)
    yield path
    subprocess.run(["umount", path], check=True, timeout=20)


def test_a_disk_that_fills_is_told_and_its_end(data: Path, tmp_path: Path) -> None:
    kept, seen = Kept(), queue.SimpleQueue[None]()
    source = DiskSource(Subject(DATABASE, "db"), (str(data),), interval_seconds=0.5)
    loop = Loop(
        [source],
        Watch(Alerts(QUICK_ALERTS), AlertFile(tmp_path / "state"), kept, Silent()),
        log=Silent(),
        on_beat=lambda: seen.put(None),
    )
    thread = threading.Thread(target=loop.run)
    thread.start()

    def wait_until_told(*kinds: str) -> None:
        limit = time.monotonic() + 60
        while kept.kinds != list(kinds):
            assert time.monotonic() < limit, kept.kinds
            seen.get(timeout=60)

    try:
        (data / "base").write_bytes(b"x" * (SIZE // 2))
        for _each in range(10):
            seen.get(timeout=60)
        assert kept.kinds == []
        (data / "wal").write_bytes(b"x" * (SIZE * 45 // 100))
        wait_until_told("alert disk_full")
        assert "more than 90%" in kept.told[0].text
        (data / "wal").unlink()
        wait_until_told("alert disk_full", "recovery disk_full")
    finally:
        loop.stop()
        thread.join(60)
