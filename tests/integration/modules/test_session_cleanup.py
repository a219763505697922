# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""session_cleanup through the real ansible-playbook: check, apply, check, apply, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.databases import Database
from tests.support.playbooks import Ansible, login, task
from tests.support.synthetic import make_companies

MODULE = "session_cleanup"
MIX = {"session": 100, "sender-key-memory": 20, "app-state-sync-key": 6}
COMPANIES = ("962301", "962302")


def filled(database: Database) -> Database:
    """All of today, but for the memories."""
    database.fill(*make_companies(2, MIX))
    database.run("UPDATE whatsapp_keys SET updated_at = now()")
    database.run(
        "UPDATE whatsapp_keys SET updated_at = now() - interval '31 days' WHERE key_type = 'sender-key-memory'"
    )
    return database


def test_check_apply_check_apply(ansible: Ansible, database: Database, tmp_path: Path) -> None:
    options = login(filled(database).params, state_dir=str(tmp_path / "state"))
    played = ansible.play([task(MODULE, check=check, diff=True, **options) for check in (True, False, True, False)])
    would, did, nothing, still_nothing = played.results
    for result in (would, did):
        assert (result["changed"], result["deleted"], result["left"], result["key_count"]) == (True, 40, 0, 252)
        assert result["types"] == {"sender-key-memory": 40}
        assert result["ages"] == {"<1d": 212, ">30d": 40}
        assert set(result["sizes"]["before"]) == {"whatsapp_auth", "whatsapp_keys"}
        assert result["sizes"]["before"]["whatsapp_keys"]["table_bytes"] > 0
        assert result["vacuum_advice"] == ""
        assert result["diff"]["prepared"] == "".join(
            f"company {each}: deleted sender-key-memory 20\n" for each in COMPANIES
        )
    assert would["sizes"]["after"] is None
    assert set(did["sizes"]["after"]) == {"whatsapp_auth", "whatsapp_keys"}
    assert (would["run"], would["companies"]["962301"]["deleted"]) == ("", {})
    assert did["companies"]["962301"]["deleted"] == {"sender-key-memory": 20}
    assert Path(did["archive"]).name == f"{did['run']}.jsonl.gz"
    for result in (nothing, still_nothing):
        assert (result["changed"], result["deleted"], result["key_count"]) == (False, 0, 212)
    assert database.run("SELECT count(*) FROM whatsapp_keys") == [(212,)]
    assert database.params.password not in played.output


def test_what_cannot_be_meant_or_would_be_too_much_fails_with_its_hint(
    ansible: Ansible, database: Database, tmp_path: Path
) -> None:
    good = login(filled(database).params, state_dir=str(tmp_path / "state"))
    before = database.everything(versions=True)
    bad: list[tuple[dict[str, Any], str, str]] = [
        ({"max_share": 0.1}, "20 of 126 keys (16%) would go", "--max-share"),
        ({"policy": "age"}, "loses messages", "accept_data_loss: true"),
        ({"older_than": 0}, "0 days are not possible", "1 to"),
        ({"retention": {"session": "30"}}, "old is not expired", "accept_data_loss: true"),
        ({"retention": {"sender-key-memory": "soon"}}, "is no number of days", "such as 30"),
        ({"retention": {"sesion": 30}}, "no type of key", "the types are"),
        ({"companies": []}, "the list is empty", "name at least one company"),
        ({"cap": 0}, "0 is not possible", "1 to"),
        ({"session_tables": {"keys": {"updated_at": "changed_at"}}}, "changed_at", "there are: "),
        ({"archive_dir": "/proc/cleanup"}, "/proc/cleanup", "HINT"),
        ({"archive_key_file": str(tmp_path / "none")}, "there is no such file", "cleanup new-key"),
    ]
    tasks = [task(MODULE, **{**good, **options}) for options, _says, _hint in bad]
    results = ansible.play([*tasks, task(MODULE, check=True, **{**good, "max_share": 0.1})]).results
    for (_options, says, hint), result in zip(bad, results, strict=False):
        assert result["failed"], result
        assert says in result["msg"], result["msg"]
        assert hint in result["msg"], result["msg"]
    assert results[-1]["failed"], "check mode says that a run would stop"
    assert database.everything(versions=True) == before
