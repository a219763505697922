# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The monitor's page in Debian's Chromium: a real monitor on a real database, its fault seen, its keys pressed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from baileys_resilience.clock import Clock
from baileys_resilience.health.history import Event, Recorder
from baileys_resilience.health.monitor.memory import HISTORY_FILE
from baileys_resilience.sessions.published import create_schema
from lab import ports
from tests.support.browser import Browser, browser
from tests.support.page import bundled_page
from tests.support.synthetic import make_companies
from tests.system.containers import wait_until
from tests.system.postgres15 import Cluster

TOKEN = "0123456789abcdef-token"
#: what a name from outside may be
HOSTILE = "<img src=x onerror=document.title=1>"
MINUTES = 50
SHOTS = os.environ.get("PAGE_SHOTS", "")
LIVES = "document.documentElement.dataset.round > 0 && !document.querySelector('#content').hidden"
#: what a browser does when somebody looks at the page again
LOOK = "document.dispatchEvent(new Event('visibilitychange'))"


class Monitor:
    """`baileys-resilience monitor` as a process; it can be killed and started again."""

    def __init__(self, folder: Path, server: Cluster, **listen: Any) -> None:
        folder.mkdir()
        self.port = ports.reserve()
        self.url = f"http://127.0.0.1:{self.port}/"
        self._config = folder / "monitor.json"
        self._token = str(listen.get("token", ""))
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "page.json").write_text(bundled_page())
        params = server.params
        content = {
            "database": {
                "host": params.host, "port": params.port, "dbname": params.dbname, "user": params.user,
                "password": params.password, "ssl_mode": params.ssl_mode, "ca_cert": params.ca_cert,
            },
            "state_dir": str(folder / "state"), "name": HOSTILE, "page_file": str(folder / "page.json"),
            "interval_seconds": 1, "alerts": {"recheck_seconds": 0.2}, "listen": {"port": self.port, **listen},
        }  # fmt: skip
        self._config.write_text(json.dumps(content))
        self._config.chmod(0o600)

    def start(self) -> None:
        command = [sys.executable, "-m", "baileys_resilience.cli", "--config", str(self._config), "monitor"]
        with open(self._config.with_suffix(".log"), "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(lambda: "keys" in self.figures(), 60, "keys are counted")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def figures(self) -> dict[str, Any]:
        asked = urllib.request.Request(f"{self.url}api/status", headers={"Authorization": f"Bearer {self._token}"})
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:
                found: dict[str, Any] = json.load(answer)["figures"]
                return found
        except OSError:
            return {}


class Past(Clock):
    """Stands where the test puts it."""

    seconds = 0.0

    def wall(self) -> float:
        return self.seconds


def remember(folder: Path, where: str) -> None:
    """An hour of history, as the recorder writes it: charts would be empty for a minute."""
    clock = Past()
    clock.seconds = start = time.time() - MINUTES * 60
    recorder, _warnings = Recorder.open(folder / HISTORY_FILE, clock=clock)
    for minute in range(MINUTES):
        clock.seconds = start + minute * 60
        for operation, seconds in (("connect", 0.02), ("read", 0.0015), ("write", 0.002), ("canary", 0.006)):
            for turn in range(12):
                recorder.time(f"database {where}", operation, seconds * (1 + turn % 4 / 5))
        recorder.figure(f"database {where}", "connections used", 20 + minute % 7)
        recorder.figure(f"database {where}", "connections free", 77 - minute % 7)
        recorder.figure(f"client {HOSTILE}", "pool active", minute % 5)
        recorder.figure(f"client {HOSTILE}", "pool waiting", 0)
        recorder.figure(f"database {where}", "mirror age seconds", 3 + minute % 4)
        recorder.figure(f"database {where}", "keys", 3900)
        recorder.figure(f"database {where}", "bytes", 1_400_000 + 1000 * minute)
    recorder.event(Event("alert", f"client {HOSTILE}", "client_hangs", "critical", HOSTILE, HOSTILE))
    recorder.close()


@pytest.fixture(scope="module")
def database(server: Cluster) -> Cluster:
    server.fill(*make_companies(3))
    with contextlib.closing(psycopg2.connect(**server.params.libpq())) as connection, connection:
        create_schema(connection.cursor())
        connection.cursor().execute(
            "UPDATE whatsapp_keys SET company_id = %s WHERE company_id = (SELECT max(company_id) FROM whatsapp_keys)",
            (HOSTILE,),
        )
    return server


@pytest.fixture(scope="module")
def monitor(database: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitor]:
    folder = tmp_path_factory.mktemp("page")
    made = Monitor(folder / "monitor", database)
    remember(folder / "monitor" / "state", database.params.where)
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium") / "profile") as started:
        yield started


@pytest.fixture
def page(chromium: Browser, monitor: Monitor) -> Iterator[Browser]:
    """The page as it is opened, on a screen. Whatever the test does, nothing it loads is from elsewhere."""
    chromium.resize(1280, 900)
    chromium.prefer(prefers_color_scheme="light")
    chromium.requests.clear()
    chromium.complaints.clear()
    chromium.open("about:blank")
    chromium.open(monitor.url)
    chromium.wait(LIVES)
    yield chromium
    foreign = [each for each in chromium.requests if not each.startswith((monitor.url, "data:", "about:"))]
    assert foreign == []


def shot(page: Browser, name: str) -> None:
    """For human eyes: PAGE_SHOTS names the directory."""
    if SHOTS:
        page.photograph(Path(SHOTS) / f"{name}.png")


def text(selector: str) -> str:
    return f"document.querySelector({selector!r}).innerText"


def look_until(page: Browser, condition: str) -> None:
    """As somebody who comes back to the page again and again, each time until it has asked."""

    def reached() -> bool:
        before = page.evaluate("document.documentElement.dataset.round")
        page.evaluate(LOOK)
        page.wait(f"document.documentElement.dataset.round !== {before!r}")
        return bool(page.evaluate(condition))

    wait_until(reached, 60, condition)


def focused(page: Browser) -> str:
    found: str = page.evaluate("document.activeElement.value || document.activeElement.className || ''")
    return found


def tab_until(page: Browser, wanted: Callable[[str], bool]) -> list[str]:
    """Press Tab until such an element has the focus; what had it on the way."""
    way: list[str] = []
    while not way or not wanted(way[-1]):
        assert len(way) < 30, way
        page.press("Tab")
        way.append(focused(page))
    return way


def test_it_shows_all_parts_and_no_text_of_others_becomes_markup(page: Browser) -> None:
    page.wait("document.querySelectorAll('#latency .u-over').length === 4")
    page.wait("document.querySelector('#overall').dataset.status === 'ok'")
    assert page.evaluate("[...document.querySelectorAll('#latency .title')].map((each) => each.innerText)") == [
        "connect", "read", "write", "canary",
    ]  # fmt: skip
    assert page.evaluate("[...document.querySelectorAll('#pools .title')].map((each) => each.innerText)") == [
        "PostgreSQL", f"client {HOSTILE}",
    ]  # fmt: skip
    assert "well" in page.evaluate(text("#calm"))
    for place in ("#where", "#pools", "#events", "#companies"):
        assert HOSTILE in page.evaluate(text(place)), place
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    assert page.evaluate("document.title") == "ok: WhatsApp sessions"
    assert "Age of the mirror" in page.evaluate(text("#ages"))
    assert page.evaluate("[...document.querySelectorAll('#keys .title')].map((each) => each.innerText)") == [
        "All keys", "Size of the session tables",
    ]  # fmt: skip
    assert "on disk" in page.evaluate(text("#keys"))
    assert "MB" in page.evaluate(text("#keys"))
    assert page.evaluate("document.querySelectorAll('#types tbody tr').length") > 5
    assert page.complaints == []
    shot(page, "light")


def test_a_chart_tells_the_figures_under_the_pointer(page: Browser) -> None:
    page.wait("document.querySelectorAll('#latency .u-over').length === 4")
    whole = page.evaluate(text("#latency .legend"))
    page.point("#pools .u-over")
    page.wait("/^[0-9]{2}:[0-9]{2}$/.test(document.querySelector('#pools .title').dataset.when)")
    page.point("#latency .u-over")
    page.wait("document.querySelector('#latency .title').dataset.when !== ''")
    page.wait("document.querySelector('#pools .title').dataset.when === ''")
    assert page.evaluate(text("#latency .legend")).startswith("P50 2")
    page.point("h1")
    page.wait(f"{text('#latency .legend')} === {whole!r}")
    label = page.evaluate("document.querySelector('#latency .plot').getAttribute('aria-label')")
    assert label.startswith("connect: P50 ")


def test_a_database_that_goes_is_shown_with_what_to_run_and_goes_again_without_a_flicker(
    page: Browser, database: Cluster
) -> None:
    page.wait("document.querySelector('#overall').dataset.status === 'ok'")
    page.evaluate("for (const each of document.querySelectorAll('.part, .chart, tbody tr')) each.was = true")
    page.evaluate("document.querySelector('input[name=range]').focus()")
    database.stop()
    try:
        # Its own ten seconds: nobody tells it to look.
        page.wait("document.querySelector('#overall').dataset.status === 'critical'")
        assert "PostgreSQL takes no connections" in page.evaluate(text(".trouble .title"))
        assert page.evaluate(text(".trouble .words")) == (
            "ansible-playbook baileys.resilience.emergency_failover --check"
        )
        assert page.evaluate("document.title").startswith("critical")
        said = page.evaluate("document.querySelector('[role=status]').textContent")
        assert said.startswith("Status critical. database ")
        assert focused(page) == "1h"
        page.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
        page.evaluate("document.querySelector('.trouble .copy').focus()")
        page.press("Enter")
        page.wait(f"{text('.trouble .copy')} === 'Copied'")
        assert page.evaluate("navigator.clipboard.readText()") == page.evaluate(text(".trouble .words"))
        shot(page, "critical")
    finally:
        database.start()
    look_until(page, f"{text('#calm')}.includes('is well')")
    kept = page.evaluate("[...document.querySelectorAll('.part, .chart, tbody tr')].map((each) => each.was === true)")
    assert kept
    assert all(kept)
    assert page.complaints == []


def test_the_range_is_chosen_with_the_keyboard(page: Browser, monitor: Monitor) -> None:
    way = tab_until(page, lambda each: each == "1h")
    assert way[0] == "skip"
    for wanted, point in (("24h", "10 min"), ("7d", "1 h"), ("30d", "6 h")):
        page.press("ArrowRight")
        page.wait(f"{text('#range-note')} === 'a point is {point}'")
        assert focused(page) == wanted
        assert f"{monitor.url}api/history?range={wanted}" in page.requests
    outline = "getComputedStyle(document.activeElement.nextElementSibling).outlineStyle"
    assert page.evaluate(outline) == "solid"
    assert page.evaluate("location.hash") == "#30d"
    page.call("Page.reload")
    page.wait(f"document.documentElement.dataset.round && {text('#range-note')} === 'a point is 6 h'")
    page.press("Tab", shift=True)
    assert page.complaints == []


def test_a_monitor_that_does_not_answer_any_more_is_said_loudly(page: Browser, monitor: Monitor) -> None:
    page.wait("document.querySelector('#overall').dataset.status === 'ok'")
    assert page.evaluate("document.querySelector('#alarm').hidden")
    monitor.kill()
    try:
        look_until(page, "!document.querySelector('#alarm').hidden")
        assert "The monitor does not answer. What you see is of 20" in page.evaluate(text("#alarm"))
        assert page.evaluate("document.querySelector('#overall').dataset.status") == "unknown"
        assert page.evaluate("document.body.classList.contains('stale')")
        shot(page, "dead")
    finally:
        monitor.start()
    look_until(page, "document.querySelector('#overall').dataset.status === 'ok'")
    assert page.evaluate("document.querySelector('#alarm').hidden")


def test_it_fits_a_phone_and_the_dark(page: Browser) -> None:
    page.wait("document.querySelectorAll('#latency .u-over').length === 4")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.prefer(prefers_color_scheme="dark")
    page.wait(f"getComputedStyle(document.body).backgroundColor !== {light!r}")
    shot(page, "dark")
    page.resize(360, 780, phone=True)
    page.wait("document.documentElement.scrollWidth <= 360")
    shot(page, "phone")
    # What scrolls by itself may be wider.
    wide = (
        "[...document.querySelectorAll('body *:not(.scroll *)')]"
        ".filter((each) => each.getBoundingClientRect().right > 360.5).map((each) => each.outerHTML.slice(0, 200))"
    )
    assert page.evaluate(wide) == []
    small = (
        "[...document.querySelectorAll('button, .ranges span')]"
        ".filter((each) => each.offsetParent && each.offsetHeight < 36).map((each) => each.outerHTML)"
    )
    assert page.evaluate(small) == []
    assert page.complaints == []


def test_code_that_somebody_wrote_into_the_page_does_not_run(page: Browser) -> None:
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))")
    page.evaluate("fetch('http://127.0.0.2:1/').catch(() => null)")
    page.wait("true")
    assert page.evaluate("window.ran") is None
    said = "\n".join(page.complaints)
    assert "Executing inline script violates the following Content Security Policy directive" in said
    assert "Refused to connect because it violates the document's Content Security Policy" in said


def test_a_token_is_asked_for_once(
    chromium: Browser, database: Cluster, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    guarded = Monitor(tmp_path / "guarded", database, token=TOKEN)
    request.addfinalizer(guarded.kill)
    guarded.start()
    chromium.open(guarded.url)
    chromium.wait("document.activeElement.id === 'token'")
    assert chromium.evaluate("document.querySelector('#content').hidden")
    chromium.type("another-token")
    chromium.press("Enter")
    chromium.wait(f"{text('#token-problem')} === 'The monitor does not take this token.'")
    chromium.type(TOKEN)
    chromium.press("Enter")
    chromium.wait(LIVES)
    assert chromium.evaluate("document.querySelector('#token-form').hidden")
    chromium.call("Page.reload")
    chromium.wait(LIVES)
    assert TOKEN not in chromium.evaluate("document.documentElement.outerHTML + location.href + document.cookie")
    assert not any(TOKEN in each for each in chromium.requests)
