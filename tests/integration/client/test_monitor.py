# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The monitor beside a real application on the session client: its figures over the port, an outage that only it has,
and a process that hangs.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from baileys_resilience.health.monitor.configuration import ClientSettings
from baileys_resilience.postgres import ConnectParams
from lab import Lab, ports
from tests.support.monitored import Monitored, monitored, quick_settings

TOKEN = "0123456789abcdef-token"


@pytest.fixture(scope="module")
def port(lab: Lab) -> Iterator[int]:
    """The client's port beside its socket, for as long as the tests of this file run."""
    app, number = lab.need_app(), ports.reserve()
    env_file = Path(app.env_file)
    before = env_file.read_text("utf-8")
    env_file.write_text(f"{before}\nWA_SESSION_ADMIN_PORT={number}\nWA_SESSION_ADMIN_TOKEN={TOKEN}\n", "utf-8")
    lab.pm2("restart", app.pm2_name)
    lab.wait_open()
    try:
        yield number
    finally:
        env_file.write_text(before, "utf-8")
        lab.pm2("restart", app.pm2_name)
        lab.wait_open()


@pytest.fixture
def running(lab: Lab, port: int, tmp_path: Path) -> Iterator[Monitored]:
    server = lab.need_postgres()
    direct = ConnectParams(server.host, server.direct_port, server.database, server.user, server.password)
    client = ClientSettings("app", port=port, token=TOKEN)
    with monitored(quick_settings(direct, tmp_path / "state", clients=(client,))) as made:
        made.wait_until_well()
        made.wait(lambda: "client app" in made.published.figures, "the client was looked at")
        made.wait_until_well()
        yield made


def test_the_figures_of_the_client_are_read_over_its_port(running: Monitored) -> None:
    figure = running.published.figures["client app"][1]
    assert figure.answers
    assert (figure.pool.max, figure.pool.waiting) == (10, 0)
    assert figure.slow_total is not None
    assert figure.cached == {}, "no outage yet, so no age of a cache"
    assert sum(buckets[-1][1] for buckets in figure.times.values()) > 0, "it has loaded its sessions"
    assert running.states()["client app: cache"].strip() == "OK"


def test_an_outage_that_only_the_application_has_is_told_and_its_end(lab: Lab, running: Monitored) -> None:
    lab.proxy_mode("reset")
    try:
        running.wait_until_told("alert cache_in_use")
        assert "962301" in running.kept.told[0].text
    finally:
        lab.proxy_mode("pass")
    running.wait_until_told("alert cache_in_use", "recovery cache_in_use")
    lab.wait_open()


def test_an_application_that_hangs_is_told_and_its_end(lab: Lab, running: Monitored) -> None:
    pid = int(lab.pm2("pid", lab.need_app().pm2_name).split()[-1])
    os.kill(pid, signal.SIGSTOP)
    try:
        running.wait_until_told("alert client_hangs")
    finally:
        os.kill(pid, signal.SIGCONT)
    running.wait_until_told("alert client_hangs", "recovery client_hangs")


def test_an_application_that_was_stopped_is_unknown_not_hanging(lab: Lab, running: Monitored) -> None:
    name = lab.need_app().pm2_name
    lab.pm2("stop", name)
    try:
        running.wait(lambda: not running.published.figures["client app"][1].answers, "it does not answer")
        running.wait_for_looks(10)
        assert running.kept.kinds == []
    finally:
        lab.pm2("start", name)
        lab.wait_open()
