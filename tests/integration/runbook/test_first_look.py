# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page shows of a host that is well."""

from __future__ import annotations

import pytest

from tests.integration.runbook.conftest import section
from tests.integration.runbook.host import Operator


@pytest.mark.parametrize("title", ["First look", "Whom to call", "What you need"])
def test_a_host_that_is_well_looks_as_on_the_page(operator: Operator, title: str) -> None:
    operator.follow(section(title))
