# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of a real session client, read from its admin socket while it works and after it was stopped."""

from __future__ import annotations

from pathlib import Path

from baileys_resilience.health.client_metrics import pool_of, queries_of, read_metrics
from baileys_resilience.postgres import ConnectParams
from lab import Lab
from tests.support.playbooks import Ansible, login, task


def database(lab: Lab) -> ConnectParams:
    server = lab.need_postgres()
    return ConnectParams(server.host, server.direct_port, server.database, server.user, server.password)


def test_pool_and_times_of_the_running_client(lab: Lab, ansible_env: dict[str, str], tmp_path: Path) -> None:
    assert lab.message("962301", "something to write") == "delivered"
    samples = read_metrics(lab.client_dir, seconds=5)
    pool = pool_of(samples)
    assert pool is not None
    assert (pool.max, pool.waiting) == (10, 0)
    assert pool.idle + pool.active <= pool.max
    times = queries_of(samples)
    assert times
    assert all(each.samples > 0 and each.p50_ms is not None for each in times.values()), times

    options = login(database(lab), client_dir=lab.client_dir)
    ansible = Ansible(ansible_env, tmp_path)
    seen, latency = ansible.play(
        [task("connection_pool_info", **options), task("query_latency_info", **options, samples=1)]
    ).results
    assert seen["client"]["max"] == 10
    figures = {each["figure"]: each["status"] for each in seen["findings"]}
    assert figures["client pool"] == "ok"
    assert set(latency["client_operations"]) >= set(times)
    assert {each["method"] for each in latency["client_operations"].values()} == {"interpolated in buckets"}

    lab.pm2("stop", lab.need_app().pm2_name)
    try:
        stopped = ansible.play([task("connection_pool_info", **options)]).results[0]
    finally:
        lab.pm2("start", lab.need_app().pm2_name)
        lab.wait_open()
    assert (stopped["client"], stopped["status"]) == (None, "unknown")
    assert any("is the application running" in each for each in stopped["advice"])
