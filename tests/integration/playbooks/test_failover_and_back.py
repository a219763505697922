# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks, run as an operator runs them, against live sessions."""

from __future__ import annotations

import hashlib
import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import ansible_runner
import pytest

from baileys_resilience.failover.configuration import load_settings
from baileys_resilience.failover.operations import Operation
from lab import Lab, playbooks
from lab.inventory import HOST
from tests.integration.playbooks.conftest import Play, extra


def contents_of(*places: str) -> dict[str, str]:
    """Everything below the places: modes, links and digests of contents by path."""
    found = {}
    for place in places:
        for path in sorted([Path(place), *Path(place).rglob("*")]):
            # Those of SQLite come and go with its readers; the mirror itself is the file without these endings.
            if "node_modules" in path.parts or path.name.endswith(("-shm", "-wal")):
                continue
            content = b"" if path.is_dir() or path.is_symlink() else path.read_bytes()
            link = str(path.readlink()) if path.is_symlink() else ""
            found[str(path)] = f"{path.lstat().st_mode:o} {link} {hashlib.sha256(content).hexdigest()}"
    return found


def rows_of(lab: Lab) -> list[Any]:
    connection = lab.connect(direct=True)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT company_id, key_type, key_id, value::text FROM whatsapp_keys ORDER BY 1, 2, 3")
            return list(cursor.fetchall())
    finally:
        connection.close()


def everything(lab: Lab) -> dict[str, Any]:
    files = contents_of(lab.need_app().dir, lab.state_dir, lab.mirror_dir)
    return {**files, **{f"row {company} {kind} {key}": value for company, kind, key, value in rows_of(lab)}}


def nothing_changed(lab: Lab, before: dict[str, Any]) -> None:
    after = everything(lab)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert not changed, sorted(changed)[:10]


def stores(lab: Lab) -> set[str]:
    return {each["store"] for each in lab.wait_open()["companies"]}


def all_messages_arrive(lab: Lab, text: str) -> None:
    for company in lab.companies:
        assert lab.message(company.id, text) == "delivered"
        assert lab.message(company.id, f"{text} in the group", group=company.group) == "delivered"


def last_error(played: playbooks.Played) -> str:
    return " ".join(played.output.rpartition("fatal: ")[2].split())


def told(lab: Lab, run: str) -> list[tuple[str, str]]:
    """(outcome that Sentry was told, first line that Telegram was told) of one run, one each an end."""
    receivers = lab.need_receivers()
    sentry = [json.loads(line) for line in Path(receivers.sentry_log).read_text("utf-8").splitlines()]
    telegram = [json.loads(line) for line in Path(receivers.telegram_log).read_text("utf-8").splitlines()]
    events = [each["payload"]["tags"]["outcome"] for each in sentry if run in str(each.get("payload"))]
    messages = [each["text"].splitlines()[0] for each in telegram if run in each.get("text", "")]
    return list(zip(events, messages, strict=True))


def test_check_mode_prints_the_plan_and_changes_nothing(live: Lab, play: Play) -> None:
    before = everything(live)
    played = play("emergency_failover", "--check", "--diff")
    assert played.returncode == 0, played.output
    assert played.recap["changed"] == 0
    for part in (
        "failover of 2 companies to files",
        "source primary",
        "source mirror",
        "source backup: not there",
        "company 962301: 1",
        "expected:",
    ):
        assert part in played.output
    assert "BLOCKED" not in played.output
    nothing_changed(live, before)
    assert not playbooks.report_files(live)


def test_check_mode_lists_all_that_would_stop_the_run_and_still_prints_the_whole_plan(live: Lab, play: Play) -> None:
    before = everything(live)
    wrong = {"failover_service_name": "other", "failover_load_check_node": "/nowhere/node", "failover_login_port": 1}
    played = play("emergency_failover", "--check", *extra(**wrong, failover_mirror_dir="", failover_client_dir=""))
    assert played.returncode == 0, played.output
    for part in ("PM2 knows no process", "Node.js is not found", "no source answers", "expected:"):
        assert part in played.output
    assert played.output.count("BLOCKED: ") == 3
    nothing_changed(live, before)


