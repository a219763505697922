# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What the running session client says of itself: ``/metrics`` on its admin socket, or on its port."""

from __future__ import annotations

import http.client
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Collection, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from ..errors import ApplicationError, DeadlineExceeded, ResilienceError, Unavailable
from ..local_http import request, request_port
from .findings import CRITICAL, OK, UNKNOWN, WARNING, Finding
from .percentiles import Summary, summary_of_histogram
from .thresholds import PoolThresholds

SOCKET = "admin.sock"
FIGURE = "client pool"
_ADVICE = (
    "look at the queries first (query_latency_info): a slow database fills the pool; then raise WA_SESSION_POOL_SIZE"
)
_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_CONNECTIONS = "wa_session_pool_connections"
_MAX = "wa_session_pool_max_connections"
_WAITING = "wa_session_pool_pending_requests"
_DURATION = "wa_session_query_duration_seconds_bucket"


#: upper limit in seconds and how many were at most as long, by growing limits
Buckets = List[Tuple[float, float]]


class Sample(NamedTuple):
    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class ClientPool:
    """Connections of the client's pool. ``active`` ones are lent out, ``waiting`` operations have none."""

    idle: int
    active: int
    waiting: int
    max: int

    @property
    def used_percent(self) -> float:
        return round(100.0 * self.active / self.max, 1) if self.max else 0.0

    def as_dict(self) -> Dict[str, object]:
        return {**vars(self), "used_percent": self.used_percent}


def read_metrics(client_dir: str, *, seconds: float, names: Optional[Collection[str]] = None) -> List[Sample]:
    """All figures of the running client. Raises Unavailable when nobody listens there, DeadlineExceeded when somebody
    does and does not answer, ApplicationError for an answer that is none.
    """
    place = str(Path(client_dir) / SOCKET)
    return _read(place, lambda: request(place, "GET", "/metrics", seconds=seconds), seconds, names)


def read_metrics_of_port(
    port: int, token: str, *, seconds: float, names: Optional[Collection[str]] = None
) -> List[Sample]:
    """The same over the client's loopback port; only the figures of these ``names``."""
    headers = {"Authorization": f"Bearer {token}"}

    def ask() -> Tuple[int, bytes]:
        return request_port(port, "GET", "/metrics", seconds=seconds, headers=headers)

    return _read(f"127.0.0.1:{port}", ask, seconds, names)


def _read(
    place: str, ask: Callable[[], Tuple[int, bytes]], seconds: float, names: Optional[Collection[str]] = None
) -> List[Sample]:
    operation = "read client's metrics"
    try:
        status, content = ask()
    except TimeoutError as exc:
        raise DeadlineExceeded(
            f"no answer within {seconds:g} s",
            operation=operation,
            subject=place,
            hint="the application hangs: see its log and its CPU",
        ) from exc
    except (OSError, ValueError, http.client.HTTPException) as exc:
        raise Unavailable(
            f"the client does not answer: {exc}",
            operation=operation,
            subject=place,
            hint="is the application running, is client_dir the directory of its client, and may this user open the"
            " socket (become)?",
        ) from exc
    if status == 401:
        raise ApplicationError(
            "the client does not take the token",
            operation=operation,
            subject=place,
            hint="give the monitor the token of the client (WA_SESSION_ADMIN_TOKEN)",
        )
    if status != 200:
        raise ApplicationError(
            f"the client refuses: {status}", operation=operation, subject=place, hint="see the application's log"
        )
    return list(parsed(content.decode("utf-8", "replace"), names))


def parsed(text: str, names: Optional[Collection[str]] = None) -> Iterator[Sample]:
    """The lines of Prometheus' text format that hold a figure; what is none is passed over. ``names``: only these, for
    a client with many companies says much.
    """
    wanted = tuple(names or ())
    for line in text.splitlines():
        if wanted and not line.startswith(wanted):
            continue
        match = None if line.startswith("#") else _SAMPLE.match(line)
        if match is None or (wanted and match.group(1) not in wanted):
            continue
        try:
            value = float(match.group(3))
        except ValueError:
            continue
        yield Sample(match.group(1), dict(_LABEL.findall(match.group(2) or "")), value)


