# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What was dropped, kept until somebody was told of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping

from ..model import Notification
from .messages import Message

#: why
FULL, OLD, REJECTED = "full", "old", "rejected"
_BECAUSE = {
    FULL: "because too many were waiting",
    OLD: "because they had waited too long",
    REJECTED: "because the service takes none like them",
}
_TITLES = 5


@dataclass
class Losses:
    """``by_reason`` counts them, ``by_kind`` too; ``titles`` are the newest few that were no repeats."""

    by_reason: Dict[str, int] = field(default_factory=dict)
    by_kind: Dict[str, int] = field(default_factory=dict)
    titles: List[str] = field(default_factory=list)
    companies: List[str] = field(default_factory=list)
    first: str = ""
    last: str = ""

    @property
    def number(self) -> int:
        return sum(self.by_reason.values())

    def add(self, message: Message, reason: str) -> None:
        self.by_reason = {**self.by_reason, reason: self.by_reason.get(reason, 0) + 1}
        self.by_kind = {**self.by_kind, message.kind: self.by_kind.get(message.kind, 0) + 1}
        self.first = min(self.first or message.put_at, message.put_at)
        self.last = max(self.last, message.put_at)
        if message.worth:
            self.titles = [*self.titles, message.notification.title][-_TITLES:]
            self.companies = list(dict.fromkeys([*self.companies, *message.notification.companies]))[-2 * _TITLES :]

    def as_notification(self, service: str) -> Notification:
        reasons = [f"{number} {_BECAUSE[reason]}" for reason, number in self.by_reason.items()]
        kinds = [f"{number} of kind {kind}" for kind, number in sorted(self.by_kind.items())]
        lines = [f"{', '.join(reasons)}; {', '.join(kinds)}", f"from {self.first[:19]}Z to {self.last[:19]}Z"]
        lines.extend(f"- {each}" for each in self.titles)
        lines.append("Note: how it is now, the monitor's page shows")
        return Notification(
            title=f"{self.number} {'messages were' if self.number > 1 else 'message was'} not sent to {service}",
            text="\n".join(lines),
            level="warning",
            tags={"kind": "lost", "service": service},
            fingerprint=f"outbox:lost:{service}:{self.first}:{self.last}:{self.number}",
            companies=tuple(self.companies),
        )

    def to_dict(self) -> Dict[str, Any]:
        return dict(vars(self))


def from_dict(content: Mapping[str, Any]) -> Losses:
    """No losses for what is damaged."""
    try:
        return Losses(
            by_reason={
                reason: int(content["by_reason"].get(reason, 0))
                for reason in _BECAUSE
                if content["by_reason"].get(reason)
            },
            by_kind={str(kind): int(number) for kind, number in content["by_kind"].items()},
            titles=[str(each) for each in content["titles"]],
            companies=[str(each) for each in content["companies"]],
            first=str(content["first"]),
            last=str(content["last"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return Losses()