@pytest.mark.parametrize("confirm", ["", "another-host"])
def test_a_run_that_is_not_confirmed_is_refused_and_changes_nothing(live: Lab, play: Play, confirm: str) -> None:
    before = everything(live)
    played = play("emergency_failover", *extra(failover_confirm=confirm))
    assert played.returncode != 0
    assert f"failover_confirm={HOST}" in " ".join(played.output.split())
    nothing_changed(live, before)


def test_a_wrong_variable_is_named_before_anything_is_touched(live: Lab, play: Play) -> None:
    before = everything(live)
    played = play("emergency_failover", *extra(failover_newer_rows="maybe"))
    assert played.returncode != 0
    assert "failover_newer_rows" in played.output
    nothing_changed(live, before)


def test_failover_with_a_dead_database_and_failback_each_once(live: Lab, play: Play) -> None:
    all_messages_arrive(live, "before")
    assert playbooks.command(live, "mirror", "once").returncode == 0
    live.break_("postgres-kill")
    over = play("emergency_failover", *extra())
    assert over.returncode == 0, over.output
    assert stores(live) == {"files"}
    all_messages_arrive(live, "on files")
    _check_reports(live, over, "failover")
    again = play("emergency_failover", *extra())
    assert (again.returncode, again.recap["changed"]) == (0, 0), again.output
    assert "company 962301 on files since 2" in " ".join(again.output.split())
    live.heal()
    back = play("failback", *extra())
    assert back.returncode == 0, back.output
    assert stores(live) == {"postgres"}
    all_messages_arrive(live, "back")
    _check_reports(live, back, "failback")
    again = play("failback", *extra())
    assert (again.returncode, again.recap["changed"]) == (0, 0), again.output


def _check_reports(lab: Lab, played: playbooks.Played, operation: str) -> None:
    report = played.reports[-1]
    assert (report["operation"], report["outcome"]) == (operation, "done")
    assert all(entry["connected"] for entry in report["companies"].values())
    for kind in ("json", "md"):
        path = lab.path / "reports" / f"{HOST}-{report['run']}.{kind}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert lab.need_postgres().password not in path.read_text("utf-8")
    on_host = json.loads((Path(lab.state_dir) / "runs" / report["run"] / "report.json").read_text("utf-8"))
    assert on_host == report