def pool_of(samples: List[Sample]) -> Optional[ClientPool]:
    """The pool; None where the metrics have none, as a client that was never given a database."""
    states = {each.labels.get("state", ""): each.value for each in samples if each.name == _CONNECTIONS}
    plain = {each.name: each.value for each in samples if each.name in (_MAX, _WAITING)}
    if not {"idle", "active"} <= set(states) or len(plain) < 2:
        return None
    figures = (states["idle"], states["active"], plain[_WAITING], plain[_MAX])
    if not all(_is_count(each) for each in figures):
        return None
    return ClientPool(*(int(each) for each in figures))


def _is_count(value: float) -> bool:
    return math.isfinite(value) and value >= 0


def queries_of(samples: List[Sample]) -> Dict[str, Summary]:
    """The application's own times by operation, since it started."""
    return {name: summary_of_histogram(found) for name, found in buckets_of(samples).items()}


def buckets_of(samples: List[Sample]) -> Dict[str, Buckets]:
    """The histogram of the application's queries by operation. What is no count of a limit is passed over."""
    found: Dict[str, Buckets] = {}
    for each in samples:
        limit = _limit(each.labels.get("le", "")) if each.name == _DURATION else None
        if limit is not None and _is_count(each.value):
            found.setdefault(each.labels.get("operation", ""), []).append((limit, each.value))
    return {name: sorted(buckets) for name, buckets in sorted(found.items())}


def _limit(text: str) -> Optional[float]:
    try:
        limit = float(text)  # "+Inf" is a number, too
    except ValueError:
        return None
    return limit if limit > 0 else None


def client_error(error: ResilienceError, figure: str = FIGURE) -> Finding:
    """A client that hangs is critical. One that is not there may have been stopped on purpose: unknown."""
    return Finding(figure, CRITICAL if isinstance(error, DeadlineExceeded) else UNKNOWN, error.cause, error.hint)


def judge_client_pool(pool: Optional[ClientPool], thresholds: PoolThresholds) -> Finding:
    if pool is None:
        return Finding(
            FIGURE,
            UNKNOWN,
            "its metrics hold no pool",
            "install the session client of this release (role session_client), and restart the application",
        )
    causes = []
    if pool.used_percent > thresholds.used_percent:
        causes.append(f"{pool.active} of {pool.max} connections are used, more than {thresholds.used_percent:g}%")
    if pool.waiting > thresholds.waiting:
        causes.append(f"{pool.waiting} operations wait for a connection, more than {thresholds.waiting}")
    return Finding(
        FIGURE,
        WARNING if causes else OK,
        "; ".join(causes),
        _ADVICE if causes else "",
    )


_SLOW = "wa_session_slow_queries_total"
_CACHE_AGE = "wa_session_cache_age_seconds"
#: what the monitor looks at each few seconds
WATCHED = frozenset({_CONNECTIONS, _MAX, _WAITING, _SLOW, _CACHE_AGE, _DURATION})


def slow_total(samples: List[Sample]) -> Optional[int]:
    """Slow queries since the client started, of all operations. A client that had none yet names none: 0, where it says
    anything of its pool.
    """
    found = [each.value for each in samples if each.name == _SLOW]
    if not found:
        return 0 if any(each.name == _MAX for each in samples) else None
    return int(sum(found)) if all(_is_count(each) for each in (*found, sum(found))) else None


def cached_seconds(samples: List[Sample]) -> Optional[Dict[str, float]]:
    """By company, for how long it has run without the database; 0 where it has it. None where nothing is said."""
    ages = [each for each in samples if each.name == _CACHE_AGE and _is_count(each.value)]
    if not ages and not any(each.name == _MAX for each in samples):
        return None
    return {each.labels.get("company", ""): each.value for each in ages}
