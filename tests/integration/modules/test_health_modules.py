# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The three health modules through the real ansible-playbook: results, fail_on, check mode, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.databases import Database
from tests.support.playbooks import Ansible, Unsafe, login, task
from tests.support.synthetic import make_companies

LATENCY, POOL, KEYS = "query_latency_info", "connection_pool_info", "expired_key_info"
MODULES = (LATENCY, POOL, KEYS)
PATIENT = {"query_ms": 60000, "connect_ms": 60000}


def causes(result: dict[str, Any]) -> dict[str, str]:
    return {each["figure"]: each["cause"] for each in result["findings"] if each["status"] != "ok"}


def test_a_healthy_database_in_both_modes_is_left_as_it_is(
    ansible: Ansible, database: Database, tmp_path: Path
) -> None:
    database.fill(*make_companies(2))
    before = database.everything(versions=True)
    options: dict[str, dict[str, Any]] = {
        LATENCY: {"samples": 3, "thresholds": {"query_ms": 60000, "connect_ms": 60000}},
        POOL: {"fail_on": "critical"},
        KEYS: {"state_dir": str(tmp_path / "state"), "fail_on": "warning"},
    }
    tasks = [
        task(name, check=check, **login(database.params, **options[name]))
        for name in MODULES
        for check in (True, False)
    ]
    results = ansible.play(tasks).results
    for result, module in zip(results, [name for name in MODULES for _check in (True, False)], strict=True):
        assert not result.get("failed"), result
        assert result["changed"] is False
        assert result["status"] == ("unknown" if module == POOL else "ok"), result["msg"]
        assert result["source"] == database.params.where
        assert database.params.password not in json.dumps(result)
    latency, pool, keys = results[1], results[3], results[5]
    assert latency["thresholds"] == PATIENT
    assert {name: each["samples"] for name, each in latency["operations"].items()} == {
        "connect": 3,
        "read": 3,
        "write": 3,
    }
    assert {each["method"] for each in latency["operations"].values()} == {"nearest-rank"}
    assert latency["client_operations"] is None
    assert pool["advice"] == [f'GRANT pg_monitor TO "{database.params.user}";']
    assert (pool["server"]["by_state"], pool["server"]["used"] >= 1, pool["client"], pool["pgbouncer"]) == (
        None,
        True,
        None,
        None,
    )
    companies = make_companies(2)
    assert keys["key_count"] == sum(len(each.keys) for each in companies)
    assert set(keys["companies"]) == {each.id for each in companies}
    assert keys["policy"]["tctoken"]["counted"] is True
    assert keys["growth"] is None
    assert database.everything(versions=True) == before


def test_fail_on_fails_with_the_same_results(ansible: Ansible, database: Database) -> None:
    good = login(database.params)
    dead = {**good, "login_port": 1}
    levels = ("never", "warning", "unknown", "critical")
    slow = [
        task(LATENCY, **good, samples=1, thresholds={"query_ms": 0, "connect_ms": 0}, fail_on=each) for each in levels
    ]
    blind = [task(POOL, **good, fail_on=each) for each in levels]
    down = [task(KEYS, **dead, fail_on=each) for each in levels]
    results = ansible.play([*slow, *blind, *down]).results
    failed = [bool(each.get("failed")) for each in results]
    assert failed == [False, True, False, False, False, True, True, False, False, True, True, True]
    assert [each["status"] for each in results] == ["warning"] * 4 + ["unknown"] * 4 + ["critical"] * 4
    for each in results[1:4]:
        assert causes(each).keys() == causes(results[0]).keys()
        assert each["operations"]["read"]["samples"] == 1
    assert results[1]["msg"].startswith("status warning: connect: P95 is")
    assert "HINT: look whether the network or the server is slow" in results[1]["msg"]
    critical = results[-1]
    assert (critical["key_count"], critical["companies"], critical["policy"]) == (None, None, None)
    assert "check that PostgreSQL runs" in critical["advice"][0]


