# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors: one registry, clear sentences with a hint, and the same error on the other side of a process border."""

from __future__ import annotations

import pickle
import re

import pytest

from baileys_resilience import errors
from baileys_resilience.errors import Busy, Conflict, ResilienceError, SchemaMismatch, Unavailable, registry


def test_an_error_says_operation_object_cause_and_what_to_do() -> None:
    error = SchemaMismatch(
        'column "value" missing in whatsapp_keys.',
        operation="export company",
        subject="962302",
        hint="set session_tables.keys.value to the column that holds the key.",
    )
    assert str(error) == (
        'export company 962302: column "value" missing in whatsapp_keys. HINT: set session_tables.keys.value to the'
        " column that holds the key"
    )


def test_an_error_without_object_or_hint_still_reads_as_a_sentence() -> None:
    assert str(ResilienceError("it broke")) == "it broke"
    assert str(ResilienceError("it broke", operation="import")) == "import: it broke"
    assert str(ResilienceError("it broke", hint="mend it")) == "it broke. HINT: mend it"


def test_whether_a_retry_helps_comes_from_the_class_unless_the_case_knows_better() -> None:
    assert Unavailable("x").retryable
    assert Busy("x").retryable
    assert not Conflict("x").retryable
    assert Conflict("x", retryable=True).retryable
    assert not Conflict.retryable


@pytest.mark.parametrize("kind", registry().values(), ids=lambda kind: kind.__name__)
def test_every_error_is_the_same_after_pickling(kind: type[ResilienceError]) -> None:
    error = kind("cause", operation="op", subject="962301", hint="do this", retryable=True)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert copy.as_dict() == error.as_dict()


def test_as_dict_holds_what_a_report_needs() -> None:
    assert Unavailable("gone", operation="connect", subject="db:5432/wa", hint="wait").as_dict() == {
        "error": "unavailable",
        "operation": "connect",
        "subject": "db:5432/wa",
        "cause": "gone",
        "hint": "wait",
        "retryable": True,
        "exit_code": 4,
    }


def test_names_are_unique_and_every_class_of_the_file_is_in_the_registry() -> None:
    classes = {
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ResilienceError)
    }
    assert set(registry().values()) >= classes
    assert len({kind.code for kind in classes}) == len(classes)


def test_exit_codes_follow_the_families_and_never_say_success() -> None:
    for kind in registry().values():
        assert 0 < kind.exit_code < 64
        parent = kind.__mro__[1]
        if parent not in (Exception, ResilienceError):
            assert kind.exit_code == parent.exit_code  # type: ignore[attr-defined]


def test_the_drawing_at_the_top_names_every_class() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, ResilienceError) and value is not ResilienceError
    }
    assert drawn == defined
