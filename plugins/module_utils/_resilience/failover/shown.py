# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What became of a step that the process of the downtime does by itself, for the tasks that show it.

Imports little on purpose: half of what such a task costs on the host would be the import of steps that it does not run.
"""

from __future__ import annotations

from typing import Optional, Tuple

from ..steps.detached import Shown, follow
from ..steps.lease import HostLease
from .settings import FailoverSettings


def shown_step(settings: FailoverSettings, operation: str, name: str) -> Optional[Tuple[str, Shown]]:
    """The open run and its step ``name``, once it is done. None when nobody does it by itself. Raises what it met."""
    lease = HostLease(settings.state).current()
    if lease is None or lease.operation != operation:
        return None
    shown = follow(settings.state / "runs" / lease.run, name)
    return (lease.run, shown) if shown else None
