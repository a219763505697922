# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two playbooks against a live application whose PostgreSQL is killed, beside a bare restart of the application."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import Result, human, seconds
from lab import Lab, playbooks
from lab.inventory import HOST

WHOLE_FLOOR_SECONDS = 10.0
DOWN_FLOOR_SECONDS = 3.0
GIVEN = ("-e", f"failover_confirm={HOST}", "-e", "failover_cooldown=0")


@dataclass
class Measured:
    """Seconds of each round: the whole playbook, and from the stop until every session is open with all its keys."""

    name: str
    whole: list[float] = field(default_factory=list)
    down: list[float] = field(default_factory=list)


def run(work: Path, rounds: int) -> list[Result]:
    lab = Lab.up(work, client=False)
    try:
        measured = _measure(lab, rounds)
    finally:
        lab.down()
    lab = Lab.up(work.with_name(f"{work.name}-client"))
    try:
        return measured + _measure_live(lab, rounds)
    finally:
        lab.down()


def _measure_live(lab: Lab, rounds: int) -> list[Result]:
    """The same with the session client, and code that runs on both stores: nothing is restarted."""
    lines = []
    measured = {name: Measured(name) for name in ("emergency_failover", "failback")}
    for _ in range(rounds):
        for name, each in measured.items():
            if name == "emergency_failover":
                lab.break_("postgres-kill")
                lab.message(lab.companies[0].id, "in the outage")  # else its client would not know of it yet
            else:
                lab.heal()
            played = _play(lab, name, *GIVEN, "-e", "failover_mode=live")
            _add(each, played)
    for name, each in measured.items():
        whole, held = statistics.median(each.whole), statistics.median(each.down)
        lines.append(
            Result(f"`{name}` without a restart (mode live): the whole playbook; writes held {human(held)}",
                   human(whole), "", None, f"<= {WHOLE_FLOOR_SECONDS:g} s", whole <= WHOLE_FLOOR_SECONDS)
        )  # fmt: skip
    return lines


def _measure(lab: Lab, rounds: int) -> list[Result]:
    _play(lab, "failover_prepare")
    over, back = Measured("emergency_failover"), Measured("failback")
    restarts: list[float] = []
    with playbooks.mirror(lab) as caught_up:
        for _ in range(rounds):
            restarts.append(seconds(lambda: _restart(lab)))
            caught_up()
            lab.break_("postgres-kill")
            _add(over, _play(lab, over.name, *GIVEN))
            lab.heal()
            _add(back, _play(lab, back.name, *GIVEN))
            lab.wait_open()
    return [line for measured in (over, back) for line in _lines(measured, restarts)]


def _restart(lab: Lab) -> None:
    lab.pm2("restart", lab.need_app().pm2_name)
    lab.wait_open()


def _play(lab: Lab, name: str, *arguments: str) -> playbooks.Played:
    played = playbooks.play(lab, name, *arguments)
    assert played.returncode == 0, played.output
    return played


def _add(measured: Measured, played: playbooks.Played) -> None:
    measured.whole.append(played.seconds)
    measured.down.append(float(played.reports[-1]["downtime_seconds"]))


def _lines(measured: Measured, restarts: list[float]) -> list[Result]:
    condition = " with PostgreSQL killed" if measured.name == "emergency_failover" else ""
    whole, down = statistics.median(measured.whole), statistics.median(measured.down)
    bare = statistics.median(restarts)
    return [
        Result(
            f"`{measured.name}`{condition}: the whole playbook",
            human(whole), "", None, f"<= {WHOLE_FLOOR_SECONDS:g} s", whole <= WHOLE_FLOOR_SECONDS,
        ),
        Result(
            f"`{measured.name}`{condition}: application down, beside a bare `pm2 restart` until every session is open",
            human(down), human(bare), down / bare, f"<= {DOWN_FLOOR_SECONDS:g} s", down <= DOWN_FLOOR_SECONDS,
        ),
    ]  # fmt: skip
