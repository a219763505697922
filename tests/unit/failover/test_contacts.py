# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom to call: what is wrong in the list is named, and a host that knows nobody says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience import cli
from baileys_resilience.errors import UsageError
from baileys_resilience.failover.settings import settings_from_dict

DATABASE = {"name": "Database desk", "reach": "+49 30 123456", "role": "PostgreSQL", "when": "day and night"}
LEAD = {"name": "Team lead", "reach": "#wa-oncall", "note": "decides\n  on data loss"}


def content(contacts: Any) -> dict[str, Any]:
    plain = {"host": "app1", "companies": ["1"], "database": {}, "sessions_dir": "/s", "state_dir": "/t"}
    return {**plain, "contacts": contacts}


def command(tmp_path: Path, contacts: Any, *words: str) -> int:
    config = tmp_path / "failover.json"
    config.write_text(json.dumps(content(contacts)))
    config.chmod(0o600)
    return cli.main(["--config", str(config), *words])


def test_contacts_are_printed_in_the_order_in_which_to_try_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, [DATABASE, LEAD], "contacts") == 0
    assert capsys.readouterr().out.splitlines() == [
        "Database desk (PostgreSQL): +49 30 123456",
        "  when: day and night",
        "Team lead: #wa-oncall",
        "  note: decides on data loss",
    ]


def test_contacts_are_one_object_with_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tmp_path, [DATABASE], "--json", "contacts") == 0
    assert json.loads(capsys.readouterr().out) == {"contacts": [{**DATABASE, "note": ""}]}


@pytest.mark.parametrize("contacts", [[], None])
def test_a_host_that_knows_nobody_says_which_variable_to_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], contacts: Any
) -> None:
    assert command(tmp_path, contacts, "contacts") == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "this host knows nobody to call" in err
    assert "HINT: set baileys_resilience_contacts in the inventory" in err


WRONG = [
    ("call me", "contacts", "a list of contacts expected", "begin each contact with a dash"),
    ({"name": "A", "reach": "B"}, "contacts", "a list of contacts expected", "begin each contact with a dash"),
    (["A"], "contacts[0]", "names with values expected", "the names are name, reach"),
    ([DATABASE, {"name": "A", "phone": "1"}], "contacts[1]", "unknown name phone", "the names are name, reach"),
    ([{"name": "A", "reach": 4930123456}], "contacts[0].reach", "this is no text", "quotes"),
    ([{"name": "A"}], "contacts[0].reach", "this is not given", "a way to reach it"),
    ([{"name": " ", "reach": "1"}], "contacts[0].name", "this is not given", "a name"),
]


@pytest.mark.parametrize(("contacts", "path", "cause", "hint"), WRONG, ids=[each[2] + each[1] for each in WRONG])
def test_a_contact_that_cannot_be_meant_is_named_with_what_to_do(
    contacts: Any, path: str, cause: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        settings_from_dict(content(contacts))
    assert caught.value.subject == path
    assert cause in caught.value.cause
    assert "baileys_resilience_contacts" in caught.value.hint
    assert hint in caught.value.hint
