# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command baileys-resilience: exit codes, --json, and a configuration that is missing, open or broken."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience import cli
from baileys_resilience.sessions.record import StoreRecord
from baileys_resilience.steps.lease import HostLease, Lease

PASSWORD = "}X|o<7n?0 '$"


def content(tmp_path: Path, **overrides: Any) -> dict[str, Any]:
    app = tmp_path / "app"
    app.mkdir(exist_ok=True)
    (app / ".env").write_text("PORT=1\n")
    plain = {
        "host": "app1",
        "companies": ["962301"],
        "database": {"host": "127.0.0.1", "port": 1, "password": PASSWORD, "connect_timeout_seconds": 1},
        "sessions_dir": str(tmp_path / "sessions"),
        "state_dir": str(tmp_path / "state"),
        "application": {"dir": str(app)},
        "policy": {"operator": "test", "connect_seconds": 1},
    }
    return {**plain, **overrides}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "failover.json"
    path.write_text(json.dumps(content(tmp_path)))
    path.chmod(0o600)
    return path


Said = tuple[int, str, str]


@pytest.fixture
def command(config: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*words: str) -> Said:
        code = cli.main(["--config", str(config), *words])
        out, err = capsys.readouterr()
        assert PASSWORD not in out + err
        return code, out, err

    return run


def test_a_missing_configuration_says_what_makes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--config", str(tmp_path / "none.json"), "check"]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ERROR: read configuration")
    assert "HINT: run failover_prepare.yml" in err


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o666])
def test_a_configuration_that_others_may_read_is_refused(config: Path, command: Any, mode: int) -> None:
    config.chmod(mode)
    code, out, err = command("check")
    assert (code, out) == (3, "")
    assert "it holds passwords" in err
    assert f"chmod 0600 {config}" in err


BROKEN = ['{"host": ', '{"a": 1} x', "host: [app1", f"database: {{password: {PASSWORD}", "- a\n- b", "text", "", "17"]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_configuration_is_one_sentence_without_its_secrets(config: Path, command: Any, text: str) -> None:
    config.write_text(text)
    code, out, err = command("store", "show")
    assert (code, out) == (3, "")
    assert err.count("\n") == 1
    assert "cannot be read" in err
    assert "HINT: run failover_prepare.yml again" in err


def test_a_configuration_that_is_no_text_is_refused(config: Path, command: Any) -> None:
    config.write_bytes(b"\xff\xfe\x00")
    assert command("check")[0] == 3


def test_a_wrong_name_in_the_configuration_is_a_usage_error(config: Path, command: Any, tmp_path: Path) -> None:
    config.write_text(json.dumps(content(tmp_path, hots="x")))
    code, _out, err = command("check")
    assert code == 2
    assert "unknown name hots" in err


def test_a_configuration_in_yaml_is_read_too(config: Path, command: Any, tmp_path: Path) -> None:
    config.write_text("# made by hand\n" + json.dumps(content(tmp_path)))
    assert command("store", "show")[0] == 0


def test_errors_are_objects_on_stderr_with_json(command: Any) -> None:
    code, out, err = command("--json", "failover", "run")
    error = json.loads(err.splitlines()[-1])
    assert out == ""
    assert (code, error["exit_code"], error["error"]) == (2, 2, "usage")
    assert "failover_confirm=app1" in error["hint"]


def test_a_plan_that_is_blocked_ends_with_11_and_says_why(command: Any) -> None:
    code, out, _err = command("failover", "plan")
    assert code == 11
    assert "BLOCKED: choose source app1: no source answers" in out
    code, out, _err = command("--json", "failover", "plan")
    assert code == 11
    plan = json.loads(out)
    assert (plan["operation"], "error" in plan) == ("failover", False)
    # Not only the first: there is no PM2 here either.
    for part in ("no source answers", "no PM2 daemon runs"):
        assert any(part in each for each in plan["blocked"]), plan["blocked"]


def test_the_policy_of_the_command_line_goes_before_that_of_the_configuration(command: Any) -> None:
    code, _out, err = command("failover", "run", "--confirm", "app1", "--source", "replica")
    assert code == 4
    assert "choose source replica: it is not configured" in err


def test_a_run_without_a_source_is_refused_and_leaves_no_open_run(command: Any, tmp_path: Path) -> None:
    code, _out, err = command("failover", "run", "--confirm", "all")
    assert code == 11
    assert "no source answers" in err
    assert HostLease(tmp_path / "state").current() is None


