# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""One message: its file, and how much it is worth when there is no room."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any, Dict, Mapping, Optional

from ...clock import Clock, from_seconds, in_words, to_iso
from ...errors import StoreError
from ..model import Notification

FORMAT = "baileys-resilience/outbox-message"
VERSION = 1
#: the tag ``kind`` of a notice (:mod:`...health.alerts.model`); what has none is worth as much as an alert
REPEAT, ALERT = "repeat", "alert"
_LESS_THAN_ALERTS = frozenset({"recovery", "flapping", "unknown", "info"})


@dataclass(frozen=True)
class Message:
    """``stamp`` is when it was put (:meth:`Clock.stamp`)."""

    notification: Notification
    stamp: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return str(self.notification.tags.get("kind", ALERT))

    @property
    def worth(self) -> int:
        """What is worth less is dropped first."""
        if self.kind == REPEAT:
            return 0
        return 1 if self.kind in _LESS_THAN_ALERTS else 2

    @property
    def digest(self) -> str:
        """Equal for the same news; empty where the notification has no fingerprint."""
        fingerprint = self.notification.fingerprint
        return hashlib.sha256(fingerprint.encode("utf-8", "replace")).hexdigest() if fingerprint else ""

    @property
    def put_at(self) -> str:
        return to_iso(from_seconds(float(self.stamp["wall"])))

    def to_bytes(self) -> bytes:
        told = self.notification
        notification: Dict[str, Any] = {
            "title": told.title,
            "text": told.text,
            "level": told.level,
            "tags": {name: str(value) for name, value in told.tags.items()},
            "fingerprint": told.fingerprint,
            "companies": list(told.companies),
        }
        content = {"format": FORMAT, "version": VERSION, "put": dict(self.stamp), "notification": notification}
        return json.dumps(content, sort_keys=True).encode("ascii")

    def as_sent(self, clock: Clock, late_seconds: float) -> Notification:
        """The notification as it is to be read now: what comes late says so, since it speaks as if it were now."""
        age = clock.seconds_since(self.stamp)
        if age < late_seconds:
            return self.notification
        late = f"{in_words(age)} late: this was so at {self.put_at[:19]}Z"
        text = self.notification.text
        return replace(self.notification, text=f"{late}\n{text}" if text else late)


def from_bytes(content: bytes) -> Message:
    """Raises StoreError for what is no message, or one of another version."""
    problem: Optional[str] = None
    try:
        value = json.loads(content)
        if value["format"] != FORMAT or value["version"] != VERSION:
            problem = f"it is of version {value['version']!r}, and this release reads version {VERSION}"
        else:
            return _message(value["put"], value["notification"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError) as exc:
        problem = f"it is damaged: {type(exc).__name__}"
    raise StoreError(problem, operation="read message", hint="it is put aside; read it, then remove it")


def _message(put: Mapping[str, Any], told: Mapping[str, Any]) -> Message:
    notification = Notification(
        title=str(told["title"]),
        text=str(told["text"]),
        level=str(told["level"]),
        tags={str(name): str(value) for name, value in told["tags"].items()},
        fingerprint=str(told["fingerprint"]),
        companies=tuple(str(each) for each in told["companies"]),
    )
    stamp = {"wall": float(put["wall"]), "monotonic": float(put["monotonic"]), "boot": str(put["boot"])}
    message = Message(notification, stamp)
    message.put_at  # noqa: B018 - a time that is none is damage
    return message
