# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How soon the monitor's page is ready in Debian's Chromium: from the click until status and charts are there.

A load of which nothing is in the browser's cache. The first one of a browser just started has no code compiled yet, so
it has a line of its own, each from a browser of its own.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
from pathlib import Path

from baileys_resilience.sessions.published import create_schema
from bench.measure import Result, human
from bench.monitor import COMPANIES, monitor
from lab import Lab
from tests.support.browser import Browser, browser
from tests.support.database import fill_many
from tests.support.page import bundled_page

FLOOR_SECONDS = 0.3
READY = "document.documentElement.dataset.round > 0 && !document.querySelector('#content').hidden"
#: Seconds since the navigation began, as the page itself counts them.
NOW = "performance.now() / 1000"


def run(work: Path, rounds: int) -> list[Result]:
    if shutil.which("chromium") is None:
        raise SystemExit("bench: chromium is missing. HINT: apt-get install chromium")
    work = work.resolve()
    work.mkdir()
    page = work / "page.json"
    page.write_text(bundled_page())
    lab = Lab.up(work / "lab", app=False)
    try:
        with contextlib.closing(lab.connect(direct=True)) as connection, connection:
            create_schema(connection.cursor())
            fill_many(connection, COMPANIES)
        with monitor(lab, work, page_file=str(page)) as running:
            running.wait_until_up()
            url = f"http://127.0.0.1:{running.port}/"
            first, later = [], []
            for number in range(rounds):
                with browser(work / f"profile-{number}") as chromium:
                    first.append(_load(chromium, url))
                    later.append(_load(chromium, url))
    finally:
        lab.down()
    return [_line("one more load of a browser", later), _line("the first load of a browser just started", first)]


def _load(chromium: Browser, url: str) -> float:
    chromium.call("Network.clearBrowserCache")
    chromium.open("about:blank")
    chromium.wait("location.href === 'about:blank'")
    chromium.open(url)
    chromium.wait(READY)
    return float(chromium.evaluate(NOW))


def _line(what: str, found: list[float]) -> Result:
    median = statistics.median(found)
    return Result(
        f"The page with {COMPANIES} companies, ready: {what}",
        f"{human(median)}, worst {human(max(found))}",
        "",
        None,
        f"<= {human(FLOOR_SECONDS)}",
        median <= FLOOR_SECONDS,
    )
