# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What is told, to whom, and what came of it. Nobody waits longer for a service than its budget."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Protocol, Sequence, Tuple

from .redact import redact

LEVELS = ("debug", "info", "warning", "error", "fatal")
#: why a delivery failed. LATER: the same can go well later. SETTINGS: the service does not take anything with these
#: settings (token, DSN, chat). CONTENT: it does not take this one notification
LATER, SETTINGS, CONTENT = "later", "settings", "content"
#: statuses that are an answer to who asks, not to what is sent
_ABOUT_SETTINGS = frozenset({301, 302, 303, 307, 308, 401, 403, 404, 410})
_LATER_STATUSES = frozenset({408, 425, 429})
#: for what is done after the budget: a thread to be seen as late, a result to be put together
_GRACE_SECONDS = 0.1


@dataclass(frozen=True)
class Notification:
    """One thing to tell. ``level`` is one of LEVELS; ``tags`` are short; equal ``fingerprint`` means the same news.

    ``companies`` are the ids that stay readable; every other run of digits that could be a phone number is hashed on
    its way out.
    """

    title: str
    text: str = ""
    level: str = "info"
    tags: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str = ""
    companies: Tuple[str, ...] = ()

    def redacted(self) -> Notification:
        """What may leave the host. Each notifier asks for this itself, so that no caller can forget it."""
        return replace(
            self,
            title=redact(self.title, self.companies),
            text=redact(self.text, self.companies),
            level=self.level if self.level in LEVELS else "error",
            tags={name: redact(str(value), self.companies) for name, value in self.tags.items()},
            fingerprint=redact(self.fingerprint, self.companies),
        )


@dataclass(frozen=True)
class Delivery:
    """What came of one notification at one service. ``detail`` is a clause for a report and holds no secret.

    Of a failed one ``failure`` says why (LATER, SETTINGS, CONTENT), and ``retry_after_seconds`` how long the service
    wants to be left alone, where it said so.
    """

    ok: bool
    detail: str
    service: str = ""
    failure: str = LATER
    retry_after_seconds: Optional[float] = None

    def as_dict(self) -> Dict[str, Any]:
        """What a report tells of it."""
        return {"ok": self.ok, "detail": self.detail, "service": self.service}


class Pace(NamedTuple):
    """A service takes ``messages`` within ``seconds``."""

    messages: int
    seconds: float


class Notifier(Protocol):
    """A service that people look at."""

    @property
    def service(self) -> str: ...

    @property
    def budget_seconds(self) -> float:
        """The longest that :meth:`send` takes."""

    @property
    def paces(self) -> Sequence[Pace]:
        """What the service is known to take; it may be asked for more, and refuses then."""

    @property
    def settings_digest(self) -> str:
        """Another one when its settings are others. Holds no secret."""

    def send(self, notification: Notification) -> Delivery:
        """Tell it. Never raises."""


def failure_of(status: Optional[int]) -> str:
    """Why something failed that was answered with this HTTP status; None is no answer."""
    if status is None or status >= 500 or status in _LATER_STATUSES:
        return LATER
    return SETTINGS if status in _ABOUT_SETTINGS else CONTENT


def digest_of(*settings: str) -> str:
    """Names settings without showing them."""
    return hashlib.sha256("\0".join(settings).encode("utf-8", "replace")).hexdigest()[:16]


def within_budget(service: str, seconds: float, work: Callable[[], Delivery]) -> Delivery:
    """Run ``work`` for at most ``seconds``. What it raises, and its being late, is a failed delivery.

    A thread, because time limits of sockets cover neither the look-up of a name nor an answer that comes in drops. It
    is a daemon: what is late does not keep the process from ending.
    """
    results: List[Delivery] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as exc:  # noqa: BLE001 - whatever breaks here must not break what is being told about
            results.append(Delivery(False, f"{type(exc).__name__} in the notifier", service))

    thread = threading.Thread(target=run, name=f"notify-{service}", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the process is at its limit of threads, or is ending
        return Delivery(False, "no thread could be started", service)
    thread.join(max(seconds, 0.0))
    return results[0] if results else Delivery(False, f"no answer within {seconds:g} s", service)


def notify_all(notifiers: Sequence[Notifier], notification: Notification) -> List[Delivery]:
    """Tell all of them at the same time; one Delivery each, in their order. Takes as long as the largest budget."""
    deliveries: List[Delivery] = [Delivery(False, "was not tried", each.service) for each in notifiers]

    def tell(position: int, notifier: Notifier) -> None:
        seconds = notifier.budget_seconds + _GRACE_SECONDS
        deliveries[position] = within_budget(notifier.service, seconds, lambda: notifier.send(notification))

    threads = []
    for position, notifier in enumerate(notifiers):
        thread = threading.Thread(target=tell, args=(position, notifier), daemon=True)
        thread.start()
        threads.append(thread)
    limit = time.monotonic() + max((each.budget_seconds for each in notifiers), default=0.0) + 2 * _GRACE_SECONDS
    for thread in threads:
        thread.join(max(limit - time.monotonic(), 0.0))
    return list(deliveries)
