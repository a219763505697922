# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""When a scan stops following the database: deletions that Baileys would not make, creds that lost their identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional

from ...sessions.codec import bytes_of
from ...sessions.creds import creds_problems, paired_user

#: written once by Baileys and never deleted (facts measured on 7.0.0-rc14)
NEVER_DELETED = ("app-state-sync-key", "identity-key", "lid-mapping")

MASS_DELETION = "mass-deletion"
NEVER_DELETED_GONE = "never-deleted-gone"
CREDS_GONE = "creds-gone"


@dataclass(frozen=True)
class DeletionLimits:
    """At most this much may vanish between two scans before it counts as a loss. Pre-keys go one by one as contacts use
    them, and sessions singly, so a normal interval stays far below.
    """

    share: float = 0.2
    keys: int = 10
    never_deleted: int = 3


def deletion_incident(gone: Mapping[str, int], total: int, limits: DeletionLimits) -> Optional[str]:
    """The kind of incident that these deletions (number by type, of ``total`` keys before) are, or None."""
    number = sum(gone.values())
    if number > limits.keys and number > limits.share * total:
        return MASS_DELETION
    if sum(gone.get(each, 0) for each in NEVER_DELETED) > limits.never_deleted:
        return NEVER_DELETED_GONE
    return None


def creds_rejection(new: Dict[str, Any], kept: Optional[Dict[str, Any]]) -> List[str]:
    """Why ``new`` must not replace the creds that the mirror keeps; empty when it may."""
    problems = creds_problems(new)
    if not problems and kept is not None and paired_user(kept) and not paired_user(new):
        # What Baileys makes when its database blinked: valid, and nobody's.
        problems.append("they are a new identity that was never paired, in the place of a paired one")
    return problems


def paired_anew(new: Dict[str, Any], kept: Optional[Dict[str, Any]]) -> bool:
    """Whether the company was paired again: its old keys belong to the old identity and go with it."""
    return kept is not None and bool(paired_user(new)) and identity(new) != identity(kept)


def identity(creds: Dict[str, Any]) -> Optional[bytes]:
    pair = creds.get("signedIdentityKey")
    return bytes_of(pair.get("public")) if isinstance(pair, dict) else None
