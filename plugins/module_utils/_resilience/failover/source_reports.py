# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What a source of sessions says of itself and of each company, and what looks like a loss."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Dict, Mapping, Optional

CLIENT, JOURNAL, PRIMARY, REPLICA, MIRROR = "client", "journal", "primary", "replica", "mirror"
ORDER = (CLIENT, JOURNAL, PRIMARY, REPLICA, MIRROR)
#: what belongs into the order, behind the others, and is not built yet
OLDER_TO_COME = {"backup": "the newest validated backup: there are none of ours yet, restore one by hand"}

#: Baileys never deletes these; fewer of them than the mirror has means that somebody else did
_NEVER_DELETED = ("app-state-sync-key", "identity-key", "lid-mapping")
_LOSS_SHARE = 0.2
_LOSS_KEYS = 10
_LOSS_NEVER_DELETED = 3


@dataclass(frozen=True)
class Offer:
    """What a source has of one company: number of keys by type, and why it should not be taken ("" = nothing known
    against it). ``remark``: what it knows to be wrong elsewhere, with its own copy whole.

    ``complete``: it holds what no database received, and nothing is missing. ``snapshot_at`` and ``age_seconds`` are
    set where they are not those of the whole source.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""
    remark: str = ""
    complete: bool = False
    snapshot_at: str = ""
    age_seconds: Optional[float] = None

    @property
    def keys(self) -> int:
        return sum(self.counts.values())


@dataclass
class SourceReport:
    """One source as it is now. ``age_seconds`` is of its data; ``problem`` says why it does not answer, or what is
    wrong although it does. ``silent``: it let the time pass, where others refuse.
    """

    kind: str
    detail: str
    answers: bool = False
    problem: str = ""
    snapshot_at: str = ""
    lsn: Optional[str] = None
    age_seconds: float = 0.0
    offers: Dict[str, Offer] = field(default_factory=dict)
    silent: bool = False

    def age_of(self, company: str) -> float:
        offer = self.offers.get(company, Offer())
        return self.age_seconds if offer.age_seconds is None else offer.age_seconds

    def moment_of(self, company: str) -> str:
        return self.offers.get(company, Offer()).snapshot_at or self.snapshot_at

    def as_dict(self) -> Dict[str, Any]:
        return asdict(self)


def loss_problem(before: Mapping[str, int], now: Mapping[str, int], held: str = "that the mirror holds ") -> str:
    """Why ``now`` looks like a loss against ``before`` (counts by type); empty for what Baileys does by itself.
    ``held`` says who has what ``before`` counts.
    """
    missing = {
        key_type: count - now.get(key_type, 0) for key_type, count in before.items() if count > now.get(key_type, 0)
    }
    total = sum(before.values())
    lost = sum(missing.values())
    never = {
        key_type: missing[key_type] for key_type in _NEVER_DELETED if missing.get(key_type, 0) > _LOSS_NEVER_DELETED
    }
    if lost > _LOSS_KEYS and lost > total * _LOSS_SHARE:
        return f"{lost} of {total} keys {held}are gone"
    if never:
        return "keys that Baileys never deletes are gone: " + ", ".join(
            f"{count} {name}" for name, count in never.items()
        )
    return ""
