# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Which keys may go once they are old, by type of key, and why everything else stays. What else than the safe policy
can be chosen is in :mod:`choosing`.

``updated_at`` says when a key was last written, not when it was last used. So by age alone goes only what Baileys makes
anew when it misses it. What needs a proof that SQL cannot give (is this pre-key consumed, is this chat over) stays
until somebody can give it. Sources are what Baileys 7.0.0-rc14 does: files of it, or what was seen when keys were
deleted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Mapping, Optional, Tuple

#: when a key was last written, by the database's clock
UPDATED_AT = "updated_at"
#: what the key says of itself
OWN_TIMESTAMP = "timestamp"

#: id of the list of all tctokens: Baileys prunes by it, so it stays
TCTOKEN_INDEX = "__index"
_DAY_SECONDS = 86400.0
#: ids are 24 bits wide; what is longer is no id of Baileys
_PRE_KEY_DIGITS = 9

#: Baileys has as many pre-keys on the server at most (INITIAL_PREKEY_COUNT in lib/Defaults/index.js): those with the
#: highest ids may all be handed out still
PRE_KEYS_IN_USE = 812

#: guards that :mod:`counting` can judge; any other makes a rule count nothing
GUARD_NOT_THE_INDEX = "is not the index of tctokens"
GUARD_SENDER_QUIET = "no token was sent to that contact within the retention either"
GUARD_NO_MEMORY = "no sender-key-memory of the group says that others hold it"
GUARD_NOT_IN_USE = f"at least {PRE_KEYS_IN_USE} pre-keys were made after it"
JUDGED_GUARDS = (GUARD_NOT_THE_INDEX, GUARD_SENDER_QUIET, GUARD_NO_MEMORY, GUARD_NOT_IN_USE)
GUARD_CONSUMED = "the server no longer hands it out (consumed or superseded)"
GUARD_MIGRATED = "the contact has no session under its phone number"


@dataclass(frozen=True)
class Rule:
    """What happens to keys of one type. Without ``retention_days`` none goes by age."""

    key_type: str
    reason: str
    source: str
    retention_days: Optional[float] = None
    clock: str = UPDATED_AT
    guards: Tuple[str, ...] = ()

    @property
    def unjudged(self) -> Tuple[str, ...]:
        return tuple(guard for guard in self.guards if guard not in JUDGED_GUARDS)

    @property
    def counts(self) -> bool:
        """Whether keys of this type can be counted as removable at all."""
        return self.retention_days is not None and not self.unjudged


@dataclass(frozen=True)
class KeyFacts:
    """What has to be known of one key. Ages in seconds by the database's clock; None is not known.

    ``has_memory``: of a sender key, whether its group has a sender-key-memory. ``next_pre_key``: of a pre-key, the id
    that the company's creds give to the next one.
    """

    key_type: str
    key_id: str
    written_age: Optional[float] = None
    own_age: Optional[float] = None
    sender_age: Optional[float] = None
    has_memory: Optional[bool] = None
    next_pre_key: Optional[int] = None


@dataclass(frozen=True)
class Verdict:
    may_go: bool
    why: str


