# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server is gone with everything: full restore from the mirror into a new and empty one."""

from __future__ import annotations

import pytest

from tests.integration.runbook.conftest import faults_of, section
from tests.integration.runbook.host import Operator

PAGE = section("4.")


@pytest.mark.parametrize("fault", faults_of(PAGE))
def test_the_page_leads_from_the_fault_to_live_sessions(operator: Operator, fault: str) -> None:
    operator.follow(PAGE, fault)
