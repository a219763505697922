# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab that looks like the host and the controller of the runbook, and an operator who follows the page."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from lab import Lab, inventory, playbooks, processes
from tests.integration.runbook import damage
from tests.integration.runbook.page import Command, Event, Section
from tests.support.matching import complaint

HOST = "wa-app-1"
COMMAND_SECONDS = 120
CONTACTS = [
    {
        "name": "Database desk",
        "reach": "+49 30 123456",
        "role": "PostgreSQL at the provider",
        "when": "day and night",
        "note": "ask for the WhatsApp cluster",
    }
]


class NotAsWritten(AssertionError):
    """The page and what happened differ."""


class Operator:
    """Follows the page: pastes each command as it stands there, and compares what is printed."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.env = self._environment()

    def _environment(self) -> dict[str, str]:
        """PATH and Ansible's settings, as the login shells on controller and host have them; nothing else of ours."""
        whole = playbooks.environment(self.lab)
        kept = ("ANSIBLE_", "HOME", "LANG", "LC_", "TMPDIR", "USER", processes.LAB_MARK)
        return {
            **{name: value for name, value in whole.items() if name.startswith(kept)},
            "PATH": f"{self._programs()}{os.pathsep}{whole['PATH']}",
            "ANSIBLE_INVENTORY": str(self.lab.path / "inventory.yml"),
            # A real host has it in /etc, where the command looks by itself.
            "BAILEYS_RESILIENCE_CONFIG": str(self.lab.path / "failover.json"),
        }

    def _programs(self) -> Path:
        """`pm2` as the application's user has it, and PostgreSQL's programs as the user postgres on its server has."""
        directory = self.lab.path / "programs"
        directory.mkdir(exist_ok=True)
        app, server = self.lab.need_app(), self.lab.need_postgres()
        superuser = {
            "PGHOST": server.host,
            "PGPORT": str(server.direct_port),
            "PGUSER": server.superuser,
            "PGPASSWORD": server.superuser_password,
        }
        wrapped: dict[str, tuple[dict[str, str], list[str]]] = {
            "pm2": ({"PM2_HOME": app.pm2_home}, [self.lab.node, app.pm2_bin]),
            **{name: (superuser, [f"{server.bin_dir}/{name}"]) for name in ("createuser", "createdb")},
        }
        for name, (variables, argv) in wrapped.items():
            settings = " ".join(f"{key}={shlex.quote(value)}" for key, value in variables.items())
            script = directory / name
            script.write_text(f'#!/bin/sh\n{settings} exec {shlex.join(argv)} "$@"\n', "utf-8")
            script.chmod(0o700)
        return directory

    def follow(self, section: Section, fault: str = "") -> None:
        """The whole section, from the moment at which `fault` has struck."""
        self.let_mirror_follow()
        if fault:
            damage.bring_about(self.lab, fault)
        for step in section.steps_for(fault):
            if isinstance(step, Event):
                self.let_happen(step, fault)
            else:
                self.paste(step)
        self.expect_repaired()

    def expect_repaired(self) -> None:
        """The page has repaired what was broken: nothing is left that the lab could heal."""
        left = [each for each in self.lab.heal() if each.get("put_back") != 0]
        assert left == []

    def let_mirror_follow(self) -> None:
        """As its service does all the time."""
        done = self.run("baileys-resilience mirror once")
        assert done.returncode == 0, done.stdout

    def let_happen(self, event: Event, fault: str) -> None:
        if event.name == "heal":
            damage.repair(self.lab, fault)
        elif event.name == "new server":
            self.lab.replace_postgres()
        else:
            damage.expect_messages(self.lab, "by the runbook")

    def paste(self, command: Command) -> None:
        typed = f"{self.lab.need_postgres().password}\n" * 2 if command.typed else ""
        done = self.run(command.text, typed)
        wrong = complaint(command.output, done.stdout)
        if done.returncode != command.exit_code:
            wrong = wrong or f"it ended with exit code {done.returncode}, and the page says {command.exit_code}"
        assert self.lab.need_postgres().password not in done.stdout
        if wrong:
            raise NotAsWritten(
                f"{wrong}\n--- command\n{command.text}--- page\n{command.output}--- printed\n{done.stdout}"
            )

    def run(self, text: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """As in a shell, but that it ends at the first command that fails. Without a terminal, prompts read stdin."""
        return subprocess.run(
            ["bash", "-e", "-c", text],
            cwd=self.lab.path,
            env=self.env,
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
            start_new_session=True,
        )


def make_ready(lab: Lab) -> Operator:
    """The lab as a prepared host named as in the page. One run soon after another is no mistake here."""
    inventory.write(lab, HOST, baileys_resilience_contacts=CONTACTS, failover_cooldown=0)
    operator = Operator(lab)
    for command in ("ansible-playbook baileys.resilience.failover_prepare", "baileys-resilience init-db", "pm2 save"):
        done = operator.run(command)
        assert done.returncode == 0, done.stdout
    return operator
