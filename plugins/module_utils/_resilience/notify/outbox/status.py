# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""How one service does, for metrics and for a page. Nothing here is a secret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional


@dataclass(frozen=True)
class ServiceStatus:
    """``oldest_seconds`` is the age of what waits longest; ``last_success_seconds`` how long ago this process delivered
    something; ``last_error`` is of the newest failure, empty once something was delivered after it. ``refused``: the
    service does not take these settings. ``in_memory`` are messages that the disk refused. ``sent``, ``failed`` and
    ``dropped`` count since the start.
    """

    service: str
    queued: int
    oldest_seconds: float = 0.0
    last_success_seconds: Optional[float] = None
    last_error: str = ""
    last_error_seconds: Optional[float] = None
    refused: bool = False
    next_try_seconds: float = 0.0
    in_memory: int = 0
    sent: int = 0
    failed: int = 0
    dropped: int = 0
    damaged: int = 0

    def as_dict(self) -> Dict[str, Any]:
        return dict(vars(self))
