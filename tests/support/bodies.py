# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a page of the monitor's endpoint holds."""

from __future__ import annotations

import json
from typing import Any

from baileys_resilience.health.monitor.server import Page


def body(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.content)
    return found
