# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same session under Baileys 7 and 6, on what the product wrote: it logs in and decrypts after a failover, and the
steps that its ratchets took there are in PostgreSQL after the failback.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.failover.code import prepare
from baileys_resilience.failover.configuration import load_settings
from baileys_resilience.failover.operations import Operation
from baileys_resilience.sessions.directory_source import DirectorySource
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.importing import import_companies
from lab import Lab, processes
from tests.support.exports import export_all
from tests.support.lab_settings import write_settings

# Baileys 7 keeps the sessions of contacts with a LID under that name, which Baileys 6 does not look for.
KNOWN_CONTACT = {"7": "contact-1", "6": "pn-contact-1"}
PROGRAM = Path(__file__).resolve().parents[2] / "lab" / "node" / "interop.mjs"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab.up(tmp_path_factory.mktemp("decrypt") / "lab", 1)
    yield made
    made.down()


@pytest.fixture(scope="module")
def config(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_settings(lab, tmp_path_factory.mktemp("config") / "failover.json", mirror_dir="")
    prepare(load_settings(path))
    return path


class LoggedIn:
    """interop.mjs: the session of one folder, connected by the real library."""

    def __init__(self, child: subprocess.Popen[str], log: Path) -> None:
        self._child = child
        self._log = log

    def lines(self) -> list[dict[str, Any]]:
        assert self._child.poll() is None, self._log.read_text()
        return [json.loads(line) for line in self._log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def report(self) -> dict[str, Any]:
        processes.wait_until(lambda: bool(self.lines()), "the session is connected", 30)
        return self.lines()[0]

    def texts(self) -> set[str]:
        return {line["message"]["text"] for line in self.lines() if "message" in line}

    def send(self, jid: str, text: str) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps({"to": jid, "text": text}) + "\n")
        self._child.stdin.flush()


@contextlib.contextmanager
def logged_in(lab: Lab, version: str, directory: Path, log: Path) -> Iterator[LoggedIn]:
    words = ["--baileys", version, "--dir", str(directory), "--ws", lab.need_standin().ws_url]
    with log.open("w") as output:
        child = subprocess.Popen(
            [lab.node, str(PROGRAM), *words], stdin=subprocess.PIPE, stdout=output, text=True, bufsize=1
        )
        try:
            yield LoggedIn(child, log)
            child.communicate(timeout=30)  # the end of its input is what ends it
            assert child.returncode == 0, log.read_text()
        finally:
            child.kill()
            child.wait()


def assert_talks(lab: Lab, session: LoggedIn, version: str, store: str) -> None:
    """Every key was loaded, and a contact of old, a new one and a group are understood."""
    word, known = f"{version} on {store}", KNOWN_CONTACT[version]
    company = lab.companies[0]
    report = session.report()
    assert (report["connection"], report["user"], report["missing"]) == ("open", company.jid, [])
    assert report["total"] > 1300
    texts = {f"{word}: hello", f"{word}: group", f"{word}: first contact"}
    assert lab.message(company.id, f"{word}: hello", sender=known) == "delivered"
    assert lab.message(company.id, f"{word}: group", group=company.group, sender=known) == "delivered"
    assert lab.message(company.id, f"{word}: first contact", sender=f"pn-new-{word}") == "delivered"
    processes.wait_until(lambda: texts <= session.texts(), "the messages are decrypted", 20)
    for turn in (1, 2):
        _turn_ratchet(lab, session, known, f"{word}: turn {turn}")


def _turn_ratchet(lab: Lab, session: LoggedIn, contact: str, text: str) -> None:
    """A message and its answer. After two turns nobody without the new keys can read on: a session that was put back
    without them is one that fails.
    """
    assert lab.message(lab.companies[0].id, text, sender=contact) == "delivered"
    session.send(lab.contact_jid(contact), f"{text}, answer")
    processes.wait_until(
        lambda: f"{text}, answer" in [each.get("text") for each in lab.inbox(contact)], "the answer is decrypted", 20
    )


@pytest.mark.parametrize("version", ["7", "6"])
def test_a_session_decrypts_after_a_failover_and_after_a_failback(
    lab: Lab, config: Path, version: str, tmp_path: Path
) -> None:
    settings = load_settings(config)
    company = lab.companies[0].id
    Operation(settings, "failover").run()
    lab.pm2("stop", lab.need_app().pm2_name)
    with logged_in(lab, version, settings.home().directory(company), tmp_path / "files.log") as session:
        assert_talks(lab, session, version, "files")

    Operation(settings, "failback").run()
    lab.wait_open()
    assert lab.message(company, f"{version} back", sender=KNOWN_CONTACT[version]) == "delivered"

    # The old library on rows: exported once more, used, and put back, since its ratchets went on there.
    lab.pm2("stop", lab.need_app().pm2_name)
    home = SessionsHome(tmp_path / "exported")
    assert export_all(settings.database, home).failed == {}
    with logged_in(lab, version, home.directory(company), tmp_path / "rows.log") as session:
        assert_talks(lab, session, version, "rows")
    report = import_companies(DirectorySource(home), settings.database, settings.tables, [company])
    assert report.failed == {}
    lab.pm2("restart", lab.need_app().pm2_name)
    lab.wait_open()
    assert lab.message(company, f"{version} at the end", sender=KNOWN_CONTACT[version]) == "delivered"
    assert {device["conflicts"] for device in lab.devices()} == {0}
