# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Every key before a drill against every key during and after it.

The sessions live while they are drilled: ratchets turn with each message, pre-keys are used up and made, so the two
states are never equal byte by byte, and a comparison that asked for it would fail on every good drill. What can be
asked, and is: the same user; nothing wrong with creds and keys; of the types whose content never changes every one
that is still there as it was; and no loss, by the same rule by which a failover refuses a damaged source. The rest is
counted. That the files are what was exported, and that PostgreSQL equals the files key by key, failover and failback
have verified themselves.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List, Mapping

from ..failover.settings import FailoverSettings
from ..failover.source_reports import loss_problem
from ..sessions.directory_source import DirectorySource
from ..sessions.manifest import CREDS_TYPE
from ..sessions.model import SessionSource
from ..sessions.postgres_store import open_snapshot
from ..sessions.record import FILES
from ..sessions.verify import CompanyState, inspect_company

#: a pair of keys under its number, and what the server has sent under its id: Baileys writes each once
NEVER_REWRITTEN = ("pre-key", "app-state-sync-key")

_ATTEMPTS = 4
_AGAIN_SECONDS = 0.25


@dataclass
class Taken:
    """One company at one moment: digests of values by type and by hashed id (ids hold phone numbers)."""

    digests: Dict[str, Dict[str, str]] = field(default_factory=dict)
    user: str = ""
    problems: List[str] = field(default_factory=list)

    @property
    def counts(self) -> Dict[str, int]:
        return {key_type: len(found) for key_type, found in self.digests.items()}


@dataclass(frozen=True)
class Judged:
    """One company against before. ``moved`` holds other content than before, as living sessions do."""

    keys_before: int
    keys: int
    same: int
    moved: int
    new: int
    gone: int
    problems: List[str]

    def as_dict(self) -> Dict[str, Any]:
        return {**asdict(self), "good": not self.problems}


def take(settings: FailoverSettings, store: str, salt: str) -> Dict[str, Taken]:
    """Every key of every company as ``store`` (postgres or files) holds it now."""
    if store == FILES:
        return _take_files(settings, salt)
    patience = max(30.0, settings.policy.connect_seconds)
    with open_snapshot(settings.database, settings.tables, deadline_seconds=patience) as snapshot:
        return _take(snapshot, settings, salt)


def _take_files(settings: FailoverSettings, salt: str) -> Dict[str, Taken]:
    """Baileys writes a file in place: one that is read in that moment is read again."""
    for _attempt in range(_ATTEMPTS):
        taken = _take(DirectorySource(settings.home()), settings, salt)
        if not any(each.problems for each in taken.values()):
            break
        time.sleep(_AGAIN_SECONDS)
    return taken


def new_salt() -> str:
    return secrets.token_hex(16)


def _take(source: SessionSource, settings: FailoverSettings, salt: str) -> Dict[str, Taken]:
    return {company: _hashed(inspect_company(source, company), salt) for company in settings.companies}


def _hashed(state: CompanyState, salt: str) -> Taken:
    taken = Taken(user=_hash(salt, state.user or ""), problems=state.problems)
    for (key_type, key_id), digest in state.digests.items():
        if key_type != CREDS_TYPE:
            taken.digests.setdefault(key_type, {})[_hash(salt, key_id)] = digest
    return taken


def _hash(salt: str, text: str) -> str:
    key = salt.encode("ascii")
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=key, digest_size=16).hexdigest()


def judge(before: Taken, now: Taken) -> Judged:
    same = moved = new = gone = 0
    problems = [each for each in now.problems if each not in before.problems]
    for key_type in sorted({*before.digests, *now.digests}):
        earlier, later = before.digests.get(key_type, {}), now.digests.get(key_type, {})
        rewritten = sum(1 for name, digest in earlier.items() if later.get(name, digest) != digest)
        kept = sum(1 for name in earlier if name in later)
        same, moved = same + kept - rewritten, moved + rewritten
        new, gone = new + len(later) - kept, gone + len(earlier) - kept
        if rewritten and key_type in NEVER_REWRITTEN:
            problems.append(f"{rewritten} keys of type {key_type} hold other content than before, which never happens")
    if before.user != now.user:
        problems.append("the creds are another user's than before")
    loss = loss_problem(before.counts, now.counts, "that were there before the drill ")
    if loss:
        problems.append(loss)
    total = sum(before.counts.values()), sum(now.counts.values())
    return Judged(*total, same, moved, new, gone, problems)


def to_content(taken: Mapping[str, Taken]) -> Dict[str, Any]:
    return {company: asdict(each) for company, each in taken.items()}


def from_content(content: Mapping[str, Any]) -> Dict[str, Taken]:
    return {company: Taken(**each) for company, each in content.items()}
