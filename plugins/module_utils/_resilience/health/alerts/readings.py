# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What the monitor looked at in a round, one reading a subject. ``problem`` says why a reading has no figures: that is
missing data, never a good sign, and so is no reading at all. What was not to be looked at has an :class:`Aside`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Mapping, Optional, Tuple, Union

from ...errors import ResilienceError
from ..client_metrics import ClientPool
from ..pgbouncer import BouncerPool
from .model import Subject


@dataclass(frozen=True)
class Probe:
    """How connect, read and write on a new connection ended. ``failed`` is the operation (of :mod:`..latency`) that
    ``error`` is of, ``advice`` what helps if that is known better than the table of causes knows it. ``slowest_ms`` is
    of the slowest query.
    """

    subject: Subject
    error: Optional[ResilienceError] = None
    failed: str = ""
    advice: str = ""
    slowest_ms: Optional[float] = None
    problem: str = ""


@dataclass(frozen=True)
class Connections:
    """Those of the server, as :class:`..server_pool.ServerPool` counts them."""

    subject: Subject
    used_percent: float = 0.0
    free: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Disk:
    """That of the data directory, where this host sees it."""

    subject: Subject
    used_percent: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class Keys:
    """``removable`` may go under the policy, by company; ``old`` were written longer ago than the days asked for.
    ``tables_bytes`` is what both tables take on disk, with their indexes.
    """

    subject: Subject
    removable: Mapping[str, int] = field(default_factory=dict)
    old: int = 0
    old_days: float = 30.0
    tables_bytes: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Mirror:
    """The subject is the database that is mirrored. ``age_seconds`` is None where no scan was ever complete;
    ``unusable`` says why the mirror cannot be read.
    """

    subject: Subject
    age_seconds: Optional[float] = None
    unusable: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Replica:
    """``behind_bytes`` by LSN. ``behind_seconds`` is the age of its last commit, and grows where nobody writes."""

    subject: Subject
    behind_bytes: int = 0
    behind_seconds: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class Backup:
    """The newest validated one, of the ``kind`` that is nearest to its limit; ``age_seconds`` is None where there is
    none. ``limit_seconds`` is that of its kind, where it has one of its own.
    """

    subject: Subject
    age_seconds: Optional[float] = None
    problem: str = ""
    kind: str = ""
    limit_seconds: Optional[float] = None


@dataclass(frozen=True)
class Bouncer:
    """The pools of a PgBouncer; none while nobody has used it."""

    subject: Subject
    pools: Tuple[BouncerPool, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Client:
    """An application. ``hangs``: it took the question and gave no answer. None is what its metrics do not hold:
    ``slow_total`` is its counter of slow queries, ``cached`` are seconds without the database by company.
    """

    subject: Subject
    hangs: bool = False
    pool: Optional[ClientPool] = None
    slow_total: Optional[int] = None
    cached: Optional[Mapping[str, float]] = None
    problem: str = ""


@dataclass(frozen=True)
class P95:
    """``usual_ms`` is that of the days before; None while there are too few of them."""

    milliseconds: float
    samples: int
    usual_ms: Optional[float] = None


@dataclass(frozen=True)
class Latencies:
    """By operation. The subject is a client, or the database as the monitor's own probes see it."""

    subject: Subject
    operations: Mapping[str, P95] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Aside:
    """``concerns`` (of :mod:`causes`) that need no figures just now, as the mirror while the sessions live on files."""

    subject: Subject
    concerns: Tuple[str, ...]


Reading = Union[Aside, Probe, Connections, Disk, Keys, Mirror, Replica, Backup, Bouncer, Client, Latencies]
