# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What a source is: something that is looked at now and then, in a thread of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Optional, Protocol, Sequence, Tuple

from ..alerts.readings import Reading


@dataclass(frozen=True)
class Look:
    """What one look brought. ``figure`` is what a page and Prometheus show of it; ``degraded`` are sentences about what
    could not be looked at, and what to do; ``again_seconds`` overrides the source's interval once.
    """

    readings: Sequence[Reading] = ()
    figure: Any = None
    degraded: Tuple[str, ...] = ()
    again_seconds: Optional[float] = None


class Source(Protocol):
    """``limit_seconds``: a longer look is given up. ``quick``: a first failure is looked at again at once."""

    @property
    def name(self) -> str: ...

    @property
    def interval_seconds(self) -> float: ...

    @property
    def limit_seconds(self) -> float: ...

    @property
    def quick(self) -> bool: ...

    def look(self) -> Look:
        """Look once. Raises nothing but for a mistake of ours."""

    def failed(self, problem: str) -> List[Reading]:
        """What is to be judged where a look gave nothing: ``problem`` says why."""
