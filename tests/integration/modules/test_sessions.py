# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The session modules against a real database: check, apply, check again, apply again; the last two change nothing."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path
from typing import Any

from baileys_resilience.sessions.record import FILES, POSTGRES, StoreRecord
from tests.support.databases import Database
from tests.support.playbooks import Ansible, login, task, tree
from tests.support.synthetic import Company, expected_file_name, make_companies

MANIFEST = ".resilience-manifest.jsonl"


def four(module: str, **options: Any) -> list[dict[str, Any]]:
    return [task(module, check=number % 2 == 0, diff=True, **options) for number in range(4)]


def files_of(home: Path, company: Company) -> dict[str, bytes]:
    place = home / f"company_{company.id}"
    return {path.name: path.read_bytes() for path in place.iterdir() if path.suffix == ".json"}


def test_an_export_is_foretold_done_once_and_then_found_done(
    ansible: Ansible, database: Database, tmp_path: Path
) -> None:
    companies = make_companies(2)
    database.fill(*companies)
    home, before = tmp_path / "sessions", database.everything()
    options = {**login(database.params), "dest": str(home), "state_dir": str(tmp_path / "state")}
    looked = {"name": "look", "ansible.builtin.stat": {"path": str(home)}}
    tasks = four("session_export", **options)
    foretold, look, applied, *later = ansible.play([tasks[0], looked, *tasks[1:]]).results

    assert look["stat"]["exists"] is False, "check mode wrote"
    assert [each["changed"] for each in (foretold, applied, *later)] == [True, True, False, False]
    assert foretold["changes"] == applied["changes"]
    assert foretold["diff"] == applied["diff"]
    assert [each["diff"]["prepared"] for each in later] == ["", ""]
    for company in companies:
        assert applied["counts"][company.id] == foretold["counts"][company.id] == company.counts()
        assert applied["changes"][company.id]["added"] == {**company.counts(), "creds": 1}
        assert applied["companies"][company.id]["user"] == company.creds["me"]["id"]
        expected = {expected_file_name(*name): content for name, content in company.expected().items()}
        found = files_of(home, company)
        assert {name: found[name] for name in expected} == expected
        assert found.keys() == expected.keys() | {"creds.json"}
        manifest = applied["manifest"][company.id]
        assert manifest["path"] == str(home / f"company_{company.id}" / MANIFEST)
        footer = json.loads(Path(later[-1]["manifest"][company.id]["path"]).read_text().splitlines()[-1])
        assert footer["sha256"] == later[-1]["manifest"][company.id]["sha256"]
    assert applied["source"] == {"kind": "primary", "detail": database.params.where}
    assert applied["lsn"]
    assert applied["snapshot_at"].endswith("Z")
    assert applied["failed_companies"] == {}
    assert foretold["manifest"] == {}
    assert database.everything() == before


def test_one_bad_company_fails_the_task_after_the_healthy_ones_are_exported(
    ansible: Ansible, database: Database, tmp_path: Path
) -> None:
    companies = make_companies(3)
    database.fill(*companies)
    database.run("UPDATE whatsapp_auth SET creds = 'null' WHERE company_id = '962302'")
    database.run("DELETE FROM whatsapp_auth WHERE company_id = '962303'")
    home = tmp_path / "sessions"
    options = {**login(database.params), "dest": str(home), "jobs": 2}
    foretold, applied, again = ansible.play(
        [task("session_export", check=True, **options), *[task("session_export", **options)] * 2]
    ).results
    assert [(each["failed"], each["changed"]) for each in (foretold, applied, again)] == [
        (True, True),
        (True, True),
        (True, False),
    ]
    for each in (foretold, applied, again):
        assert list(each["companies"]) == ["962301"]
        assert each["failed_companies"].keys() == {"962302", "962303"}, "keys without creds are a company in trouble"
        assert each["msg"].startswith("2 of 3 companies were not exported: ")
        assert "HINT: " in each["msg"]
        assert each["error"]["error"] == "creds_invalid"
    assert sorted(path.name for path in home.iterdir() if not path.name.startswith(".")) == ["company_962301"]


