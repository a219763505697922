# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another major version of Baileys in the prepared code is said before the failover, and in the daily check."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from baileys_resilience.failover.context import FailoverContext
from baileys_resilience.failover.daily_check import check_readiness
from baileys_resilience.failover.library import baileys_difference
from baileys_resilience.failover.operations import Operation
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict


def install(directory: Path, package: str, version: str) -> None:
    place = directory / "node_modules" / package
    place.mkdir(parents=True)
    (place / "package.json").write_text(json.dumps({"name": package, "version": version}))


@pytest.fixture
def settings(tmp_path: Path) -> FailoverSettings:
    for name in ("app", "app-files", "state"):
        (tmp_path / name).mkdir()
    prepared = {"source": "tag", "commit": "c0ffee", "worktree": str(tmp_path / "app-files"), "prepared_at": "now"}
    (tmp_path / "state" / "prepared.json").write_text(json.dumps(prepared))
    return settings_from_dict(
        {
            "host": "app1",
            "companies": ["962301"],
            "database": {"port": 1},
            "sessions_dir": str(tmp_path / "sessions"),
            "state_dir": str(tmp_path / "state"),
            "application": {"dir": str(tmp_path / "app")},
            "code": {"source": "tag"},
        }
    )


def codes(settings: FailoverSettings) -> tuple[Path, Path]:
    return settings.application.directory, Path(f"{settings.application.dir}-files")


def test_another_major_version_is_told_with_what_is_lost_and_what_to_do(settings: FailoverSettings) -> None:
    here, there = codes(settings)
    install(here, "baileys", "7.0.0-rc14")
    install(there, "@whiskeysockets/baileys", "6.7.24")
    said = baileys_difference(FailoverContext(settings, "", "files"))
    assert "the code on PostgreSQL holds Baileys 7.0.0-rc14, the prepared one 6.7.24" in said
    assert "cannot be decrypted" in said
    assert "HINT: give both codes the same major version" in said


@pytest.mark.parametrize(
    "versions", [("7.0.0-rc14", "7.1.2"), ("6.7.24", ""), ("", "6.7.24"), ("", "")], ids=["same", "a", "b", "none"]
)
def test_the_same_major_version_and_one_that_is_not_known_say_nothing(
    settings: FailoverSettings, versions: tuple[str, str]
) -> None:
    for directory, version in zip(codes(settings), versions, strict=True):
        if version:
            install(directory, "baileys", version)
    assert baileys_difference(FailoverContext(settings, "", "files")) == ""


def test_plan_and_daily_check_both_say_it(settings: FailoverSettings) -> None:
    here, there = codes(settings)
    install(here, "baileys", "7.0.0")
    install(there, "baileys", "6.7.24")
    operation = Operation(settings, "failover")
    assert any("holds Baileys 7.0.0" in each for each in operation.plan().degraded)
    assert any("holds Baileys 7.0.0" in each for each in check_readiness(operation).degraded)
