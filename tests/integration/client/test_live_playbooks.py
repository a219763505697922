# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two playbooks against an application with our client: what an operator sees of a move without a restart."""

from __future__ import annotations

from lab import Lab, playbooks
from lab.inventory import HOST
from tests.integration.client.test_failover_in_an_outage import talk
from tests.integration.client.test_live import health, logins

GIVEN = (*("-e", f"failover_confirm={HOST}", "-e", "failover_cooldown=0"),)


def play(lab: Lab, name: str, *more: str) -> playbooks.Played:
    played = playbooks.play(lab, name, *GIVEN, *more)
    assert played.returncode == 0, played.output
    return played


def test_emergency_failover_and_failback_move_the_sessions_while_they_run(lab: Lab) -> None:
    before = logins(lab)
    lab.break_("postgres-kill")
    talk(lab, "in the outage")
    told = " ".join(play(lab, "emergency_failover", "--check").output.split())
    assert "mode live: nothing is restarted, the sessions move while they run" in told
    assert "nothing is stopped: its client is told to hold the writes of each session" in told
    over = play(lab, "emergency_failover").reports[-1]
    assert (over["outcome"], over["mode"], health(lab)) == ("done", "live", {("open", "files")})
    assert {each["source"] for each in over["companies"].values()} == {"client"}
    talk(lab, "on files")
    again = play(lab, "emergency_failover")
    assert again.recap["changed"] == 0
    lab.heal()
    back = play(lab, "failback").reports[-1]
    assert (back["outcome"], back["mode"], health(lab)) == ("done", "live", {("open", "postgres")})
    talk(lab, "back in the database")
    assert logins(lab) == before
    assert {device["conflicts"] for device in lab.devices()} == {0}


def test_a_mode_that_cannot_be_is_refused_before_anything_is_touched(lab: Lab) -> None:
    before = (logins(lab), health(lab))
    wrong = ("-e", "failover_code_source=archive", "-e", "failover_mode=live")
    refused = playbooks.play(lab, "emergency_failover", *GIVEN, *wrong)
    assert refused.returncode != 0
    assert "the sessions cannot move while they run: another code runs from files" in " ".join(refused.output.split())
    assert (logins(lab), health(lab)) == before
