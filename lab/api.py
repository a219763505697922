# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab as tests, the demo and benchmarks use it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2.extensions

from . import application, faults, lifecycle, postgres, services, status
from .errors import LabError
from .progress import Silent
from .state import LabState

MESSAGE_TIMEOUT_MS = 5000


@dataclass
class Lab(LabState):
    """A running lab. Made by `Lab.up`, found again by `Lab.load`."""

    @classmethod
    def up(
        cls,
        directory: str | os.PathLike[str],
        companies: int | list[str] = 1,
        *,
        app: bool = True,
        client: bool = True,
        progress: Silent | None = None,
    ) -> Lab:
        ids = lifecycle.company_ids(companies) if isinstance(companies, int) else list(companies)
        return lifecycle.up(cls, Path(directory), lifecycle.Wish(ids, app, client), progress or Silent())

    def down(self) -> None:
        lifecycle.down(self.path)

    def status(self) -> dict[str, Any]:
        return status.collect(self)

    def break_(
        self, fault: str, *, company: str = "", variant: str = "tampered", delay_ms: int = faults.DEFAULT_DELAY_MS
    ) -> faults.Active:
        return faults.break_(self, faults.Order(fault, company, variant, delay_ms))

    def lose_postgres(self) -> None:
        """The PostgreSQL server is gone with all that it stored. No fault that `heal` undoes: see replace_postgres."""
        postgres.lose(self.need_postgres())

    def replace_postgres(self) -> None:
        """A new and empty server answers at the address of the lost one: no role, no database, no table."""
        postgres.replace(self.path, self.need_postgres())
        self.save()

    def heal(self) -> list[dict[str, Any]]:
        """Undo every fault; says what was done."""
        return faults.heal(self)

    def proxy_mode(self, mode: str, delay_ms: int = 0) -> dict[str, Any]:
        """Set the proxy by hand, without recording a fault."""
        return services.ask_proxy(self.need_proxy(), {"mode": mode, "delay_ms": delay_ms})

    def connect(
        self, *, superuser: bool = False, direct: bool = False, **options: Any
    ) -> psycopg2.extensions.connection:
        return postgres.connect(self.need_postgres(), superuser=superuser, direct=direct, **options)

    def health(self) -> dict[str, Any]:
        """What the application says of itself; LabError where it does not answer (code without /health, or down)."""
        answer: dict[str, Any] = services.call_json(self.need_app().health_url)
        return answer

    def wait_open(self, timeout_seconds: float = application.OPEN_TIMEOUT_SECONDS) -> dict[str, Any]:
        """Wait until /health shows every company open, and return it."""
        return application.wait_open(self, timeout_seconds)

    def pm2(self, *arguments: str) -> str:
        """Run PM2 as the application's owner does, with the lab's PM2_HOME; returns what it prints."""
        return application.pm2(self, *arguments)

    def devices(self) -> list[dict[str, Any]]:
        """The devices that the stand-in knows, with their logins and conflicts."""
        found: list[dict[str, Any]] = services.call_json(self.need_standin().control_url + "/status")["devices"]
        return found

    def jid(self, company: str) -> str:
        for known in self.companies:
            if known.id == company:
                return known.jid
        raise LabError(f"company {company!r} is not in this lab", f"one of {', '.join(c.id for c in self.companies)}")

    def message(
        self,
        company: str,
        text: str,
        group: str | None = None,
        sender: str = "contact-1",
        timeout_ms: int = MESSAGE_TIMEOUT_MS,
    ) -> str:
        """A contact writes to the company: "delivered", "retry" (it could not decrypt), "offline" or "timeout"."""
        content: dict[str, Any] = {"to": self.jid(company), "from": sender, "text": text, "timeout_ms": timeout_ms}
        if group is not None:
            content["group"] = group
        answer = services.call_json(self.need_standin().control_url + "/message", content, timeout_ms / 1000 + 5)
        outcome: str = answer["outcome"]
        return outcome

    def mute(self, company: str, collection: str, key_id: str, key: str, known: dict[str, Any]) -> dict[str, Any]:
        """The company's phone mutes a chat: the version and hash (base64) that its app state has behind that, once the
        device has read it. ``known``: version, hash and macs (by index) before.
        """
        change = {"collection": collection, "chat": self.contact_jid("contact-1"), "key_id": key_id, "key": key}
        answer: dict[str, Any] = services.call_json(
            self.need_standin().control_url + "/mute", {"to": self.jid(company), **change, "known": known}
        )
        return answer

    def messages(self, company: str) -> list[dict[str, Any]]:
        """Messages that the application decrypted."""
        answer = services.call_json(f"http://127.0.0.1:{self.need_app().port}/messages?company={company}")
        found: list[dict[str, Any]] = answer["messages"] if isinstance(answer, dict) else answer
        return found

    def contact_jid(self, contact: str) -> str:
        """The address of a contact, by its name."""
        found: str = services.call_json(self.need_standin().control_url + "/contact", {"id": contact})["jid"]
        return found

    def send(self, company: str, text: str, to: str = "contact-1") -> dict[str, Any]:
        """The company writes to a contact (or a jid with "@"), through the application; waits for the server's ack."""
        if "@" not in to:
            to = self.contact_jid(to)
        answer: dict[str, Any] = services.call_json(
            f"http://127.0.0.1:{self.need_app().port}/send", {"company": company, "to": to, "text": text}, 30
        )
        return answer

    def inbox(self, contact: str = "contact-1") -> list[dict[str, Any]]:
        """What a contact received: {"id", "from", "text"}; "error" in place of the text it could not decrypt."""
        found: list[dict[str, Any]] = services.call_json(f"{self.need_standin().control_url}/inbox?contact={contact}")[
            "messages"
        ]
        return found

    def logout(self, company: str) -> None:
        """The server logs the company's device out: its next login is answered with 401."""
        services.call_json(self.need_standin().control_url + "/logout", {"jid": self.jid(company)})