def test_a_database_that_does_not_serve_is_a_result(ansible: Ansible, database: Database) -> None:
    good = login(database.params)
    database.run("DROP TABLE whatsapp_auth, whatsapp_keys")
    wrong = {**good, "login_password": Unsafe("wrong")}
    tasks = [task(name, **wrong) for name in MODULES] + [task(name, **good) for name in (LATENCY, KEYS)]
    results = ansible.play(tasks).results
    assert [(each.get("failed", False), each["status"]) for each in results] == [(False, "critical")] * 5
    assert all("check login_user and login_password" in each["msg"] for each in results[:3])
    assert all("session_tables" in each["msg"] for each in results[3:])


def test_what_cannot_be_meant_fails_with_its_name_and_hint(ansible: Ansible, database: Database) -> None:
    good = login(database.params)
    bad: list[tuple[str, dict[str, Any], str, str]] = [
        (LATENCY, {"samples": 0}, "read samples: 0 is out of range", "set it to 1 or more"),
        (LATENCY, {"deadline": 9, "total_deadline": 3}, "total_deadline: 3 is out of range", "between 9 and"),
        (LATENCY, {"thresholds": {"query_ms": -1}}, "thresholds.query_ms: -1 is out of range", "0 or more"),
        (POOL, {"thresholds": {"used_percent": 101}}, "used_percent: 101 is out of range", "between 0 and 100"),
        (POOL, {"deadline": 0}, "deadline: 0 is out of range", "between 0.1 and"),
        (POOL, {"pgbouncer_dsn": "port=s3cret"}, "is no connection string", "host=127.0.0.1 port=6432"),
        (KEYS, {"companies": []}, "the list is empty", "name at least one company"),
        (KEYS, {"older_than": -1}, "older_than: -1 is out of range", "between 0 and"),
        (
            KEYS,
            {"previous": {"snapshot_at": "2999-01-01T00:00:00Z", "key_count": 0, "total_bytes": 0}},
            "is not before this run",
            "an earlier run of this module",
        ),
        *(
            (name, {"connect_params": {"password": "x"}}, "must not be in connect_params", "passfile")
            for name in MODULES
        ),
    ]
    results = ansible.play([task(name, **{**good, **options}) for name, options, _says, _hint in bad]).results
    for (name, _options, says, hint), result in zip(bad, results, strict=True):
        assert result["failed"], name
        assert says in result["msg"], result["msg"]
        assert hint in result["msg"].partition("HINT: ")[2], result["msg"]
        assert result["error"]["error"] == "usage"
        assert "s3cret" not in result["msg"]


def test_a_wrong_fail_on_is_refused(ansible: Ansible, database: Database) -> None:
    results = ansible.play([task(name, **login(database.params), fail_on="sometimes") for name in MODULES]).results
    for result in results:
        assert result["failed"]
        assert "value of fail_on must be one of: never, warning, unknown, critical, got: sometimes" in result["msg"]


def test_a_socket_that_is_not_there_is_unknown_and_says_how_to_find_it(
    ansible: Ansible, database: Database, tmp_path: Path
) -> None:
    good = login(database.params, client_dir=str(tmp_path / "nowhere"))
    latency, pool = ansible.play([task(LATENCY, **good, samples=1, thresholds=PATIENT), task(POOL, **good)]).results
    assert (latency["status"], pool["status"]) == ("unknown", "unknown")
    assert "the client does not answer" in causes(latency)["client queries"]
    assert "the client does not answer" in causes(pool)["client pool"]
    assert any("is client_dir the directory of its client" in each for each in pool["advice"])
    assert pool["client"] is None


def test_defaults_of_the_group_reach_all_three(ansible: Ansible, database: Database, tmp_path: Path) -> None:
    shared = login(database.params, session_tables={"keys": {"table": "public.whatsapp_keys"}})
    database.fill(*make_companies(1))
    play = {
        "module_defaults": {"group/baileys.resilience.resilience": shared},
        "tasks": [{"name": name, f"baileys.resilience.{name}": {"fail_on": "critical"}} for name in MODULES],
    }
    done = ansible.playbook([play])
    assert done.returncode == 0, done.output
    other = {
        **play,
        "module_defaults": {"group/baileys.resilience.resilience": login(replace(database.params, port=1))},
    }
    assert ansible.playbook([other]).returncode != 0
