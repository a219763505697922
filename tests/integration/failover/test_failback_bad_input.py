# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input to a failback: the plan says BLOCKED with what to do, the run refuses with the same, nothing is changed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.errors import (
    DeadlineExceeded,
    Misconfigured,
    NotWritable,
    ReadOnly,
    Refused,
    ResilienceError,
    SchemaMismatch,
    StepFailed,
    Unavailable,
)
from lab import Lab
from tests.integration.failover.host import Host


@pytest.fixture(scope="module", autouse=True)
def _on_files_all_the_time(lab: Lab) -> Iterator[None]:
    """Whatever was refused: the session lives on files, and in the end goes back with all that it did there."""
    host = Host(lab)
    host.failover()
    host.assert_alive("before all")
    yield
    assert host.store() == "files"
    host.assert_alive("after all")
    host.failback()
    assert host.store() == "postgres"
    host.assert_alive("back")


def refused(host: Host, error: type[ResilienceError], cause: str, hint: str, **wrong: Any) -> None:
    """By the plan, in full, and by the run."""
    plan = host.operation("failback", **wrong).plan()
    assert any(cause in each and f"HINT: {hint}" in each for each in plan.blocked), plan.blocked
    assert [line for line in plan.sentences() if line.startswith("  BLOCKED: ")]
    assert "expected:" in "\n".join(plan.sentences())
    with host.refuses(error, cause=cause, hint=hint):
        host.failback(**wrong)


READ_ONLY = {"options": "-c default_transaction_read_only=on"}
DATABASES: list[tuple[str, dict[str, Any], type[ResilienceError], str, str]] = [
    ("dead", {"database": {"port": 1}}, Unavailable, "refused", "check that PostgreSQL runs"),
    ("read-only", {"database": {"extra": READ_ONLY}}, ReadOnly, "takes no writes", "connect to the primary"),
    ("wrong password", {"database": {"password": "wrong"}}, Refused, "password", "check login_user and login_password"),
    ("no database", {"database": {"dbname": "nowhere"}}, Misconfigured, "does not exist", "check login_db"),
    ("no table", {"session_tables": {"keys": {"table": "wa_keys"}}}, SchemaMismatch, "wa_keys", "set session_tables"),
    ("no column", {"session_tables": {"auth": {"creds": "c"}}}, SchemaMismatch, "missing in", "set session_tables"),
]


@pytest.mark.parametrize(
    ("wrong", "error", "cause", "hint"), [each[1:] for each in DATABASES], ids=[each[0] for each in DATABASES]
)
def test_a_database_that_cannot_take_the_sessions_is_refused_with_what_to_do(
    host: Host, wrong: dict[str, Any], error: type[ResilienceError], cause: str, hint: str
) -> None:
    refused(host, error, cause, hint, **wrong)


def test_a_database_that_keeps_silent_is_refused_within_the_seconds_of_the_setting(host: Host) -> None:
    host.lab.break_("network-drop")
    began = time.monotonic()
    try:
        plan = host.operation(
            "failback", policy={"connect_seconds": 2}, database={"connect_timeout_seconds": 30}
        ).plan()
        assert time.monotonic() - began < 15  # one patience, not two, and far from the 30 s of the connection
        assert any("timeout" in each and "does not answer" in each for each in plan.blocked), plan.blocked
        with host.refuses(DeadlineExceeded, cause="timeout", hint="the server or the network does not answer"):
            host.failback()
    finally:
        host.lab.heal()


def test_a_missing_env_file_is_refused(host: Host, tmp_path: Path) -> None:
    env = host.env_file.resolve()
    shutil.move(env, tmp_path / "env")
    try:
        refused(host, Misconfigured, "the file does not exist", "set application.env_file")
    finally:
        shutil.move(tmp_path / "env", env)


def test_a_read_only_env_file_is_refused(host: Host) -> None:
    env = host.env_file.resolve()
    env.chmod(0o440)
    try:
        refused(host, NotWritable, "is read-only", "check owner, mode and mount")
    finally:
        env.chmod(0o600)


def test_the_code_that_runs_on_postgresql_must_still_be_there(host: Host) -> None:
    parked = Path(f"{host.app_dir}.on-postgres")
    aside = parked.with_name("aside")
    parked.rename(aside)
    # Its .env went with it; without this the missing file would be what is named first.
    env_file = {"env_file": str(aside / ".env")}
    cause, hint = "the code that runs on PostgreSQL is not there", "put the application's own directory back"
    try:
        refused(host, Misconfigured, cause, hint, application=env_file)
    finally:
        aside.rename(parked)


def test_a_company_whose_files_are_gone_is_refused(host: Host) -> None:
    creds = host.place / "creds.json"
    kept = creds.read_bytes()
    creds.unlink()
    try:
        refused(host, StepFailed, f"company {host.company}", "PostgreSQL is as it was")
    finally:
        creds.write_bytes(kept)
