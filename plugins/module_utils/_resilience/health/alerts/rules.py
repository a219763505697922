# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""From a reading to verdicts: what is bad, and the evidence of it. One function a kind of reading."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

from ...clock import in_words
from ...errors import (
    Conflict,
    DatabaseError,
    DeadlineExceeded,
    Misconfigured,
    ReadOnly,
    Refused,
    ResilienceError,
    SchemaMismatch,
    Unavailable,
)
from ...postgres import NO_SLOT
from ..latency import CONNECT
from . import causes as c
from .model import ASIDE, BAD, GOOD, MISSING, Key, Moment, Subject, Verdict
from .readings import (
    Aside,
    Backup,
    Bouncer,
    Client,
    Connections,
    Disk,
    Keys,
    Latencies,
    Mirror,
    Probe,
    Reading,
    Replica,
)
from .settings import AlertSettings
from .slow import SlowQueries

_SHOWN = 5


class Rules:
    """The rules with their settings. What they remember (slow queries of the last minutes) is in ``slow``."""

    def __init__(self, settings: AlertSettings) -> None:
        self.settings = settings
        self.slow: Dict[Subject, SlowQueries] = {}
        self._judges: Mapping[type, Callable[[Any, Moment], Iterator[Verdict]]] = {
            Aside: _aside,
            Probe: self._probe,
            Connections: self._connections,
            Disk: self._disk,
            Keys: self._keys,
            Mirror: self._mirror,
            Replica: self._replica,
            Backup: self._backup,
            Bouncer: self._bouncer,
            Client: self._client,
            Latencies: self._latencies,
        }

    def judge(self, readings: Iterable[Reading], now: Moment) -> List[Verdict]:
        return [verdict for each in readings for verdict in self._judges[type(each)](each, now)]

    def retire(self, subject: Subject) -> None:
        self.slow.pop(subject, None)

    def _probe(self, reading: Probe, now: Moment) -> Iterator[Verdict]:
        subject, error = reading.subject, reading.error
        cause = cause_of(error, reading.failed) if error else ""
        if reading.problem or cause is None:
            evidence = reading.problem or str(error)
            yield _missing(subject, c.SERVES, evidence)
            yield _missing(subject, c.SLOW, evidence)
        elif error:
            yield _bad(subject, c.SERVES, cause, f"{reading.failed or 'probe'}: {error.cause}", command=reading.advice)
            yield _missing(subject, c.SLOW, error.cause)
            # Counted hourly, and not while the database is away: that makes them no less known.
            yield from (Verdict(Key(subject, each), ASIDE) for each in (c.KEYS, c.OLD_KEYS, c.SIZE))
        else:
            yield _good(subject, c.SERVES)
            found = self.slow.setdefault(subject, SlowQueries())
            slow = reading.slowest_ms is not None and reading.slowest_ms > self.settings.query_ms
            found.add(int(slow), now.monotonic)
            yield self._slow(subject, found, now)

    def _slow(self, subject: Subject, found: SlowQueries, now: Moment) -> Verdict:
        window, limit = self.settings.slow_window_seconds, self.settings.slow_queries
        number = found.within(window, now.monotonic)
        if number < limit:
            return _good(subject, c.SLOW)
        evidence = f"{number} queries of more than {self.settings.query_ms:g} ms within {in_words(window)}"
        return _bad(subject, c.SLOW, "slow_queries", evidence)

    def _connections(self, reading: Connections, _now: Moment) -> Iterator[Verdict]:
        limit = self.settings.pool_used_percent
        if reading.problem:
            yield _missing(reading.subject, c.CONNECTIONS, reading.problem)
        elif reading.used_percent > limit:
            evidence = f"{reading.used_percent:g}% are used, more than {limit:g}%; {reading.free} are free"
            yield _bad(reading.subject, c.CONNECTIONS, "connections_used", evidence)
        else:
            yield _good(reading.subject, c.CONNECTIONS)

    def _disk(self, reading: Disk, _now: Moment) -> Iterator[Verdict]:
        limit = self.settings.disk_used_percent
        if reading.problem:
            yield _missing(reading.subject, c.DISK, reading.problem)
        elif reading.used_percent > limit:
            evidence = f"{reading.used_percent:g}% are used, more than {limit:g}%"
            yield _bad(reading.subject, c.DISK, "disk_full", evidence)
        else:
            yield _good(reading.subject, c.DISK)

    def _keys(self, reading: Keys, _now: Moment) -> Iterator[Verdict]:
        subject, removable, limits = reading.subject, sum(reading.removable.values()), self.settings
        if reading.problem:
            yield _missing(subject, c.KEYS, reading.problem)
        elif removable > limits.removable_keys:
            largest = sorted(reading.removable, key=lambda each: (-reading.removable[each], each))[:_SHOWN]
            shown = ", ".join(f"{reading.removable[each]} of company {each}" for each in largest)
            evidence = f"{removable} keys may go, more than {limits.removable_keys}: {shown}"
            yield _bad(subject, c.KEYS, "removable_keys", evidence, companies=tuple(largest))
        else:
            yield _good(subject, c.KEYS)
        if limits.old_keys:
            yield self._old_keys(reading)
        if limits.tables_bytes:
            yield self._size(reading)

    def _old_keys(self, reading: Keys) -> Verdict:
        limit = self.settings.old_keys
        if reading.problem:
            return _missing(reading.subject, c.OLD_KEYS, reading.problem)
        if reading.old <= limit:
            return _good(reading.subject, c.OLD_KEYS)
        evidence = f"{reading.old} keys are older than {reading.old_days:g} days, more than {limit}"
        return _bad(reading.subject, c.OLD_KEYS, "old_keys", evidence)

    def _size(self, reading: Keys) -> Verdict:
        limit = self.settings.tables_bytes
        if reading.problem:
            return _missing(reading.subject, c.SIZE, reading.problem)
        if reading.tables_bytes <= limit:
            return _good(reading.subject, c.SIZE)
        evidence = f"they take {reading.tables_bytes / 1e6:,.1f} MB with their indexes, more than {limit / 1e6:,g}"
        return _bad(reading.subject, c.SIZE, "tables_large", evidence)

    def _mirror(self, reading: Mirror, _now: Moment) -> Iterator[Verdict]:
        limit = self.settings.mirror_age_seconds
        if reading.problem:
            yield _missing(reading.subject, c.MIRROR, reading.problem)
        elif reading.unusable or reading.age_seconds is None:
            evidence = reading.unusable or "no scan was ever complete"
            yield _bad(reading.subject, c.MIRROR, "mirror_unusable", evidence)
        else:
            yield _by_age(reading.subject, c.MIRROR, "mirror_old", reading.age_seconds, limit)

    def _backup(self, reading: Backup, _now: Moment) -> Iterator[Verdict]:
        limit = reading.limit_seconds or self.settings.backup_age_seconds
        if reading.problem:
            yield _missing(reading.subject, c.BACKUP, reading.problem)
        elif reading.age_seconds is None:
            yield _bad(reading.subject, c.BACKUP, "backup_missing", "no validated backup was found")
        else:
            yield _by_age(reading.subject, c.BACKUP, "backup_old", reading.age_seconds, limit, reading.kind)

    def _replica(self, reading: Replica, _now: Moment) -> Iterator[Verdict]:
        limits, missing = self.settings, reading.behind_bytes
        late = missing > 0 and reading.behind_seconds > limits.lag_seconds
        if reading.problem:
            yield _missing(reading.subject, c.LAG, reading.problem)
        elif missing > limits.lag_bytes or late:
            evidence = (
                f"{missing / 1024 / 1024:.1f} MB behind, its last commit is {in_words(reading.behind_seconds)} old"
            )
            yield _bad(reading.subject, c.LAG, "replica_lag", evidence)
        else:
            yield _good(reading.subject, c.LAG)

    def _client(self, reading: Client, now: Moment) -> Iterator[Verdict]:
        subject = reading.subject
        if reading.problem or reading.hangs:
            problem = reading.problem or "it took the question and gave no answer"
            hangs = reading.hangs
            yield _bad(subject, c.ANSWERS, "client_hangs", problem) if hangs else _missing(subject, c.ANSWERS, problem)
            yield from (_missing(subject, each, problem) for each in (c.POOL, c.SLOW, c.CACHE))
            return
        yield _good(subject, c.ANSWERS)
        yield self._pool(reading)
        yield _cache(reading)
        if reading.slow_total is None:
            yield _missing(subject, c.SLOW, "its metrics do not count slow queries")
            return
        found = self.slow.setdefault(subject, SlowQueries())
        found.counter(reading.slow_total, now.monotonic)
        yield self._slow(subject, found, now)

    def _pool(self, reading: Client) -> Verdict:
        pool, limits = reading.pool, self.settings
        if pool is None:
            return _missing(reading.subject, c.POOL, "its metrics hold no pool")
        used, waiting = pool.used_percent > limits.pool_used_percent, pool.waiting > limits.pool_waiting
        if not (used or waiting):
            return _good(reading.subject, c.POOL)
        evidence = f"{pool.active} of {pool.max} connections are used, {pool.waiting} operations wait for one"
        return _bad(reading.subject, c.POOL, "pool_waiting" if waiting else "pool_used", evidence)

    def _bouncer(self, reading: Bouncer, _now: Moment) -> Iterator[Verdict]:
        limits = self.settings
        if reading.problem:
            yield _missing(reading.subject, c.BOUNCER, reading.problem)
            return
        waiting = [each for each in reading.pools if each.clients_waiting > limits.pool_waiting]
        used = [each for each in reading.pools if each.used_percent > limits.pool_used_percent]
        if not (waiting or used):
            yield _good(reading.subject, c.BOUNCER)
            return
        seen = "; ".join(
            f"{each.name}: {each.servers_active} of {each.pool_size} are lent out, {each.clients_waiting} clients wait"
            for each in (waiting or used)[:_SHOWN]
        )
        yield _bad(reading.subject, c.BOUNCER, "bouncer_waiting" if waiting else "bouncer_used", seen)

    def _latencies(self, reading: Latencies, _now: Moment) -> Iterator[Verdict]:
        limits, key = self.settings, Key(reading.subject, c.LATENCY)
        if reading.problem:
            yield _missing(*key, reading.problem)
            return
        judged: List[Tuple[float, str, str]] = []
        for name, each in sorted(reading.operations.items()):
            if each.usual_ms is None or each.samples < limits.baseline_samples:
                continue
            # An operation that usually takes no time at all is judged by the floor alone.
            ratio = each.milliseconds / max(each.usual_ms, 0.001)
            slow = each.milliseconds > limits.baseline_floor_ms and ratio > limits.baseline_factor
            seen = f"P95 of {name} is {each.milliseconds:.0f} ms, usually {each.usual_ms:.0f} ms"
            judged.append((ratio if slow else 0.0, seen, name))
        if not judged:
            yield Verdict(key, ASIDE)
        elif max(judged)[0] > 0:
            yield _bad(*key, "slower_than_usual", max(judged)[1])
        else:
            yield _good(*key)


