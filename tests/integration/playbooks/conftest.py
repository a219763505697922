# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab with two live companies, prepared for failover; every test begins with the sessions live in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lab import Lab, playbooks
from lab.inventory import HOST

Play = Callable[..., playbooks.Played]


@pytest.fixture(scope="module")
def prepared_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Up, with code prepared and one scan of the mirror. Without the session client: what moves then is a restart."""
    lab = Lab.up(tmp_path_factory.mktemp("labs") / "playbooks", companies=2, client=False)
    try:
        played = playbooks.play(lab, "failover_prepare")
        assert played.returncode == 0, played.output
        yield lab
    finally:
        lab.down()


@pytest.fixture(scope="module")
def play(prepared_lab: Lab) -> Play:
    """Run a playbook of the collection against the lab."""
    env = playbooks.environment(prepared_lab)

    def run(name: str, *arguments: str) -> playbooks.Played:
        return playbooks.play(prepared_lab, name, *arguments, env=env)

    return run


@pytest.fixture
def live(prepared_lab: Lab) -> Lab:
    """Sessions live in PostgreSQL and mirrored, whatever the test before did; the cooldown is off."""
    prepared_lab.heal()
    back = playbooks.command(prepared_lab, "failback", "run", "--confirm", "all", "--cooldown", "0")
    assert back.returncode == 0, back.stderr
    prepared_lab.wait_open()
    once = playbooks.command(prepared_lab, "mirror", "once")
    assert once.returncode == 0, once.stderr
    return prepared_lab


def extra(**variables: object) -> list[str]:
    """Extra variables for one run: confirmed, without cooldown, unless said otherwise."""
    given: dict[str, object] = {"failover_confirm": HOST, "failover_cooldown": 0, **variables}
    return [word for name, value in given.items() for word in ("-e", f"{name}={value}")]
