# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One lab for each module, and each module for one section of the page: so they run side by side."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab import Lab
from tests.integration.runbook.host import Operator, make_ready
from tests.integration.runbook.page import PAGE, Section, sections


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    lab = Lab.up(tmp_path_factory.mktemp("labs") / "runbook", 2, client=False)
    try:
        yield make_ready(lab)
    finally:
        lab.down()


def faults_of(part: Section) -> tuple[str, ...]:
    """Those that a quick run tries, or all."""
    return part.faults + (part.more_faults if os.environ.get("RUNBOOK") == "all" else ())


def section(beginning: str) -> Section:
    """The section whose title begins so."""
    return next(each for each in sections(PAGE.read_text("utf-8")) if each.title.startswith(beginning))