def test_owner_and_group_reach_directories_and_files(ansible: Ansible, database: Database, tmp_path: Path) -> None:
    [company] = make_companies(1)
    database.fill(company)
    # Root can give files away; anybody else only to themselves.
    owner = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    home = tmp_path / "sessions"
    options = {**login(database.params), "dest": str(home), "owner": owner.pw_name, "group": str(owner.pw_gid)}
    mine = {name: value for name, value in options.items() if name not in ("owner", "group")}
    foretold = task("session_export", check=True, **options)
    steps = [task("session_export", **mine), foretold, *[task("session_export", **options)] * 2]
    given = os.geteuid() == 0  # otherwise the files belong to the owner at once
    assert [each["changed"] for each in ansible.play(steps).results] == [True, given, given, False]
    place = home / f"company_{company.id}"
    for path in (place, *place.iterdir()):
        status = path.stat()
        assert (status.st_uid, status.st_gid) == (owner.pw_uid, owner.pw_gid), path
        assert status.st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_what_baileys_did_to_the_files_comes_back_into_the_rows(
    ansible: Ansible, database: Database, tmp_path: Path
) -> None:
    companies = make_companies(2)
    database.fill(*companies)
    home = tmp_path / "sessions"
    ansible.play([task("session_export", **login(database.params), dest=str(home))])
    used = live_on_files(home, companies[0])
    before, files = database.everything(versions=True), tree(home)
    options = {**login(database.params), "src": str(home)}

    [foretold] = ansible.play([task("session_import", check=True, diff=True, **options)]).results
    assert foretold["changed"] is True
    assert database.everything(versions=True) == before, "check mode wrote"

    verify = task("session_verify", **options, subject="database", against="directory")
    applied, *later, verified = ansible.play([*four("session_import", **options)[1:], verify]).results
    assert [each["changed"] for each in (applied, *later)] == [True, False, False]
    assert applied["diff"] == foretold["diff"] == {"prepared": f"company {companies[0].id}: {used}\n"}
    assert applied["companies"][companies[1].id]["changed"] is False
    assert applied["counts"][companies[1].id] == companies[1].counts()
    assert verified["verified"] is True, verified
    assert tree(home) == files, "an import changes no file"
    untouched = [row for row in before if row[2] == companies[1].id]
    assert [row for row in database.everything(versions=True) if row[2] == companies[1].id] == untouched


def live_on_files(home: Path, company: Company) -> str:
    """What Baileys does in a day: a key is consumed, one made, a ratchet turns. Returns the line of the diff."""
    place = home / f"company_{company.id}"
    pre_keys = sorted(place.glob("pre-key-*.json"))
    new = json.loads((place / "creds.json").read_bytes())
    (place / f"pre-key-{new['nextPreKeyId']}.json").write_bytes(pre_keys[0].read_bytes())
    pre_keys[0].unlink()
    new["nextPreKeyId"] += 1
    (place / "creds.json").write_text(json.dumps(new))
    session = next(place.glob("session-*.json"))
    record = json.loads(session.read_bytes())
    next(iter(record["_sessions"].values()))["currentRatchet"]["previousCounter"] += 1
    session.write_text(json.dumps(record))
    return "added pre-key 1; updated creds 1, session 1; deleted pre-key 1"


def test_rows_that_somebody_wrote_meanwhile_are_refused_until_told_otherwise(
    ansible: Ansible, database: Database, tmp_path: Path
) -> None:
    companies = make_companies(2)
    database.fill(*companies)
    home = tmp_path / "sessions"
    ansible.play([task("session_export", **login(database.params), dest=str(home))])
    live_on_files(home, companies[1])
    database.run(
        "UPDATE whatsapp_keys SET value = jsonb_set(value, '{version}', '\"v2\"'), updated_at = now()"
        " WHERE company_id = '962301' AND key_type = 'session'"
    )
    options = {**login(database.params), "src": str(home)}
    refused, taken, again = ansible.play(
        [
            task("session_import", **options),
            task("session_import", **options, newer_rows="overwrite", companies=["962301"]),
            task("session_import", **options),
        ]
    ).results
    assert refused["failed"]
    assert refused["changed"] is True, "the healthy company is imported"
    assert "rows in PostgreSQL are newer than the files" in refused["msg"]
    assert "set newer_rows to overwrite" in refused["msg"]
    assert refused["companies"].keys() == {"962302"}
    assert taken["companies"]["962301"]["updated"] == {"session": 6}
    assert again["changed"] is False


def test_an_import_asks_the_store_of_record_and_an_export_writes_its_epoch(
    ansible: Ansible, database: Database, tmp_path: Path
) -> None:
    companies = make_companies(2)
    database.fill(*companies)
    home, record = tmp_path / "sessions", StoreRecord(tmp_path / "state")
    for store in (FILES, POSTGRES):
        record.move(["962301"], store, by="a test", places={})
    state = {**login(database.params), "state_dir": str(record.path.parent)}
    [exported] = ansible.play([task("session_export", **state, dest=str(home))]).results
    assert {name: each["epoch"] for name, each in exported["manifest"].items()} == {"962301": 2, "962302": 0}
    for company in companies:
        live_on_files(home, company)
    refused, foretold, taken, again = ansible.play(
        [
            task("session_import", **state, src=str(home)),
            task("session_import", **state, src=str(home), check=True, accept_old_copy=True),
            task("session_import", **state, src=str(home), accept_old_copy=True),
            task("session_import", **state, src=str(home)),
        ]
    ).results
    assert refused["failed"]
    assert "company 962301: lives in PostgreSQL since" in refused["msg"]
    assert "set accept_old_copy" in refused["msg"]
    assert refused["companies"].keys() == {"962302"}
    assert foretold["companies"] == taken["companies"]
    assert taken["companies"]["962301"]["updated"] == {"creds": 1, "session": 1}
    assert {name: each["epoch"] for name, each in taken["manifest"].items()} == {"962301": 2, "962302": 0}
    assert not again.get("failed"), "what is equal is no old copy"
    assert again["changed"] is False


