# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Telling people: Sentry and Telegram behind one interface. A failed delivery is a result, never an exception.

::

    notifiers = notifiers_for(settings, state_dir)
    for delivery in notify_all(notifiers, Notification("sessions run from files", level="error")): ...

A program that runs on and must not wait has :mod:`.outbox`, and :mod:`.heartbeat` for who watches the watcher.
:mod:`.check_in` is for a job that runs once a day.
"""

from __future__ import annotations

from .model import Delivery, Notification, Notifier, notify_all
from .services import notifiers_for
from .settings import NotifySettings

__all__ = ["Delivery", "Notification", "Notifier", "NotifySettings", "notifiers_for", "notify_all"]