def cause_of(error: ResilienceError, failed: str) -> Optional[str]:
    """The name of the cause; None for an error that says nothing of the database, as a setting of the monitor that is
    wrong.
    """
    if isinstance(error, DeadlineExceeded):
        return "frozen"
    if isinstance(error, Unavailable):
        return "slots_used_up" if NO_SLOT.search(error.cause) else "down"
    if isinstance(error, Refused):
        return "login_refused" if failed == CONNECT else "privileges_lost"
    if isinstance(error, Misconfigured) and _NO_DATABASE.search(error.cause):
        return "tables_missing"
    for kind, cause in _BY_TYPE:
        if isinstance(error, kind):
            return cause
    return None


#: a setting that is wrong would say the same, but so does a server that was made anew
_NO_DATABASE = re.compile(r"database .* does not exist", re.IGNORECASE)
_BY_TYPE: Tuple[Tuple[type, str], ...] = (
    (ReadOnly, "read_only"),
    (Conflict, "locked"),
    (SchemaMismatch, "tables_missing"),
    (DatabaseError, "failing"),
)


def _aside(reading: Aside, _now: Moment) -> Iterator[Verdict]:
    yield from (Verdict(Key(reading.subject, each), ASIDE) for each in reading.concerns)


def _cache(reading: Client) -> Verdict:
    if reading.cached is None:
        return _missing(reading.subject, c.CACHE, "its metrics do not say whether the cache is in use")
    using = {company: seconds for company, seconds in reading.cached.items() if seconds > 0}
    if not using:
        return _good(reading.subject, c.CACHE)
    longest = sorted(using, key=lambda each: (-using[each], each))
    shown = ", ".join(longest[:_SHOWN]) + (f" and {len(longest) - _SHOWN} more" if len(longest) > _SHOWN else "")
    evidence = f"the cache is in use for {in_words(using[longest[0]])}: company {shown}"
    return _bad(reading.subject, c.CACHE, "cache_in_use", evidence, companies=tuple(longest[:_SHOWN]))


def _by_age(subject: Subject, concern: str, cause: str, age_seconds: float, limit: float, which: str = "") -> Verdict:
    if age_seconds <= limit:
        return _good(subject, concern)
    return _bad(subject, concern, cause, f"{which or 'it'} is {in_words(age_seconds)} old, more than {in_words(limit)}")


def _good(subject: Subject, concern: str) -> Verdict:
    return Verdict(Key(subject, concern), GOOD)


def _missing(subject: Subject, concern: str, why: str) -> Verdict:
    return Verdict(Key(subject, concern), MISSING, evidence=why)


def _bad(
    subject: Subject, concern: str, cause: str, evidence: str, *, command: str = "", companies: Tuple[str, ...] = ()
) -> Verdict:
    return Verdict(Key(subject, concern), BAD, cause, evidence, command, companies)
