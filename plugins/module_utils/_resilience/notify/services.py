# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""From settings to notifiers."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional

from ..files import PathLike
from .dedupe import Ledger, OnceOnly
from .model import Notifier
from .settings import NotifySettings

LEDGER_FILE = "notified.json"


def notifiers_for(settings: NotifySettings, state_dir: Optional[PathLike] = None) -> List[Notifier]:
    """The services that are set. With ``state_dir`` the same fingerprint is sent once in the window of the settings."""
    # Imported only where somebody is told: with TLS and HTTP they are a fifth of what each task of a playbook imports.
    notifiers: List[Notifier] = []
    if settings.sentry_dsn:
        from .sentry import SentryNotifier

        notifiers.append(
            SentryNotifier(
                settings.sentry_dsn,
                environment=settings.environment,
                server_name=settings.server_name,
                budget_seconds=settings.budget_seconds,
            )
        )
    if settings.telegram_token:
        from .telegram import TelegramNotifier

        notifiers.append(
            TelegramNotifier(
                settings.telegram_token,
                settings.telegram_chat_id,
                api_url=settings.telegram_api_url,
                environment=settings.environment,
                budget_seconds=settings.budget_seconds,
            )
        )
    if state_dir is None or settings.dedupe_window_seconds <= 0:
        return notifiers
    ledger = Ledger(Path(state_dir) / LEDGER_FILE, settings.dedupe_window_seconds)
    return [OnceOnly(each, ledger) for each in notifiers]
