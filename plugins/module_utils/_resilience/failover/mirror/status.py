# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""How the mirror is: its age, what it holds, what it holds back. Asked without the database."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional

from ...clock import now_iso
from ...errors import ResilienceError, StoreError
from ...files import write_json
from .layout import STATUS_FILE, bytes_on_disk
from .reader import CompanyState, Incident, open_mirror


@dataclass(frozen=True)
class Attempt:
    """The last scan that was tried (status.json). ``blind_since`` is the first failure since the last complete scan."""

    at: str = ""
    error: str = ""
    hint: str = ""
    blind_since: str = ""
    note: str = ""
    interval_seconds: float = 10.0


@dataclass(frozen=True)
class MirrorStatus:
    """``age_seconds`` counts from the snapshot of the last complete scan; None when there never was one. ``late`` when
    it is more than three intervals.
    """

    directory: str
    usable: bool
    problem: str
    age_seconds: Optional[float] = None
    snapshot_at: str = ""
    lsn: Optional[str] = None
    late: bool = False
    bytes_on_disk: int = 0
    attempt: Attempt = field(default_factory=Attempt)
    companies: List[CompanyState] = field(default_factory=list)
    incidents: List[Incident] = field(default_factory=list)

    @property
    def holding_back(self) -> List[str]:
        """Companies of which the mirror keeps what the database has no longer."""
        return sorted({each.company for each in self.incidents})

    def as_dict(self) -> Dict[str, Any]:
        return {**asdict(self), "holding_back": self.holding_back}


def mirror_status(directory: Path) -> MirrorStatus:
    """Never raises for a mirror that is missing or broken: that is its status."""
    attempt = read_attempt(directory)
    size = bytes_on_disk(directory)
    try:
        with open_mirror(directory) as reader:
            states = [reader.company_state(company) for company in reader.known_companies()]
            age = reader.age_seconds
            return MirrorStatus(
                str(directory), True, attempt.error, age, reader.info.snapshot_at, reader.info.lsn,
                age > 3 * attempt.interval_seconds, size, attempt, states, reader.incidents(),
            )  # fmt: skip
    except StoreError as exc:
        return MirrorStatus(str(directory), False, str(exc), bytes_on_disk=size, attempt=attempt)


def write_attempt(
    directory: Path, at: str, interval_seconds: float, *, error: Optional[ResilienceError] = None, note: str = ""
) -> None:
    """Record how a scan ended."""
    blind_since = ""
    if error is not None:
        blind_since = read_attempt(directory).blind_since or at
    attempt = Attempt(at, str(error) if error else "", error.hint if error else "", blind_since, note, interval_seconds)
    write_json(directory / STATUS_FILE, asdict(attempt))


def read_attempt(directory: Path) -> Attempt:
    try:
        return Attempt(**json.loads((directory / STATUS_FILE).read_text("utf-8")))
    except FileNotFoundError:
        return Attempt()
    except (OSError, ValueError, TypeError) as exc:
        return Attempt(now_iso(), f"{STATUS_FILE} cannot be read: {exc}")
