# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values: every encoding of every type becomes Baileys' base64 form; garbage is refused by type and hashed id."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baileys_resilience.errors import CredsInvalid, KeyUndecodable
from baileys_resilience.sessions import codec
from baileys_resilience.sessions.codec import encode_creds, encode_key, short_id
from tests.support.synthetic import FORMS, SMALL_MIX, Company, Form, expected_content, make_company, stored

COMPANY: Company = make_company(mix=SMALL_MIX)
BY_TYPE: dict[str, tuple[str, Any]] = {key_type: (key_id, value) for (key_type, key_id), value in COMPANY.keys.items()}
PHONE_ID = "4917600000001@s.whatsapp.net"
BUFFER = {"type": "Buffer", "data": "AAEC"}


def encoded(key_type: str, value: Any, key_id: str = "1") -> Any:
    return json.loads(encode_key(key_type, key_id, json.dumps(value).encode()))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key_type", sorted(SMALL_MIX))
def test_every_encoding_of_every_type_becomes_the_base64_form(key_type: str, form: Form) -> None:
    values = [(key_id, value) for (each, key_id), value in COMPANY.keys.items() if each == key_type]
    assert values
    for key_id, value in values:
        assert encode_key(key_type, key_id, stored(value, form).encode()) == expected_content(value)


@pytest.mark.parametrize("form", FORMS)
def test_creds_in_every_encoding_become_the_base64_form(form: Form) -> None:
    content, value = encode_creds(stored(COMPANY.creds, form).encode())
    assert content == expected_content(COMPANY.creds)
    assert value == json.loads(content)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key_type", sorted(set(SMALL_MIX) - {"lid-mapping"}))
def test_json_text_stored_as_a_json_string_is_read_through(key_type: str, form: Form) -> None:
    key_id, value = BY_TYPE[key_type]
    twice = json.dumps(stored(value, form)).encode()
    assert encode_key(key_type, key_id, twice) == expected_content(value)


def test_creds_stored_as_a_json_string_are_read_through() -> None:
    assert encode_creds(json.dumps(stored(COMPANY.creds, "index")).encode())[0] == expected_content(COMPANY.creds)


def test_a_lid_mapping_stays_a_text_even_when_it_looks_like_json() -> None:
    assert encode_key("lid-mapping", "1", b'"{1"') == b'"{1"'


def test_a_buffer_whose_data_is_an_index_object_becomes_base64() -> None:
    value = {"type": "Buffer", "data": {"0": 0, "1": 1, "2": 2}}
    assert encoded("identity-key", value) == BUFFER


def test_octets_of_an_index_object_are_taken_by_position_not_by_order() -> None:
    octets = list(range(12))
    shuffled = {str(n): octets[n] for n in (11, 0, 10, 2, 1, 9, 3, 4, 8, 7, 6, 5)}
    assert encoded("identity-key", shuffled) == json.loads(expected_content(bytes(octets)))
    assert encoded("identity-key", {"type": "Buffer", "data": shuffled}) == json.loads(expected_content(bytes(octets)))


def test_the_legacy_form_of_bytes_becomes_base64() -> None:
    assert encoded("identity-key", {"buffer": True, "data": [0, 1, 2]}) == BUFFER
    assert encoded("identity-key", {"buffer": True, "value": "AAEC"} | {"data": "AAEC"}) == BUFFER


def test_an_index_object_is_bytes_only_where_bytes_are_expected() -> None:
    memory = {"0": True}
    assert encoded("sender-key-memory", memory) == memory
    assert encoded("a-new-type", {"0": 5, "1": 9}) == {"0": 5, "1": 9}


def test_an_unknown_type_keeps_its_meaning_and_its_buffers_become_loadable() -> None:
    value = {"deep": [{"token": {"type": "Buffer", "data": [0, 1, 2]}}], "n": 1.5, "t": None, "text": "ä\u2028"}
    assert encoded("a-new-type", value) == {**value, "deep": [{"token": BUFFER}]}


def test_a_known_type_keeps_members_that_we_do_not_know() -> None:
    value = {**json.loads(stored(BY_TYPE["pre-key"][1], "array")), "addedLater": {"a": [1, "b"]}}
    assert encoded("pre-key", value)["addedLater"] == {"a": [1, "b"]}


def test_a_lone_surrogate_survives() -> None:
    content = encode_key("a-new-type", "1", b'{"name":"\\ud83d"}')
    assert json.loads(content) == {"name": "\ud83d"}
    content.decode("utf-8")


def test_equal_values_have_equal_bytes_whatever_their_order_and_spaces() -> None:
    one = b'{"version":1,"hash":{"type":"Buffer","data":"AA=="},"indexValueMap":{}}'
    two = b'{ "indexValueMap": {}, "hash": {"data": [0], "type": "Buffer"},\n "version": 1 }'
    assert encode_key("app-state-sync-version", "regular", one) == encode_key("app-state-sync-version", "regular", two)


