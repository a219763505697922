# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many of the places where a run can be cut off are tried: `make test-faults` tries them all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

ALL = os.environ.get("FAULTS") == "all"


def places(every: Sequence[Any], quick: Sequence[Any]) -> Sequence[Any]:
    """`quick` in an ordinary run."""
    assert set(map(str, quick)) <= set(map(str, every))
    return every if ALL else quick
