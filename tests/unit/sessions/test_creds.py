# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit of creds: it accepts good ones and names what is wrong with tampered ones."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from baileys_resilience.sessions.creds import CredsAudit, creds_problems, paired_user, xeddsa_valid
from tests.support.curve import key_pair, sign
from tests.support.synthetic import SMALL_MIX, expected_content, make_company

Creds = dict[str, Any]


def good(seed: int = 0) -> Creds:
    creds: Creds = json.loads(expected_content(make_company("962301", seed, SMALL_MIX).creds))
    return creds


def flip(buffer: dict[str, str], position: int = 5) -> None:
    content = bytearray(base64.b64decode(buffer["data"]))
    content[position] ^= 1
    buffer["data"] = base64.b64encode(bytes(content)).decode()


@pytest.mark.parametrize("seed", range(8))
def test_good_creds_have_no_problem(seed: int) -> None:
    company = make_company("962301", seed, SMALL_MIX)
    audit = CredsAudit(json.loads(expected_content(company.creds)))
    for key_type, key_id in company.keys:
        audit.see(key_type, key_id)
    assert audit.problems() == []


@pytest.mark.parametrize("path", ["noiseKey", "pairingEphemeralKeyPair", "signedIdentityKey", "signedPreKey.keyPair"])
@pytest.mark.parametrize("half", ["private", "public"])
def test_a_changed_bit_in_any_key_pair_is_found_and_named(path: str, half: str) -> None:
    creds = good()
    pair: Any = creds
    for name in path.split("."):
        pair = pair[name]
    flip(pair[half])
    assert creds_problems(creds) == [f"{path}: the public key does not belong to the private one"]


@pytest.mark.parametrize("position", [0, 31, 32, 63])
def test_a_changed_bit_in_the_signature_is_found(position: int) -> None:
    creds = good()
    flip(creds["signedPreKey"]["signature"], position)
    assert creds_problems(creds) == ["signedPreKey.signature: not made by signedIdentityKey"]


def test_a_signed_pre_key_of_another_identity_is_found() -> None:
    creds = good()
    creds["signedPreKey"] = good(1)["signedPreKey"]
    assert creds_problems(creds) == ["signedPreKey.signature: not made by signedIdentityKey"]


def _without(*path: str) -> Callable[[Creds], None]:
    def change(creds: Creds) -> None:
        for name in path[:-1]:
            creds = creds[name]
        del creds[path[-1]]

    return change


def _with(**values: Any) -> Callable[[Creds], None]:
    return lambda creds: creds.update(values)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_without("noiseKey"), "noiseKey: missing"),
        (_without("noiseKey", "private"), "noiseKey: not a pair of 32-byte keys"),
        (_with(noiseKey={"private": {"type": "Buffer", "data": "AA=="}}), "noiseKey: not a pair of 32-byte keys"),
        (_without("signedPreKey"), "signedPreKey.keyPair: missing"),
        (_without("signedPreKey", "signature"), "signedPreKey.signature: missing"),
        (_with(registrationId=16384), "registrationId: not a number from 0 to 16383"),
        (_with(registrationId=True), "registrationId: not a number from 0 to 16383"),
        (_without("registrationId"), "registrationId: not a number from 0 to 16383"),
        (_with(nextPreKeyId="3"), "nextPreKeyId or firstUnuploadedPreKeyId: not a number"),
        (_with(firstUnuploadedPreKeyId=10**6), "firstUnuploadedPreKeyId is greater than nextPreKeyId"),
        (_without("advSecretKey"), "advSecretKey: missing"),
    ],
)
def test_each_broken_part_is_named(change: Callable[[Creds], None], problem: str) -> None:
    creds = good()
    change(creds)
    assert creds_problems(creds) == [problem]


def test_a_registration_id_of_zero_is_good() -> None:
    assert creds_problems({**good(), "registrationId": 0}) == []


def test_creds_older_than_the_keys_are_found() -> None:
    creds = good()
    audit = CredsAudit(creds)
    audit.see("app-state-sync-key", creds["myAppStateKeyId"])
    audit.see("pre-key", str(creds["nextPreKeyId"] - 1))
    assert audit.problems() == []
    audit.see("pre-key", str(creds["nextPreKeyId"]))
    assert [problem for problem in audit.problems() if "older than the keys" in problem]


def test_a_missing_app_state_key_is_found() -> None:
    audit = CredsAudit(good())
    audit.see("app-state-sync-key", "another")
    assert audit.problems() == ["myAppStateKeyId names an app-state-sync-key that is not there"]


def test_ids_that_are_no_plain_number_do_not_disturb_the_audit() -> None:
    creds = good()
    audit = CredsAudit(creds)
    audit.see("app-state-sync-key", creds["myAppStateKeyId"])
    for key_id in ("²", "", "abc", "-1", "١" * 9):
        audit.see("pre-key", key_id)
    assert audit.problems() == []


def test_only_a_user_makes_a_session_paired() -> None:
    assert paired_user(good())
    assert paired_user({**good(), "me": None, "registered": True}) is None
    assert paired_user({"me": {"id": ""}}) is None


def test_signatures_with_either_sign_of_the_edwards_key_are_accepted() -> None:
    seen = set()
    for seed in range(12):
        pair = key_pair(bytes([seed]) * 32)
        signature = sign(pair.private, b"message")
        seen.add(signature[63] & 0x80)
        assert xeddsa_valid(pair.public, b"message", signature)
        assert not xeddsa_valid(pair.public, b"massage", signature)
    assert seen == {0, 0x80}
