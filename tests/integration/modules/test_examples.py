# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The EXAMPLES of every module run as they are documented, with names, addresses and paths of a lab put in."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import Lab
from tests.support.databases import Database
from tests.support.playbooks import PREFIX, Ansible, Unsafe, login
from tests.support.synthetic import make_companies

ROOT = Path(__file__).resolve().parents[3]
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py") if path.stem != "__init__")


def examples(module: str) -> list[dict[str, Any]]:
    source = ast.parse((ROOT / "plugins" / "modules" / f"{module}.py").read_text(encoding="utf-8"))
    for node in source.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "EXAMPLES":
            tasks: list[dict[str, Any]] = yaml.safe_load(ast.literal_eval(node.value))
            return tasks
    raise AssertionError(f"{module} has no EXAMPLES")


def with_lab(tasks: list[dict[str, Any]], lab_values: dict[str, Any], root: Path) -> list[dict[str, Any]]:
    """Replace the values of options that a lab knows better, and move absolute paths below `root`. Options that an
    example does not use are not added.
    """
    made = []
    for each in tasks:
        task = dict(each)
        for name, options in each.items():
            if name.startswith(PREFIX):
                task[name] = {option: _value(option, value, lab_values, root) for option, value in options.items()}
                if "login_host" in options:
                    # Examples speak of the usual port, and of a server with TLS.
                    task[name].update(login_port=lab_values["login_port"], ssl_mode="disable")
                task[name].pop("ca_cert", None)
        made.append(task)
    return made


def _value(option: str, value: Any, lab_values: dict[str, Any], root: Path) -> Any:
    if option in lab_values:
        return lab_values[option]
    if isinstance(value, str) and value.startswith("/"):
        return f"{root}{value}"
    return value


@pytest.fixture
def lab_values(database: Database) -> dict[str, Any]:
    """A database with two companies. The owners that examples name do not exist here."""
    database.fill(*make_companies(2))
    return {**login(database.params), "owner": None, "group": None, "login_password": "{{ db_password }}"}


def run(ansible: Ansible, tasks: list[dict[str, Any]], password: str) -> list[dict[str, Any]]:
    played = ansible.play(tasks, variables={"db_password": Unsafe(password)})
    for task, result in zip(tasks, played.results, strict=True):
        assert not result.get("failed"), f"{task['name']}: {result}"
    return played.results


@pytest.mark.parametrize("module", [each for each in MODULES if each != "session_failover"])
def test_examples_run(
    ansible: Ansible, database: Database, lab_values: dict[str, Any], tmp_path: Path, module: str
) -> None:
    tasks = with_lab(examples(module), lab_values, tmp_path)
    # What reads files needs files, and what is looked at must be there.
    first = with_lab(examples("session_export")[:1], lab_values, tmp_path)
    results = run(ansible, [*first, *tasks], database.params.password)[1:]
    assert len(results) == len(tasks) >= 1


def test_every_example_names_its_task_and_uses_full_names() -> None:
    for module in MODULES:
        tasks = examples(module)
        assert all(task.get("name", "").strip() for task in tasks), module
        assert any(f"{PREFIX}{module}" in task for task in tasks), module


@pytest.fixture(scope="session")
def application_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab.up(tmp_path_factory.mktemp("labs") / "application", companies=["962301", "962302"])
    try:
        yield lab
    finally:
        lab.down()


def failover_values(lab: Lab) -> dict[str, Any]:
    server, app = lab.need_postgres(), lab.need_app()
    service = {"name": app.pm2_name, "pm2": [lab.node, app.pm2_bin], "pm2_home": app.pm2_home}
    health = {"url": app.health_url}
    return {
        "login_host": server.host,
        "login_port": server.proxy_port,
        "login_user": server.user,
        "login_db": server.database,
        "ssl_mode": "disable",
        "sessions_dir": app.sessions_dir,
        "state_dir": lab.state_dir,
        "mirror_dir": lab.mirror_dir,
        "application": {"dir": app.dir, "env_file": app.env_file, "service": service, "health": health},
        "code": {"source": "archive", "install": [lab.node, lab.npm_cli, "ci", "--omit=dev", "--prefer-offline"]},
        "load_check": {"node": lab.node, "script": str(ROOT / "roles" / "toolkit" / "files" / "load_check.mjs")},
        "cooldown": 0,
    }


def test_examples_of_failover_run_and_then_check_apply_check_apply(
    ansible: Ansible, application_lab: Lab, tmp_path: Path
) -> None:
    lab = application_lab
    known = failover_values(lab)
    module = f"{PREFIX}session_failover"
    tasks = examples("session_failover")
    for task in tasks:
        if module in task:
            # These are needed beside what the example shows: a port, a state directory, code to switch to.
            task[module] = {**task[module], **known}
    settings = {**tasks[0][module], "confirm": "app1"}

    def step(name: str, operation: str = "failover", *, check: bool = False) -> dict[str, Any]:
        options = {**settings, "step": name, "operation": operation}
        return {"name": name, module: options, "check_mode": check, "diff": True}

    password = lab.need_postgres().password
    unchanged = [step("run", check=True), *tasks[:3]]
    preparing = [step("prepare", check=check) for check in (True, False, True, False)]
    *prepared, foretold, plan, _shown, status = run(ansible, [*preparing, *unchanged], password)
    assert [each["changed"] for each in prepared] == [True, True, False, False]
    assert foretold["diff"] == moved("postgres", "files")
    assert (foretold["changed"], plan["changed"], foretold["nothing_to_do"]) == (True, False, False)
    assert {entry["store"] for entry in status["stores"].values()} == {"postgres"}, "check mode moved something"
    assert lab.health()["store"] == "postgres"

    done, checked, repeated = run(ansible, [tasks[3], step("run", check=True), step("run")], password)
    assert [each["changed"] for each in (done, checked, repeated)] == [True, False, False]
    assert checked["diff"] == repeated["diff"] == {"before": "", "after": ""}
    assert done["report"]["outcome"] == "done"
    assert done["markdown"]
    assert {entry["store"] for entry in done["stores"].values()} == {"files"}
    assert "since" in repeated["msg"]
    assert lab.message("962301", "after the failover") == "delivered"

    back = [step("run", "failback", check=check) for check in (True, False, True, False)]
    results = run(ansible, back, password)
    assert [each["changed"] for each in results] == [True, True, False, False]
    nothing = {"before": "", "after": ""}
    assert [each["diff"] for each in results] == [moved("files", "postgres")] * 2 + [nothing] * 2
    assert lab.message("962302", "after the failback") == "delivered"