@pytest.mark.parametrize("action", ["resume", "undo"])
def test_there_is_nothing_to_resume_or_undo_on_a_quiet_host(command: Any, action: str) -> None:
    code, _out, err = command("failover", action)
    assert code == 2
    assert "no run is open on this host" in err


def test_an_open_run_is_shown_and_the_second_operator_is_busy(command: Any, tmp_path: Path) -> None:
    state = tmp_path / "state"
    HostLease(state).take(Lease("r1", "failover", "maria", "2026-01-01T03:00:00Z"), cooldown_seconds=0)
    (state / "runs" / "r1").mkdir(parents=True)
    (state / "runs" / "r1" / "journal.jsonl").write_text('{"at": "2026-01-01T03:00:00Z", "event": "run_started"}\n')
    code, out, _err = command("failover", "status")
    assert code == 0
    assert "OPEN: failover r1 by maria since 2026-01-01T03:00:00Z" in out
    code, _out, err = command("failover", "run", "--confirm", "all")
    assert code == 8
    assert "by maria is open since 2026-01-01T03:00:00Z" in err
    code, _out, err = command("failback", "resume")
    assert code == 2
    assert "baileys-resilience failover resume" in err


def test_a_run_with_nothing_to_do_ends_well_and_says_since_when(command: Any, tmp_path: Path) -> None:
    StoreRecord(tmp_path / "state").move(["962301"], "files", by="r0", places={})
    code, out, _err = command("failover", "run", "--confirm", "all")
    assert code == 0
    assert "nothing to do: company 962301 on files since" in out


def test_the_store_is_shown_and_set_with_a_growing_epoch(command: Any, tmp_path: Path) -> None:
    assert command("store", "show")[1] == "company 962301: postgres, epoch 0, since ever\n"
    code, out, _err = command("--json", "store", "set", "--to", "files")
    assert code == 0
    assert json.loads(out)["companies"]["962301"]["store"] == "files"
    assert StoreRecord(tmp_path / "state").get("962301").epoch == 1
    assert command("store", "show")[1].startswith("company 962301: files, epoch 1, since 20")


@pytest.mark.parametrize("words", [["--to", "files", "--company", "962399"], []])
def test_the_store_is_not_set_for_a_foreign_company_or_to_nothing(
    command: Any, tmp_path: Path, words: list[str]
) -> None:
    code, _out, err = command("store", "set", *words)
    assert code == 2
    assert "HINT" in err
    assert not (tmp_path / "state" / "stores.json").exists()


def test_copies_are_listed_and_expired_ones_removed(command: Any, tmp_path: Path) -> None:
    (tmp_path / "sessions" / "company_962301").mkdir(parents=True)
    old = tmp_path / "sessions" / ".resilience" / "previous" / f"company_962301.{time.time_ns() - 8 * 86400 * 10**9}"
    old.mkdir(parents=True)
    code, out, _err = command("copies")
    assert code == 0
    assert [each.split("\t")[0] for each in out.splitlines()] == ["exported", "previous"]
    assert old.exists()
    code, out, _err = command("--json", "copies", "--prune")
    assert json.loads(out)["removed"] == [str(old)]
    assert not old.exists()


def test_a_check_that_finds_something_ends_with_3(command: Any) -> None:
    code, out, _err = command("check")
    assert code == 3
    assert out.startswith("PROBLEM: ")
    code, out, _err = command("--json", "check")
    assert code == 3
    assert json.loads(out)["ready"] is False


def test_the_daily_check_removes_what_has_expired(command: Any, tmp_path: Path) -> None:
    old = tmp_path / "sessions" / ".resilience" / "previous" / f"company_962301.{time.time_ns() - 8 * 86400 * 10**9}"
    old.mkdir(parents=True)
    code, out, _err = command("--json", "check")
    assert (code, json.loads(out)["removed"]) == (3, [str(old)])
    assert not old.exists()


def test_nothing_to_prepare_is_said(command: Any) -> None:
    code, out, _err = command("prepare")
    assert code == 0
    assert out.startswith("none: ")


def test_a_database_that_is_dead_is_exit_code_4(command: Any) -> None:
    code, _out, err = command("init-db")
    assert code == 4
    assert "HINT: " in err


@pytest.mark.parametrize(
    "words", [[], ["nonsense"], ["failover"], ["failover", "fly"], ["failover", "run", "--source", "x"]]
)
def test_words_that_are_no_command_end_with_2(command: Any, words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command(*words)
    assert caught.value.code == 2


def test_an_interrupted_command_says_where_to_look(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli._HANDLERS, "check", interrupt)
    code, _out, err = command("check")
    assert code == 130
    assert "failover status" in err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.count(".") == 2