def test_reports_that_cannot_be_written_on_the_controller_stop_nothing(live: Lab, play: Play, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, store in (("emergency_failover", "files"), ("failback", "postgres")):
        played = play(name, *extra(failover_report_dir=str(tmp_path / "file" / "reports")))
        assert played.returncode == 0, played.output
        assert "the report was not written on the controller" in " ".join(played.output.split())
        assert (stores(live), played.reports) == ({store}, [])
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_code_that_does_not_start_is_taken_back_and_the_old_code_runs_again(live: Lab, play: Play) -> None:
    entry = Path(f"{live.need_app().dir}-files") / "src" / "index.js"
    good = entry.read_text("utf-8")
    env_before = Path(live.need_app().env_file).read_bytes()
    entry.write_text("process.exit(1);\n", "utf-8")
    try:
        played = play("emergency_failover", *extra(failover_health_deadline=3))
    finally:
        entry.write_text(good, "utf-8")
    assert played.returncode != 0
    assert last_error(played).count("Everything was taken back, the sessions run as before") == 1
    report = played.reports[-1]
    assert report["outcome"] == "undone"
    ((outcome, message),) = told(live, report["run"])
    assert (outcome, "undone, everything is as before" in message) == ("undone", True)
    assert stores(live) == {"postgres"}
    assert Path(live.need_app().env_file).read_bytes() == env_before
    assert not Path(live.need_app().dir).is_symlink()
    all_messages_arrive(live, "after the undo")


def test_one_company_without_a_whole_source_fails_the_run_and_leaves_the_others_well(live: Lab, play: Play) -> None:
    good, bad = (company.id for company in live.companies)
    live.break_("creds-corrupt", company=bad)
    whom = {"failover_contacts": [{"name": "Database desk", "reach": "+49 30 123456", "when": "day and night"}]}
    played = play("emergency_failover", *extra(failover_mirror_dir="", failover_client_dir=""), "-e", json.dumps(whom))
    live.heal()
    assert played.returncode != 0
    assert "Database desk: +49 30 123456; day and night" in played.output
    assert last_error(played).count(f"not connected: {bad}. HINT: see the report") == 1
    report = played.reports[-1]
    assert report["outcome"] == "partial"
    assert {name for name, entry in report["companies"].items() if entry["connected"]} == {good}
    assert live.message(good, "still well") == "delivered"


def test_past_the_point_of_no_return_the_run_is_completed_by_resume(live: Lab, play: Play) -> None:
    """The report cannot be written, when the sessions are connected already."""
    obstacle = Path(live.state_dir) / "timings-files.json"
    obstacle.unlink(missing_ok=True)
    obstacle.mkdir()
    try:
        played = play("emergency_failover", *extra())
    finally:
        obstacle.rmdir()
    assert played.returncode != 0
    said = " ".join(played.output.split())
    assert "It was not taken back" in said
    assert "failover_open_run=resume" in said
    assert stores(live) == {"files"}
    left = played.reports[-1]
    assert (left["outcome"], [each["ok"] for each in left["notified"]]) == ("open", [True, True])
    resumed = play("emergency_failover", *extra(failover_open_run="resume"))
    assert resumed.returncode == 0, resumed.output
    assert resumed.reports[-1]["outcome"] == "done"
    assert [outcome for outcome, _message in told(live, left["run"])] == ["open", "done"]
    all_messages_arrive(live, "after the resume")


def test_a_resume_that_takes_everything_back_says_so_once(live: Lab, play: Play) -> None:
    """It was cut off before the stop; meanwhile somebody broke the code that runs from files."""
    settings = load_settings(live.path / "failover.json")
    given = replace(settings.policy, confirm="all", cooldown_seconds=0, operator="cut off")
    run = Operation(replace(settings, policy=given), "failover").begin().run
    entry = Path(f"{live.need_app().dir}-files") / "src" / "index.js"
    good = entry.read_text("utf-8")
    entry.write_text("process.exit(1);\n", "utf-8")
    try:
        played = play("emergency_failover", *extra(failover_health_deadline=3, failover_open_run="resume"))
    finally:
        entry.write_text(good, "utf-8")
    assert played.returncode != 0
    assert last_error(played).count("Everything was taken back, the sessions run as before") == 1
    assert "It was not taken back" not in last_error(played)
    assert (played.reports[-1]["run"], played.reports[-1]["outcome"]) == (run, "undone")
    assert [outcome for outcome, _message in told(live, run)] == ["undone"]
    assert stores(live) == {"postgres"}


def test_awx_gets_the_report_as_an_artifact(live: Lab, play: Play, tmp_path: Path) -> None:
    """ansible-runner is the engine of AWX; what set_stats says becomes the artifacts of the job."""
    env = {n: v for n, v in playbooks.environment(live).items() if n.startswith("ANSIBLE_") or n == "PATH"}
    run = ansible_runner.run(
        private_data_dir=str(tmp_path),
        inventory=str(live.path / "inventory.yml"),
        playbook="baileys.resilience.emergency_failover",
        extravars={"failover_confirm": HOST, "failover_cooldown": 0, "awx_user_name": "night-operator"},
        envvars={**env, "PWD": str(tmp_path)},
        quiet=True,
        timeout=120,
    )
    assert run.status == "successful", run.stdout.read()
    artifacts = [
        event["event_data"].get("artifact_data") for event in run.events if event["event"] == "playbook_on_stats"
    ]
    report = artifacts[-1]["baileys_resilience_reports"][HOST]
    assert (report["outcome"], report["operator"]) == ("done", "night-operator")


@pytest.mark.slow
def test_preparing_again_changes_nothing_and_the_mirror_can_run_by_cron(live: Lab, play: Play, tmp_path: Path) -> None:
    again = play("failover_prepare")
    assert (again.returncode, again.recap["changed"]) == (0, 0), again.output
    cron = extra(failover_scheduler="cron", failover_cron_dir=tmp_path, failover_prepare_schedule="04:15")
    for name in ("mirror", "failover_prepare"):
        made, same = play(name, *cron), play(name, *cron)
        assert made.recap["changed"] > 0, made.output
        assert same.recap["changed"] == 0, same.output
    jobs = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    assert set(jobs) == {"baileys-resilience-mirror", "baileys-resilience-check"}
    assert "* * * * * root flock" in jobs["baileys-resilience-mirror"]
    assert '0,15,30,45 * * * * root test "$(date -u +\\%H:\\%M)" = "04:15" && ' in jobs["baileys-resilience-check"]
    assert jobs["baileys-resilience-check"].endswith(" check --notify\n")
    config = live.path / "failover.json"
    kept = config.read_bytes()
    gone = play("mirror", *cron, "-e", "failover_state=absent")
    assert gone.returncode == 0, gone.output
    assert list(tmp_path.iterdir()) == []
    assert not config.exists()
    config.write_bytes(kept)
    config.chmod(0o600)


def administer(lab: Lab, statement: str) -> list[Any]:
    server = lab.need_postgres()
    connection = lab.connect(superuser=True, direct=True, database=server.database)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement.format(database=server.database, user=server.user))
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


