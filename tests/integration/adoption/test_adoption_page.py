# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/adoption.md, executed from top to bottom for an application that knows nothing of this collection.

The tests are steps of one reader: each goes on where the one before it ended.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.integration.adoption.conftest import PROJECT, Reader
from tests.integration.adoption.gateway import Gateway
from tests.support import pages
from tests.support.matching import complaint

PAGE = PROJECT / "docs" / "adoption.md"
FIRST_CHECK = ("1. Find out what you have", "3. Install the command", "4. The first check")
LATER = ("5. What comes next", "Away again")


def section(*titles: str) -> list[pages.Example]:
    return [each for each in pages.examples(PAGE) if each.block.headings[1] in titles]


def follow(reader: Reader, example: pages.Example) -> None:
    printed = reader.run(example.block.text)
    wrong = complaint(reader.translate(example.expected), printed) if example.expected is not None else ""
    assert not wrong, f"{PAGE.name}, line {example.block.line}: {wrong}"


@pytest.fixture(scope="module")
def before(gateway: Gateway) -> dict[str, Any]:
    assert gateway.receives("before anything")
    return {"process": gateway.process(), "files": gateway.files(), "logins": gateway.logins()}


@pytest.fixture(scope="module")
def inventory(reader: Reader) -> None:
    (shown,) = (each for each in pages.blocks(PAGE) if each.language == "yaml")
    reader.write_inventory(shown.text)


def test_every_command_of_the_page_is_followed_here() -> None:
    assert {each.block.headings[1] for each in pages.examples(PAGE)} == {*FIRST_CHECK, *LATER}


@pytest.mark.usefixtures("inventory")
def test_the_first_check_succeeds_and_the_application_notices_nothing(
    gateway: Gateway, reader: Reader, before: dict[str, Any]
) -> None:
    database = gateway.database()
    for example in section(*FIRST_CHECK):
        follow(reader, example)
    assert gateway.database() == database, "no row is another one, and no object is new"
    assert gateway.files() == before["files"]
    assert gateway.process() == before["process"], "not restarted"
    assert gateway.logins() == before["logins"], "never disconnected"
    assert gateway.receives("after the first check")


def test_what_was_not_filled_in_is_named_with_what_to_do(gateway: Gateway, reader: Reader) -> None:
    """Somebody who gives no more than the database gets every other thing that is missing, each with its variable."""
    text = (reader.folder / "inventory.yml").read_text("utf-8")
    kept = [
        line for line in text.splitlines() if not re.match(r" {6}(?!baileys_resilience_login|session_comp|.*ssl)", line)
    ]
    (reader.folder / "database-only.yml").write_text("\n".join(kept))
    files = gateway.files()
    printed = reader.run("ansible-playbook -i database-only.yml baileys.resilience.emergency_failover --check")
    blocked = re.findall(r'"  BLOCKED: (.*)"', printed)
    assert len(blocked) >= 4, printed
    page = PAGE.read_text("utf-8")
    mended = [re.split(r"\.\.\.|\"\.\.\.\"", each)[0] for each in re.findall(r"^\| `([^`]+)`", page, re.MULTILINE)]
    for line in blocked:
        assert any(each and each in line.replace('\\"', '"') for each in mended), f"the page does not mend: {line}"
    assert gateway.files() == files


@pytest.mark.usefixtures("inventory")
def test_flags_that_the_application_does_not_read_are_doubted(reader: Reader) -> None:
    ours = """-e '{"baileys_resilience_app_files_env": {"USE_DATABASE_AUTH_STATE": "false"}}'"""
    printed = reader.run(f"ansible-playbook -i inventory.yml baileys.resilience.emergency_failover --check {ours}")
    assert ".env sets none of USE_DATABASE_AUTH_STATE" in printed
    assert "HINT: set application.postgres_env and application.files_env" in printed


@pytest.mark.usefixtures("inventory")
def test_what_comes_next_leads_to_a_failover_and_back(gateway: Gateway, reader: Reader, before: dict[str, Any]) -> None:
    database = gateway.database()
    made, check, drill, back = section(LATER[0])
    follow(reader, made)
    # What the mirror's service does on a host, all the time.
    reader.run("baileys-resilience mirror once")
    follow(reader, check)
    assert gateway.process() == before["process"], "the last step is the first that restarts it"
    assert gateway.files() == before["files"]
    now = gateway.database()
    assert {name: now[name] for name in ("secrets", "tenants", "triggers")} == {
        name: database[name] for name in ("secrets", "tenants", "triggers")
    }
    assert {name for name, _rights in now["schemas"]} - {name for name, _rights in database["schemas"]} == {
        "baileys_resilience"
    }
    assert gateway.receives("with mirror and daily check")
    follow(reader, drill)
    assert "SESSION_STORE=folder" in (gateway.dir / ".env").read_text("utf-8")
    assert gateway.receives("from files")
    follow(reader, back)
    assert "SESSION_STORE=tables" in (gateway.dir / ".env").read_text("utf-8")
    assert gateway.receives("from PostgreSQL again")


@pytest.mark.usefixtures("inventory")
def test_it_goes_away_again_and_the_application_runs_on(gateway: Gateway, reader: Reader) -> None:
    process = gateway.process()
    (away,) = section(LATER[1])
    follow(reader, away)
    left = [path for path in (reader.folder / "host").rglob("*") if path.is_file()]
    assert left == []
    assert gateway.process() == process
    assert gateway.receives("without the collection")


def test_every_name_that_a_hint_uses_is_on_the_page() -> None:
    sources = "\n".join(path.read_text("utf-8") for path in (PROJECT / "plugins" / "module_utils").rglob("*.py"))
    hints = re.findall(r"hint=(?:f?\"[^\"]*\"\s*)+", sources)
    names = {
        name
        for hint in hints
        for name in re.findall(r"\b(?:application|service|load_check|code|session_tables)\.\w[\w.]*", hint)
    }
    rows = re.findall(
        r"^\| `((?:application|code|load_check|service|session_tables)[^|]*)\|", PAGE.read_text("utf-8"), re.MULTILINE
    )
    shown = [name.rstrip(".") for row in rows for name in re.findall(r"[a-z_]+(?:\.[a-z_]+)*", row)]
    assert names
    assert [name for name in sorted(names) if not any(name.startswith(each) for each in shown)] == []
