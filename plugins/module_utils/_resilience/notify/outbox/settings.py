# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What can be set about an outbox."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import UsageError


@dataclass(frozen=True)
class OutboxSettings:
    """
    - ``limit``: so many messages wait for one service. One more drops the oldest repeat; without one the oldest of what
      is no alert; then the oldest alert.
    - ``expires_seconds``: an alert of yesterday is still worth reading, for what it began; it says how late it is. One
      of the day before is not: whoever looks now sees the state on the page, and its recovery has expired as well.
    - ``repeat_expires_seconds``: a repeat says that it is *still* so. After an hour the next one is there.
    - ``late_seconds``: what is sent later than that says so.
    - ``refused_recheck_seconds``: a service that refuses these settings is asked so often whether it takes them now.
    - ``first_wait_seconds``, ``longest_wait_seconds``: between two tries, doubled from try to try.
    """

    limit: int = 500
    expires_seconds: float = 86400.0
    repeat_expires_seconds: float = 3600.0
    late_seconds: float = 120.0
    refused_recheck_seconds: float = 3600.0
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name, least in (("limit", 2), ("expires_seconds", 60), ("repeat_expires_seconds", 1)):
            if not getattr(self, name) >= least:
                raise UsageError(
                    f"is {getattr(self, name)!r}", operation="read setting", subject=name, hint=f"give at least {least}"
                )