def test_directories_without_a_manifest_are_imported_only_when_that_is_accepted(
    ansible: Ansible, database: Database, tmp_path: Path
) -> None:
    [company] = make_companies(1)
    database.fill(company)
    home = tmp_path / "sessions"
    ansible.play([task("session_export", **login(database.params), dest=str(home))])
    (home / f"company_{company.id}" / MANIFEST).unlink()
    database.run("TRUNCATE whatsapp_auth, whatsapp_keys")
    options = {**login(database.params), "src": str(home)}
    refused, taken, verified = ansible.play(
        [
            task("session_import", **options),
            task("session_import", **options, accept_without_manifest=True),
            task("session_verify", **options, subject="directory", against="database"),
        ]
    ).results
    assert "set accept_without_manifest" in refused["msg"]
    assert taken["companies"][company.id]["added"] == {**company.counts(), "creds": 1}
    assert taken["manifest"] == {}
    assert verified["verified"]


def test_verify_says_what_is_missing_and_extra_and_different(
    ansible: Ansible, database: Database, tmp_path: Path
) -> None:
    companies = make_companies(2)
    database.fill(*companies)
    home = tmp_path / "sessions"
    ansible.play([task("session_export", **login(database.params), dest=str(home))])
    live_on_files(home, companies[0])
    before, files = database.everything(versions=True), tree(home)
    src = {"src": str(home)}
    both = {**login(database.params), **src}
    manifest, database_only, told, other_way = ansible.play(
        [
            task("session_verify", **src),
            task("session_verify", **login(database.params)),
            task("session_verify", **both, against="database", fail=False),
            task("session_verify", **both, subject="database", against="directory", companies=["962301"]),
        ]
    ).results
    assert manifest["failed"]
    assert manifest["error"]["error"] == "verification_failed"
    assert "1 of 2 companies do not verify: company 962301: 1 missing (pre-key #" in manifest["msg"]
    assert "HINT: " in manifest["msg"]
    wrong = {"missing": {"pre-key": 1}, "extra": {"pre-key": 1}, "different": {"creds": 1, "session": 1}}
    for found in (manifest, told, other_way):
        assert {name: found["companies"]["962301"][name] for name in wrong} == wrong
    assert manifest["companies"]["962302"]["verified"] is True
    assert manifest["manifest"].keys() == {"962301", "962302"}
    assert database_only["verified"] is True
    assert not told.get("failed")
    assert told["verified"] is False
    assert other_way["failed"]
    assert not any(each["changed"] for each in (manifest, database_only, told, other_way))
    assert (database.everything(versions=True), tree(home)) == (before, files)


def test_info_shows_keys_by_type_and_age_creds_and_store_of_record(
    ansible: Ansible, database: Database, tmp_path: Path
) -> None:
    companies = make_companies(3)
    database.fill(*companies)
    ages = {"<1d": 0, "1-7d": 3, "7-14d": 10, "14-30d": 20, ">30d": 40}
    pre_keys = [key_id for key_type, key_id in companies[0].keys if key_type == "pre-key"]
    for key_id, days in zip(pre_keys, ages.values(), strict=False):
        database.run(
            f"UPDATE whatsapp_keys SET updated_at = now() - interval '{days} days'"
            f" WHERE company_id = '962301' AND key_type = 'pre-key' AND key_id = '{key_id}'"
        )
    database.run("UPDATE whatsapp_auth SET creds = NULL WHERE company_id = '962302'")
    database.run("DELETE FROM whatsapp_auth WHERE company_id = '962303'")
    state = tmp_path / "state"
    state.mkdir()
    entry = {"store": "files", "epoch": 3, "since": "2026-01-31T03:00:00.000000Z", "by": "run", "place": ""}
    content = {"format": "baileys-resilience/stores", "version": 1, "companies": {"962302": entry}}
    (state / "stores.json").write_text(json.dumps(content))
    home = tmp_path / "sessions"
    options = {**login(database.params), "state_dir": str(state)}
    _exported, info, files = ansible.play(
        [
            task("session_export", **options, dest=str(home), companies=["962301"]),
            task("session_info", **options),
            task("session_info", src=str(home), state_dir=str(state)),
        ]
    ).results
    good, null, gone = (info["companies"][company.id] for company in companies)
    assert good["creds_valid"] is True
    assert good["user"] == companies[0].creds["me"]["id"]
    assert {name: each["count"] for name, each in good["keys"].items()} == companies[0].counts()
    assert good["keys"]["pre-key"]["ages"] == {**dict.fromkeys(ages, 1), ">30d": 8}
    assert good["key_count"] == sum(good["ages"].values()) == len(companies[0].keys)
    assert (good["store"], good["epoch"]) == ("postgres", 0)
    assert (null["store"], null["epoch"], null["since"]) == ("files", 3, entry["since"])
    assert null["creds_valid"] is False
    assert gone["creds_problems"] == ["there are no creds"]
    assert gone["key_count"] == len(companies[2].keys)
    in_files = files["companies"]["962301"]
    assert in_files["creds_valid"] is True
    assert in_files["bytes"] == sum(len(content) for content in files_of(home, companies[0]).values())
    assert in_files["ages"] == {"<1d": len(companies[0].keys)}
    assert not info["changed"]
    assert not files["changed"]
