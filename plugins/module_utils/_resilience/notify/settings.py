# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What an operator sets about notifications."""

from __future__ import annotations

from dataclasses import dataclass, fields

_SECRET = frozenset({"sentry_dsn", "telegram_token", "telegram_chat_id"})


@dataclass(frozen=True, repr=False)
class NotifySettings:
    """Where notifications go. An empty ``sentry_dsn`` or ``telegram_token`` turns that service off.

    ``budget_seconds`` is the longest that one notification may keep its caller, whatever the services do.
    ``server_name`` is what Sentry shows as the host (empty: the host's own name). Within ``dedupe_window_seconds`` the
    same fingerprint is not sent twice (0 turns that off).
    """

    sentry_dsn: str = ""
    telegram_token: str = ""
    telegram_chat_id: str = ""
    telegram_api_url: str = "https://api.telegram.org"
    environment: str = "production"
    budget_seconds: float = 3.0
    server_name: str = ""
    dedupe_window_seconds: float = 300.0

    def __repr__(self) -> str:
        # Settings land in tracebacks and logs: of a secret only whether it is set.
        shown = (f"{each.name}={self._shown(each.name)}" for each in fields(self))
        return f"NotifySettings({', '.join(shown)})"

    def _shown(self, name: str) -> str:
        value = getattr(self, name)
        if name in _SECRET:
            return "<set>" if value else "<not set>"
        return repr(value)
