# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with the application, and the stand-in for WhatsApp's servers, asked from outside of both."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machines import machine
from testinfra.host import Host

STATE = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
ASK = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], sys.argv[2].encode() or None)
print(urllib.request.urlopen(request, timeout=30).read().decode())
"""


@dataclass(frozen=True)
class App:
    """A host with the application: which companies it has, and how the stand-in knows them."""

    host: Host
    name: str
    companies: dict[str, dict[str, str]]
    control_url: str

    def ask(self, path: str, content: dict[str, Any] | None = None) -> Any:
        """The application's own HTTP, which listens on the host's loopback only."""
        data = "" if content is None else json.dumps(content)
        return json.loads(self.host.check_output("python3 -c %s %s %s", ASK, f"http://127.0.0.1:3000{path}", data))

    def control(self, path: str, content: dict[str, Any] | None = None) -> Any:
        data = None if content is None else json.dumps(content).encode()
        with urllib.request.urlopen(urllib.request.Request(self.control_url + path, data), timeout=30) as answer:
            return json.load(answer)

    def assert_lives_in(self, store: str) -> None:
        """Connected from that store, every key loaded; each session reads what is written to it, and can write."""
        health = self.ask("/health")
        assert {
            each["company_id"]: (each["connection"], each["store"]) for each in health["companies"]
        } == dict.fromkeys(self.companies, ("open", store)), health
        assert all(each["keys_loaded"] > 1000 for each in health["companies"]), health
        for company, known in self.companies.items():
            self._assert_reads(company, known["jid"], {})
            self._assert_reads(company, known["jid"], {"group": known["group"]})
            self._assert_writes(company)

    def _assert_reads(self, company: str, jid: str, group: dict[str, str]) -> None:
        text = f"to {company} at {time.time_ns()}"
        sent = self.control("/message", {"to": jid, "from": "contact-1", "text": text, "timeout_ms": 15000, **group})
        assert sent["outcome"] == "delivered", sent
        assert text in {each["text"] for each in self.ask(f"/messages?company={company}")}

    def _assert_writes(self, company: str) -> None:
        text = f"from {company} at {time.time_ns()}"
        contact = self.control("/contact", {"id": "contact-1"})["jid"]
        self.ask("/send", {"company": company, "to": contact, "text": text})
        assert text in {each.get("text") for each in self.control("/inbox?contact=contact-1")["messages"]}


def find_app(name: str) -> App:
    standin = json.loads((STATE / "standin.json").read_text("utf-8"))
    host = machine(name)
    own = json.loads(host.file("/etc/baileys-resilience/failover.json").content_string)["companies"]
    companies = {each["company_id"]: each for each in standin["companies"] if each["company_id"] in own}
    assert set(companies) == set(own)
    return App(host, name, companies, standin["control_url"])
