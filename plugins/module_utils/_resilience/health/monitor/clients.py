# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""One application, as its session client describes itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import List, Mapping, Optional

from ...errors import DeadlineExceeded, Misconfigured, ResilienceError
from ..alerts.model import CLIENT, Subject
from ..alerts.readings import Client, Reading
from ..client_metrics import (
    WATCHED,
    Buckets,
    ClientPool,
    Sample,
    buckets_of,
    cached_seconds,
    pool_of,
    read_metrics,
    read_metrics_of_port,
    slow_total,
)
from .source import Look


@dataclass(frozen=True)
class ClientFigure:
    """``answers`` is False where nothing else is known. ``times`` is its histogram by operation, since its start."""

    name: str
    answers: bool
    pool: Optional[ClientPool] = None
    slow_total: Optional[int] = None
    cached: Optional[Mapping[str, float]] = None
    times: Mapping[str, Buckets] = field(default_factory=dict)


class ClientSource:
    """``place`` is how it is asked: the directory with its socket, or a loopback port with the file of its token."""

    quick = False

    def __init__(
        self,
        client: str,
        *,
        directory: str = "",
        port: int = 0,
        token: str = "",
        token_file: str = "",
        interval_seconds: float = 5.0,
        deadline_seconds: float = 2.0,
    ) -> None:
        self.client = client
        self.name = f"client {client}"
        self.subject = Subject(CLIENT, client)
        self.interval_seconds = interval_seconds
        self.limit_seconds = 2 * deadline_seconds + 1.0
        self._directory, self._port = directory, port
        self._token, self._token_file = token, token_file
        self._deadline_seconds = deadline_seconds

    def look(self) -> Look:
        try:
            samples = self._samples()
        except DeadlineExceeded as error:
            figure = ClientFigure(self.client, answers=False)
            return Look([Client(self.subject, hangs=True, problem=f"{error.subject}: {error.cause}")], figure)
        except ResilienceError as error:
            return Look(self.failed(str(error)), ClientFigure(self.client, answers=False))
        found = ClientFigure(
            self.client, True, pool_of(samples), slow_total(samples), cached_seconds(samples), buckets_of(samples)
        )
        reading = Client(self.subject, pool=found.pool, slow_total=found.slow_total, cached=found.cached)
        return Look([reading], found)

    def failed(self, problem: str) -> List[Reading]:
        return [Client(self.subject, problem=problem)]

    def _samples(self) -> List[Sample]:
        if self._directory:
            return read_metrics(self._directory, seconds=self._deadline_seconds, names=WATCHED)
        token = self._token or read_token(self._token_file)
        return read_metrics_of_port(self._port, token, seconds=self._deadline_seconds, names=WATCHED)


def read_token(path: str) -> str:
    """The first line of a file. Read at each look: a token is changed without asking the monitor."""
    try:
        lines = Path(path).read_text("utf-8").split("\n", 1)
    except (OSError, ValueError) as exc:
        raise Misconfigured(
            f"the token cannot be read: {getattr(exc, 'strerror', None) or 'it is no text'}",
            operation="read token",
            subject=path,
            hint="name a file that the monitor's user can read, with the token in its first line",
        ) from exc
    token = lines[0].strip()
    if not token or not token.isascii() or not token.isprintable():
        raise Misconfigured(
            "there is no token in its first line", operation="read token", subject=path, hint="write it there"
        )
    return token