def test_the_canonical_content_of_the_canonical_content_is_itself() -> None:
    for (key_type, key_id), value in COMPANY.keys.items():
        content = expected_content(value)
        assert encode_key(key_type, key_id, content) == content


GARBAGE: list[tuple[str, Any, str]] = [
    ("pre-key", {"private": BUFFER}, "private and public expected"),
    ("pre-key", {"private": BUFFER, "public": BUFFER}, "length 3"),
    ("pre-key", {"private": {}, "public": {}}, "bytes expected"),
    ("pre-key", [], "private and public expected"),
    ("session", {}, "_sessions"),
    ("session", {"_sessions": [], "version": "v1"}, "_sessions"),
    ("session", {"_sessions": {"x": {"indexInfo": {}}}}, "currentRatchet"),
    ("sender-key", {"type": "Buffer", "data": "not base64!"}, "not base64"),
    ("sender-key", {"garbage": True}, "bytes expected"),
    ("sender-key-memory", "x", "an object expected"),
    ("sender-key-memory", BUFFER, "an object expected"),
    ("app-state-sync-key", {}, "keyData"),
    ("app-state-sync-key", {"keyData": "***"}, "base64"),
    ("app-state-sync-version", {"version": 1}, "hash"),
    ("app-state-sync-version", {"version": 1, "hash": "x"}, "bytes expected"),
    ("lid-mapping", {"a": 1}, "a text expected"),
    ("lid-mapping", "", "a text expected"),
    ("device-list", {"0": "1"}, "a list of texts"),
    ("device-list", [0], "a list of texts"),
    ("tctoken", [], "an object expected"),
    ("identity-key", 5, "bytes expected"),
    ("identity-key", {"type": "Buffer", "data": [256]}, "0 to 255"),
    ("identity-key", {"0": 1, "1": "2"}, "0 to 255"),
    ("identity-key", {"type": "Buffer", "data": [True]}, "0 to 255"),
]


@pytest.mark.parametrize(("key_type", "value", "reason"), GARBAGE)
def test_garbage_is_refused_with_its_type_and_reason(key_type: str, value: Any, reason: str) -> None:
    with pytest.raises(KeyUndecodable) as caught:
        encode_key(key_type, PHONE_ID, json.dumps(value).encode(), company="962301")
    assert reason in caught.value.cause
    assert f"{key_type} {short_id(PHONE_ID)}" in caught.value.cause
    assert caught.value.subject == "962301"


@pytest.mark.parametrize(
    "raw", [None, b"null", b"", b"{", b'{"a":', b"\xff", b'"\\ud', b"NaN", b'{"a":1e999}', b"[" * 9999]
)
def test_what_cannot_be_read_is_refused_in_any_type(raw: bytes | None) -> None:
    for key_type in ("session", "a-new-type"):
        with pytest.raises(KeyUndecodable) as caught:
            encode_key(key_type, PHONE_ID, raw)
        assert "another source" in caught.value.hint


def test_no_message_holds_a_raw_key_id() -> None:
    with pytest.raises(KeyUndecodable) as caught:
        encode_key("session", PHONE_ID, b'{"4917600000001":1}', company="962301")
    assert "49176" not in str(caught.value)
    assert short_id(PHONE_ID).startswith("#")
    assert short_id(PHONE_ID) != short_id(PHONE_ID + "0")


@pytest.mark.parametrize("raw", [None, b"null", b"", b"{}", b"[]", b'"x"', b"{", b'{"a":NaN}', b"[" * 9999])
def test_unreadable_creds_are_refused_before_baileys_makes_a_new_identity(raw: bytes | None) -> None:
    with pytest.raises(CredsInvalid) as caught:
        encode_creds(raw, company="962301")
    assert "another source" in caught.value.hint
    assert caught.value.subject == "962301"


def test_a_key_without_bytes_in_another_form_is_not_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk costs more than all the rest; nine rows of ten do not need it."""
    monkeypatch.setattr(codec, "_rewrap", lambda _value: pytest.fail("walked"))
    for name in ("session", "device-list", "app-state-sync-key", "pre-key"):
        key_id, value = BY_TYPE[name]
        encode_key(name, key_id, stored(value, "base64").encode())


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
# An object with these members means bytes to Baileys, and is rewritten on purpose.
_MEANS_BYTES = ('"Buffer"', '"buffer"')


@settings(max_examples=300, deadline=None)
@given(value=_JSON.filter(lambda value: value is not None and not isinstance(value, str)))
def test_any_json_value_of_an_unknown_type_survives_the_codec(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=True)
    if not any(word in text for word in _MEANS_BYTES):
        assert json.loads(encode_key("a-new-type", "1", text.encode())) == value