def moved(before: str, after: str) -> dict[str, str]:
    """The diff of two companies that move from one store to the other."""
    stores = (("before", before), ("after", after))
    return {name: "".join(f"company {each}: {store}\n" for each in ("962301", "962302")) for name, store in stores}


JID = "4917612345678:7@s.whatsapp.net"


def settings_of(lab: Lab, **options: Any) -> dict[str, Any]:
    password = Unsafe(lab.need_postgres().password)
    given = {"host": "app1", "companies": ["962301", "962302"], "login_password": password, "confirm": "app1"}
    return {**failover_values(lab), **given, **options}


def test_a_run_that_is_taken_back_fails_with_that_sentence_and_its_report_and_names_nobody(
    ansible: Ansible, application_lab: Lab
) -> None:
    """What the application calls its last error is in the error, the report and the step's result."""
    lab = application_lab
    companies = [{"company_id": each, "connection": "close", "last_error": f"no key of {JID}"} for each in ("962301",)]
    health = {"kind": "command", "command": ["echo", json.dumps({"companies": companies})], "deadline_seconds": 0.5}
    application = {**failover_values(lab)["application"], "health": health}
    module = f"{PREFIX}session_failover"
    prepare = {"name": "prepare", module: settings_of(lab, step="prepare")}
    run_it = {"name": "run", module: settings_of(lab, step="run", application=application)}
    ansible.play([prepare])
    index = Path(f"{lab.need_app().dir}-files", "src", "index.js")
    working = index.read_bytes()
    index.write_bytes(b"setInterval(() => {}, 1000);\n")
    failed = ansible.play([run_it]).results[0]
    index.write_bytes(working)
    assert failed["failed"]
    assert "no session connected within 0.5 s (company 962301: no key of #" in failed["msg"]
    assert "Everything was taken back, the sessions run as before. HINT: see the application's log" in failed["msg"]
    assert failed["report"]["outcome"] == "undone"
    assert failed["markdown"].startswith("# failover on app1 undone, everything is as before")
    told = {name: value for name, value in failed.items() if name != "invocation"}
    assert JID.partition(":")[0] not in json.dumps(told)
    assert {each["store"] for each in lab.wait_open()["companies"]} == {"postgres"}


def test_a_run_that_is_done_in_part_fails_and_returns_its_results(ansible: Ansible, application_lab: Lab) -> None:
    lab = application_lab
    module = f"{PREFIX}session_failover"
    run_it = {"name": "run", module: settings_of(lab, step="run", mirror_dir=None)}
    lab.break_("creds-corrupt", company="962302")
    failed = ansible.play([run_it]).results[0]
    lab.heal()
    assert failed["failed"]
    assert "not connected: 962302. HINT: see the report for the reason of each" in failed["msg"]
    assert (failed["error"]["exit_code"], failed["changed"]) == (11, True)
    assert failed["report"]["outcome"] == "partial"
    moved = failed["report"]["companies"]["962301"]
    assert sum(moved["counts"].values()) == moved["keys"] > 1000
    assert (moved["source"], moved["age_seconds"], len(moved["manifest_sha256"])) == ("primary", 0.0, 64)
    assert moved["lsn"]
    assert {name: entry["store"] for name, entry in failed["stores"].items()} == {
        "962301": "files",
        "962302": "postgres",
    }
    back = ansible.play([{"name": "back", module: settings_of(lab, step="run", operation="failback")}]).results[0]
    assert back["report"]["outcome"] == "done"
    assert sum(back["report"]["companies"]["962301"]["counts"].values()) == moved["keys"]
    assert lab.message("962302", "after it was healed") == "delivered"


def test_a_failover_that_is_not_confirmed_or_not_described_changes_nothing(
    ansible: Ansible, application_lab: Lab
) -> None:
    lab = application_lab
    module = f"{PREFIX}session_failover"
    password = Unsafe(lab.need_postgres().password)
    good = {**failover_values(lab), "host": "app1", "companies": ["962301", "962302"], "login_password": password}
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({**good, "step": "run", "confirm": "app2"}, "this is not confirmed", "pass failover_confirm=app1"),
        ({**good, "companies": None}, "companies has to be set", "module_defaults"),
        ({**good, "other_hosts": {"app2": ["962301"]}}, "also on the list of app2", "one host only"),
        ({**good, "step": "stage"}, "no run is open", "begin one"),
        ({**good, "step": "undo"}, "no run is open", "begin one"),
    ]
    played = ansible.play([{"name": says, module: options} for options, says, _hint in wrong])
    for (_options, says, hint), result in zip(wrong, played.results, strict=True):
        assert result["failed"], says
        assert says in result["msg"], result["msg"]
        assert hint in result["msg"].partition("HINT: ")[2], result["msg"]
    assert {each["connection"] for each in lab.health()["companies"]} == {"open"}
