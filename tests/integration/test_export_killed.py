# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGKILL at any moment of an export leaves each company old or new, whole, and the next run finishes the work."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from baileys_resilience.errors import Busy
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.export import ExportReport
from tests.support.databases import Database
from tests.support.exports import export_all
from tests.support.sources import assert_holds, user_of
from tests.support.synthetic import MIX, Company, make_company

ROUNDS = 24
PROGRAM = Path(__file__).parent / "export_program.py"
COMPANIES = ("962301", "962302")
#: enough files that a kill falls among them, and few enough for many rounds
SIZE = {**MIX, "pre-key": 120, "session": 40}

State = dict[str, Company]


def state(number: int) -> State:
    """One of two states of the same companies, which share no user and no value."""
    made = {company: make_company(f"{company} {number}", 2 * n + number, SIZE) for n, company in enumerate(COMPANIES)}
    return {name: Company(name, each.creds, each.keys) for name, each in made.items()}


def put(database: Database, companies: State) -> None:
    database.run("TRUNCATE whatsapp_auth, whatsapp_keys")
    database.fill(*companies.values())


def start(database: Database, home: SessionsHome, jobs: int) -> subprocess.Popen[str]:
    params = database.params
    arguments = [home.path, str(jobs), params.host, str(params.port), params.dbname, params.user]
    process = subprocess.Popen(
        [sys.executable, PROGRAM, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(params.password + "\n")
    process.stdin.flush()
    assert process.stdout.readline() == "begin\n"
    return process


def kill_after(process: subprocess.Popen[str], seconds: float) -> bool:
    """False when it was quicker than that."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    return process.returncode == -signal.SIGKILL


def export_when_free(database: Database, home: SessionsHome) -> ExportReport:
    """The killed process' children die with it, but a moment later."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return export_all(database.params, home)
        except Busy:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def holds_one_of(home: SessionsHome, company: str, states: list[State]) -> int:
    """Which of the states the company's directory holds, whole."""
    user = user_of(home.directory(company))
    (which,) = [number for number, each in enumerate(states) if each[company].creds["me"]["id"] == user]
    assert_holds(home.directory(company), states[which][company])
    return which


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_whole(
    database: Database, home: SessionsHome, jobs: int
) -> None:
    states = [state(0), state(1)]
    put(database, states[0])
    export_all(database.params, home)
    put(database, states[1])
    started = time.monotonic()
    assert not kill_after(start(database, home, jobs), 60)
    seconds = time.monotonic() - started
    chance = random.Random(jobs)
    killed, outcomes = 0, set()
    for number in range(ROUNDS):
        wanted = states[number % 2]
        put(database, wanted)
        hit = kill_after(start(database, home, jobs), chance.uniform(0, seconds * 0.7))
        killed += hit
        if not hit:
            seconds *= 0.8  # the machine was busier when the time was taken than it is now
        for company in COMPANIES:
            outcomes.add(states[holds_one_of(home, company, states)] is wanted)
        report = export_when_free(database, home)
        assert report.failed == {}
        assert [holds_one_of(home, company, states) for company in COMPANIES] == [number % 2] * 2
    assert killed >= ROUNDS // 2
    assert outcomes == {True, False}
    assert list((home.private / "staging").iterdir()) == []
