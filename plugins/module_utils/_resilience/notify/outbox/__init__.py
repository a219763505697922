# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Notifications off the loop of whoever has them: on disk when :meth:`Outbox.put` returns, sent by a thread a service.

::

    outbox = Outbox(directory, notifiers_for(settings))
    outbox.start()
    outbox.put(notice.as_notification(), notice.services)   # syncs a file a service, and never waits for a network
    outbox.close(5.0)                                       # what is unsent then stays for the next start

Guaranteed: what ``put`` returned for is sent, dropped by a rule and said so, or still there, whenever the process is
killed. Each service gets its messages in the order of ``put``. A kill between a service's answer and the rename that
remembers it (:meth:`Shelf.delivered`) costs one duplicate at that service: nobody can do both at once.
"""

from __future__ import annotations

from .box import Outbox, Put
from .settings import OutboxSettings
from .status import ServiceStatus

__all__ = ["Outbox", "OutboxSettings", "Put", "ServiceStatus"]