def test_the_mirror_reads_the_change_log_once_it_is_asked_for(live: Lab, play: Play, tmp_path: Path) -> None:
    cron = extra(failover_scheduler="cron", failover_cron_dir=tmp_path, failover_mirror_change_log="true")
    made, same = play("mirror", *cron), play("mirror", *cron)
    assert (made.returncode, made.recap["changed"] > 0) == (0, True), made.output
    assert (same.returncode, same.recap["changed"]) == (0, 0), same.output
    assert "--change-log" in (tmp_path / "baileys-resilience-mirror").read_text("utf-8")
    triggers = administer(live, "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'baileys_resilience_log_%'")
    assert triggers == [(4,)]
    assert playbooks.command(live, "mirror", "once", "--change-log").returncode == 0
    once = playbooks.command(live, "mirror", "once", "--change-log")
    assert "note" not in once.stdout, once.stdout
    plain = play("mirror", *extra(failover_scheduler="cron", failover_cron_dir=tmp_path))
    assert plain.returncode == 0, plain.output
    assert "--change-log" not in (tmp_path / "baileys-resilience-mirror").read_text("utf-8")


def test_a_user_that_may_make_no_schema_leaves_a_host_prepared_and_is_told(
    live: Lab, play: Play, tmp_path: Path
) -> None:
    administer(live, "DROP SCHEMA IF EXISTS baileys_resilience CASCADE")
    owner = administer(live, "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{database}'")[0][0]
    administer(
        live, 'ALTER DATABASE "{database}" OWNER TO CURRENT_USER; REVOKE CREATE ON DATABASE "{database}" FROM "{user}"'
    )
    cron = extra(failover_scheduler="cron", failover_cron_dir=tmp_path)
    try:
        prepared = play("failover_prepare", *cron)
        assert prepared.returncode == 0, prepared.output
        assert "DEGRADED: the store of record has no copy in PostgreSQL: permission denied" in prepared.output
        planned = playbooks.command(live, "failover", "plan")
        assert "degraded: the published store of record was not read" in planned.stdout
        refused = play("mirror", *cron, "-e", "failover_mirror_change_log=true")
        assert refused.returncode != 0
        assert "permission denied" in refused.output
    finally:
        administer(
            live,
            f'ALTER DATABASE "{{database}}" OWNER TO "{owner}"; GRANT CREATE ON DATABASE "{{database}}" TO "{{user}}"',
        )
    assert "DEGRADED" not in play("failover_prepare", *cron).output
    assert administer(live, "SELECT to_regclass('baileys_resilience.stores') IS NOT NULL") == [(True,)]
