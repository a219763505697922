# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of key files: as useMultiFileAuthState makes them, and back where that is possible."""

from __future__ import annotations

import pytest

from baileys_resilience.sessions.codec import file_name, parse_file_name
from tests.support.synthetic import MIX, SMALL_MIX, expected_file_name, make_company


@pytest.mark.parametrize(
    ("key_type", "key_id", "name"),
    [
        ("pre-key", "1", "pre-key-1.json"),
        ("session", "30000000000001_1.0", "session-30000000000001_1.0.json"),
        ("sender-key", "120@g.us::30:1::0", "sender-key-120@g.us--30-1--0.json"),
        ("app-state-sync-key", "AAAA/A==", "app-state-sync-key-AAAA__A==.json"),
        ("lid-mapping", "300_reverse", "lid-mapping-300_reverse.json"),
        ("session", "../../etc/passwd", "session-..__..__etc__passwd.json"),
    ],
)
def test_a_key_gets_the_name_that_baileys_gives_it(key_type: str, key_id: str, name: str) -> None:
    assert file_name(key_type, key_id) == name


def test_every_key_of_a_company_gets_the_name_that_baileys_gives_it() -> None:
    for key_type, key_id in make_company(mix={**MIX, **SMALL_MIX, "pre-key": 5}).keys:
        assert file_name(key_type, key_id) == expected_file_name(key_type, key_id)


def test_ids_that_differ_only_in_replaced_characters_collide() -> None:
    assert file_name("session", "1:2@g.us") == file_name("session", "1-2@g.us")
    assert file_name("app-state-sync-key", "AA/BB") == file_name("app-state-sync-key", "AA__BB")


def test_every_name_of_a_company_is_read_back_to_its_type_and_id() -> None:
    for key_type, key_id in make_company(mix=SMALL_MIX).keys:
        assert parse_file_name(file_name(key_type, key_id)) == (key_type, key_id)


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("sender-key-memory-120@g.us.json", ("sender-key-memory", "120@g.us")),
        ("sender-key-a--b@g.us--30_1--0.json", ("sender-key", "a--b@g.us::30_1::0")),
        ("app-state-sync-version-regular_low.json", ("app-state-sync-version", "regular_low")),
        ("lid-mapping-300__reverse.json", ("lid-mapping", "300__reverse")),
        ("device-list-49.json", ("device-list", "49")),
        ("tctoken-__index.json", ("tctoken", "__index")),
    ],
)
def test_names_are_read_by_the_longest_type_and_the_rule_of_that_type(name: str, parsed: tuple[str, str]) -> None:
    assert parse_file_name(name) == parsed


@pytest.mark.parametrize(
    "name",
    ["creds.json", "notes.txt", "a-new-type-1.json", "session-1.json.tmp", "session-1.json.bak", "session.json", ""],
)
def test_a_name_that_is_no_key_of_a_known_type_is_none(name: str) -> None:
    assert parse_file_name(name) is None
