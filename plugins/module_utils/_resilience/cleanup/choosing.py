# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Policies that an operator can choose: safe, age, and days of their own by type.

Whatever is chosen, an app-state-sync-key stays, and so do types that are not known here, the newest pre-keys, and the
index of tctokens: without them a session is broken for good, and no disk is worth that.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Dict, Mapping, Optional

from ..errors import UsageError
from .policy import (
    GUARD_NO_MEMORY,
    GUARD_NOT_IN_USE,
    GUARD_NOT_THE_INDEX,
    GUARD_SENDER_QUIET,
    OWN_TIMESTAMP,
    SAFE,
    SAFE_POLICY,
    Policy,
    Rule,
)

SAFE_NAME, AGE_NAME, CUSTOM_NAME = "safe", "age", "custom"
NAMES = (SAFE_NAME, AGE_NAME)
DEFAULT_AGE_DAYS = 30.0
#: a key that was written today is in use
SHORTEST_DAYS = 1.0
#: further back than PostgreSQL's own times of rows go
LONGEST_DAYS = 36500.0

#: never removed, whoever accepts what
_REFUSED = ("app-state-sync-key",)
#: of a type that the safe policy keeps: what is asked all the same where its loss is accepted
_GUARDS = {
    "tctoken": (GUARD_NOT_THE_INDEX, GUARD_SENDER_QUIET),
    "pre-key": (GUARD_NOT_IN_USE,),
    "sender-key": (GUARD_NO_MEMORY,),
}


def choose(
    name: str = SAFE_NAME,
    *,
    older_than_days: Optional[float] = None,
    retention: Optional[Mapping[str, float]] = None,
    accept_data_loss: bool = False,
) -> Policy:
    """The policy that these options mean. ``retention`` (days by type of key) is a policy of its own: types that it
    does not name stay. Raises UsageError for what cannot be meant, or takes more than was accepted.
    """
    if older_than_days is not None:
        _check_days("older_than", older_than_days)
    if retention is not None:
        return _custom(name, retention, older_than_days, accept_data_loss)
    if name == SAFE_NAME:
        return SAFE_POLICY if older_than_days is None else Policy(SAFE_NAME, _safe(older_than_days))
    if name != AGE_NAME:
        raise _refusal(f"policy {name!r}", "is not known", f"choose one of {', '.join(NAMES)}, or days by type of key")
    if not accept_data_loss:
        raise _refusal(
            "policy age",
            "loses messages: old is not expired, and chats, identities and contacts go that are in use",
            "take the policy safe, or accept the loss: accept_data_loss: true (--accept-data-loss)",
        )
    days = DEFAULT_AGE_DAYS if older_than_days is None else older_than_days
    return Policy(AGE_NAME, {each: rule if each in _REFUSED else _lossy(rule, days) for each, rule in SAFE.items()})


def _safe(days: float) -> Dict[str, Rule]:
    return {name: _aged(rule, days) if rule.counts else rule for name, rule in SAFE.items()}


def _aged(rule: Rule, days: float) -> Rule:
    """With another retention; never a shorter one than that by which Baileys itself tells whether the key is valid."""
    if rule.clock == OWN_TIMESTAMP and rule.retention_days is not None:
        days = max(days, rule.retention_days)
    return replace(rule, retention_days=days)


def _lossy(rule: Rule, days: float) -> Rule:
    if rule.counts:
        return _aged(rule, days)
    return replace(
        rule,
        retention_days=days,
        guards=_GUARDS.get(rule.key_type, ()),
        reason=f"it is older than {days:g} days, and its loss was accepted: {rule.reason}",
    )


def _custom(
    name: str, retention: Mapping[str, float], older_than_days: Optional[float], accept_data_loss: bool
) -> Policy:
    if name != SAFE_NAME or older_than_days is not None:
        raise _refusal("retention", "says the days itself", "give either retention, or policy and older_than")
    if not retention:
        raise _refusal("retention", "names no type of key", "name types with their days, or leave it out")
    rules = {each: replace(rule, retention_days=None) for each, rule in SAFE.items()}
    for key_type, days in retention.items():
        rules[key_type] = _custom_rule(key_type, days, accept_data_loss)
    return Policy(CUSTOM_NAME, rules)


def _custom_rule(key_type: str, days: float, accept_data_loss: bool) -> Rule:
    subject = f"retention.{key_type}"
    rule = SAFE.get(key_type)
    if rule is None:
        raise _refusal(subject, "is no type of key that is known here", f"the types are {', '.join(sorted(SAFE))}")
    if key_type in _REFUSED:
        raise _refusal(subject, f"never goes: {rule.reason}", "leave it out")
    _check_days(subject, days)
    if rule.counts:
        if rule.clock == OWN_TIMESTAMP and rule.retention_days is not None and days < rule.retention_days:
            hint = f"give {rule.retention_days:g} days or more"
            raise _refusal(subject, f"{days:g} days are too few: it is valid for longer ({rule.source})", hint)
        return replace(rule, retention_days=days)
    if not accept_data_loss:
        hint = "leave it out, or accept the loss: accept_data_loss: true (--accept-data-loss)"
        raise _refusal(subject, f"old is not expired: {rule.reason}", hint)
    return _lossy(rule, days)


def _check_days(subject: str, days: float) -> None:
    if isinstance(days, bool) or not isinstance(days, (int, float)) or not math.isfinite(days):
        raise _refusal(subject, f"{days!r} is no number of days", "give a number of days, such as 30")
    if not SHORTEST_DAYS <= days <= LONGEST_DAYS:
        raise _refusal(subject, f"{days:g} days are not possible", f"give {SHORTEST_DAYS:g} to {LONGEST_DAYS:g} days")


def _refusal(subject: str, cause: str, hint: str) -> UsageError:
    return UsageError(cause, operation="read cleanup policy", subject=subject, hint=hint)