_RULES = (
    Rule(
        "sender-key-memory",
        "only says who holds our key of a group; without it Baileys hands the key out again",
        "lib/Socket/messages-send.js: every device that the memory does not name gets the key with the next message",
        retention_days=30,
    ),
    Rule(
        "tctoken",
        "expires by its own timestamp; Baileys drops it itself when it meets it",
        "isTcTokenExpired in lib/Utils/tc-token-utils.js: four buckets of seven days",
        retention_days=28,
        clock=OWN_TIMESTAMP,
        guards=(GUARD_NOT_THE_INDEX, GUARD_SENDER_QUIET),
    ),
    Rule(
        "device-list",
        "a cache for sending, but a contact's sessions move from phone number to LID only where its devices are listed",
        "migrateSession in lib/Signal/libsignal.js moves nothing without the row",
        retention_days=30,
        guards=(GUARD_MIGRATED,),
    ),
    Rule(
        "pre-key",
        "written once, and the server hands its id out until it is used",
        "all deleted: first contacts fail with Invalid PreKey ID",
        guards=(GUARD_CONSUMED,),
    ),
    Rule(
        "session",
        "an idle chat is a live chat; without it first messages are lost or have to be sent again",
        "updated_at moves with each message only",
    ),
    Rule(
        "sender-key",
        "a group that is silent is still a group; our own, deleted while its memory stays, makes us unreadable there",
        "deleted alone: recipients report No session found",
        guards=(GUARD_NO_MEMORY,),
    ),
    Rule(
        "app-state-sync-key",
        "written once, needed as long as the device is paired",
        "deleted: myAppStateKey ... not present, the app state stops syncing",
    ),
    Rule(
        "app-state-sync-version",
        "without it the whole app state is fetched anew",
        "deleted: a full resync",
    ),
    Rule(
        "identity-key",
        "never written again while it is unchanged, so it always looks old",
        "updated_at is that of the first contact",
    ),
    Rule(
        "lid-mapping",
        "an existing pair is never written again; without it sessions under a LID are orphans",
        "updated_at is that of the first contact",
    ),
)

SAFE: Mapping[str, Rule] = {rule.key_type: rule for rule in _RULES}


@dataclass(frozen=True)
class Policy:
    """A rule for each type that is known. ``name``: safe, age or custom."""

    name: str
    rules: Mapping[str, Rule]


SAFE_POLICY = Policy("safe", SAFE)


def rule_for(key_type: str, policy: Policy = SAFE_POLICY) -> Rule:
    """The rule of a type; of one that is not known here, that it stays."""
    known = policy.rules.get(key_type)
    return known or Rule(key_type, "nothing is known of this type, so it stays", "a newer Baileys, or another program")


def judge(key: KeyFacts, policy: Policy = SAFE_POLICY) -> Verdict:
    """Whether one key may go. What is not known keeps it."""
    rule = rule_for(key.key_type, policy)
    if rule.retention_days is None:
        return Verdict(False, rule.reason)
    if rule.unjudged:
        return Verdict(False, f"nobody has shown that {rule.unjudged[0]}")
    age = key.own_age if rule.clock == OWN_TIMESTAMP else key.written_age
    if age is None:
        return Verdict(False, f"it has no {rule.clock}, so its age is not known")
    if age <= rule.retention_days * _DAY_SECONDS:
        return Verdict(False, f"younger than {rule.retention_days:g} days")
    for guard in rule.guards:
        kept = _KEPT[guard](key, rule.retention_days * _DAY_SECONDS)
        if kept:
            return Verdict(False, kept)
    return Verdict(True, rule.reason)


def _kept_as_index(key: KeyFacts, _limit: float) -> str:
    return "the index of all tctokens stays" if key.key_id == TCTOKEN_INDEX else ""


def _kept_by_sender(key: KeyFacts, limit: float) -> str:
    is_fresh = key.sender_age is not None and key.sender_age <= limit
    return "a token was sent to that contact within the retention" if is_fresh else ""


def _kept_by_memory(key: KeyFacts, _limit: float) -> str:
    if key.has_memory is False:
        return ""
    return "its group has a sender-key-memory, so others are thought to hold it: that goes first, this one a run later"


def _kept_in_use(key: KeyFacts, _limit: float) -> str:
    is_number = key.key_id.isascii() and key.key_id.isdigit() and len(key.key_id) <= _PRE_KEY_DIGITS
    if is_number and key.next_pre_key is not None and int(key.key_id) < key.next_pre_key - PRE_KEYS_IN_USE:
        return ""
    return f"it is one of the newest {PRE_KEYS_IN_USE} pre-keys, which the server may hand out"


#: why a guard keeps a key; empty where it lets it go
_KEPT: Mapping[str, Callable[[KeyFacts, float], str]] = {
    GUARD_NOT_THE_INDEX: _kept_as_index,
    GUARD_SENDER_QUIET: _kept_by_sender,
    GUARD_NO_MEMORY: _kept_by_memory,
    GUARD_NOT_IN_USE: _kept_in_use,
}
