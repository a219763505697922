# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs tasks with the real ansible-playbook and gives back what each returned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from baileys_resilience.postgres import ConnectParams

Task = dict[str, Any]
PREFIX = "baileys.resilience."


class Unsafe(str):
    """A text that Ansible must not read as a template, such as a password with braces."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(Unsafe, lambda dumper, value: dumper.represent_scalar("!unsafe", str(value), style="'"))


@dataclass
class Played:
    """One run: the results of its tasks in order, and everything that was printed."""

    results: list[dict[str, Any]]
    output: str
    returncode: int


def task(module: str, *, check: bool = False, diff: bool = False, **options: Any) -> Task:
    """A task of this collection; a failure is a result and does not end the play."""
    made: Task = {"name": module, f"{PREFIX}{module}": options}
    if check:
        made["check_mode"] = True
    if diff:
        made["diff"] = True
    return made


def login(params: ConnectParams, **more: Any) -> dict[str, Any]:
    """The login_* options for a database."""
    return {
        "login_host": params.host,
        "login_port": params.port,
        "login_user": params.user,
        "login_password": Unsafe(params.password),
        "login_db": params.dbname,
        "ssl_mode": "disable",
        **more,
    }


@dataclass
class Ansible:
    """ansible-playbook with the collection as it ships, on this machine."""

    environment: Mapping[str, str]
    directory: Path
    wrapper: Sequence[str] = ()
    timeout_seconds: float = 120
    _runs: int = field(default=0, init=False)

    def play(self, tasks: Sequence[Task], *arguments: str, variables: Mapping[str, Any] | None = None) -> Played:
        """Run the tasks in one play. Tasks fail without ending it."""
        self._runs += 1
        answers = self.directory / f"results-{self._runs}.json"
        named = [each.get("register", f"result_{number}") for number, each in enumerate(tasks)]
        registered = [
            {**each, "register": name, "ignore_errors": True} for each, name in zip(tasks, named, strict=True)
        ]
        keep = {
            "name": "keep the results",
            "ansible.builtin.copy": {"content": "{{ [" + ", ".join(named) + "] | to_json }}", "dest": str(answers)},
            "check_mode": False,
            "diff": False,
            "no_log": True,
        }
        done = self.playbook([{"tasks": [*registered, keep]}], *arguments, variables=variables)
        assert answers.exists(), done.output
        done.results = json.loads(answers.read_text(encoding="utf-8"))
        return done

    def playbook(
        self, plays: Sequence[dict[str, Any]], *arguments: str, variables: Mapping[str, Any] | None = None
    ) -> Played:
        """Run whole plays as they are."""
        common = {"hosts": "localhost", "gather_facts": False, "connection": "local"}
        path = self.directory / f"playbook-{self._runs}.yml"
        known = {"ansible_python_interpreter": sys.executable, **(variables or {})}
        text = [{**common, **play, "vars": {**known, **play.get("vars", {})}} for play in plays]
        path.write_text(yaml.dump(text, Dumper=_Dumper, sort_keys=False), encoding="utf-8")
        path.chmod(0o600)
        done = subprocess.run(
            [
                *self.wrapper,
                str(Path(sys.executable).parent / "ansible-playbook"),
                "-i",
                "localhost,",
                *arguments,
                path,
            ],
            env=dict(self.environment),
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=self.timeout_seconds,
            check=False,
        )
        return Played([], done.stdout + done.stderr, done.returncode)


def tree(path: Path) -> dict[str, tuple[int, bytes | str]]:
    """Everything below a directory, comparable: mode, and content or target. Empty when it is not there."""
    found: dict[str, tuple[int, bytes | str]] = {}
    for each in sorted(path.rglob("*")):
        status = each.lstat()
        content: bytes | str = ""
        if each.is_symlink():
            content = os.readlink(each)
        elif each.is_file():
            content = each.read_bytes()
        found[str(each.relative_to(path))] = (status.st_mode, content)
    return found
