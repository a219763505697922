# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What names a customer becomes a hash; what operators need stays readable."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baileys_resilience.notify.redact import redact, redacted, without_secrets


def hashed(text: str) -> str:
    return "#" + hashlib.sha256(text.encode()).hexdigest()[:10]


@pytest.mark.parametrize(
    "name",
    [
        "4917612345678@s.whatsapp.net",
        "4917612345678:7@s.whatsapp.net",
        "4917612345678_1.0:3@s.whatsapp.net",
        "30000000000001@lid",
        "1234567:12@lid",
        "120363400000000001@g.us",
        "4917612345678-1400000000@g.us",
        "4917612345678",
        "+49 176 1234 5678",
        "+1 (555) 123-4567",
        "962301962",
    ],
)
def test_a_jid_or_phone_number_is_hashed_whole(name: str) -> None:
    assert redact(f"session of {name} is bad") == f"session of {hashed(name)} is bad"


@pytest.mark.parametrize(
    "text",
    [
        "company 962301: 1333 keys in 0.42 s",
        "2026-11-24T02:16:08.250000Z",
        "20261124T021608Z",
        "on 0/16B3748, port 54321",
        "event " + "0123456789abcdef" * 2,
        "commit " + "1234567890" * 4,
        "sha256 " + "0123456789abcdef" * 4,
    ],
)
def test_what_operators_read_stays(text: str) -> None:
    assert redact(text) == text


def test_a_company_id_that_looks_like_a_phone_number_stays_where_it_is_named_and_only_there() -> None:
    text = "company 962301962301 lost 4917612345678@s.whatsapp.net and 9623019623011"
    shown = redact(text, {"962301962301", "4917612345678"})
    assert shown.startswith("company 962301962301 lost #")
    assert hashed("4917612345678@s.whatsapp.net") in shown
    assert shown.endswith(hashed("9623019623011"))


@given(st.text(), st.integers(10**9, 10**15), st.text())
def test_no_long_number_survives_whatever_stands_around_it(before: str, number: int, after: str) -> None:
    assert str(number) not in redact(f"{before} {number} {after}")


def test_texts_at_any_depth_are_redacted_and_nothing_else_is_touched() -> None:
    jid = "4917612345678@s.whatsapp.net"
    content = {"962301962301": [jid, 4917612345678, None, {"of": (jid, "962301962301")}], "ok": True}
    assert redacted(content, {"962301962301"}) == {
        "962301962301": [hashed(jid), 4917612345678, None, {"of": [hashed(jid), "962301962301"]}],
        "ok": True,
    }


def test_a_secret_inside_another_is_replaced_whole() -> None:
    assert without_secrets("at /bot12:ab/x with 12", "12", "12:ab", "") == "at /bot<secret>/x with <secret>"
