# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo says and counts: messages both ways, keys, and the table at the end."""

from __future__ import annotations

from dataclasses import dataclass, field

from .api import Lab
from .errors import LabTimeout
from .processes import wait_until

ARRIVAL_SECONDS = 10.0


@dataclass
class Doubts:
    """Whatever was not as it should be. The demo succeeds only without any."""

    found: list[str] = field(default_factory=list)

    def expect(self, condition: bool, otherwise: str) -> None:
        if not condition:
            self.found.append(otherwise)


@dataclass
class Row:
    """One line of the summary."""

    when: str
    store: str
    received: int
    sent: int
    expected: int
    keys: int
    seconds: float | None = None
    downtime: float | None = None
    live: bool = False
    proven: int | None = None


def talk(lab: Lab, when: str, doubts: Doubts) -> Row:
    """For each company: a contact writes to it, its group gets a message, and it answers. All must be decrypted."""
    received = sent = 0
    for company in lab.companies:
        for group in (None, company.group):
            text = f"{when}: {'group' if group else 'hello'}"
            outcome = lab.message(company.id, text, group=group)
            arrived = outcome == "delivered" and text in [each.get("text") for each in lab.messages(company.id)]
            received += arrived
            doubts.expect(arrived, f"company {company.id} could not read {text!r}: {outcome}")
        answered = _answer(lab, company.id, f"{company.id} {when}: answer")
        sent += answered
        doubts.expect(answered, f"contact-1 could not read the answer of company {company.id} {when}")
    health = lab.health()
    stores = {each["store"] for each in health["companies"]}
    row = Row(
        when,
        "/".join(sorted(stores)),
        received,
        sent,
        2 * len(lab.companies),
        sum(each["keys_loaded"] for each in health["companies"]),
    )
    print(
        f"  {when}: {received} of {row.expected} messages decrypted by the companies, {sent} of {row.expected // 2} "
        "by the contacts",
        flush=True,
    )
    return row


def _answer(lab: Lab, company: str, text: str) -> bool:
    lab.send(company, text)

    def arrived() -> bool:
        return text in [each.get("text") for each in lab.inbox()]

    try:
        return wait_until(arrived, "the answer arrives", ARRIVAL_SECONDS, 0.1)
    except LabTimeout as exc:
        print(f"  {exc}", flush=True)
        return False


def key_counts(lab: Lab) -> dict[str, int]:
    """Rows in PostgreSQL by company."""
    connection = lab.connect(direct=True)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT company_id, count(*) FROM whatsapp_keys GROUP BY company_id")
            return {str(company): int(number) for company, number in cursor.fetchall()}
    finally:
        connection.close()


def write_table(rows: list[Row]) -> None:
    heads = ("", "runs on", "playbook", "app down", "keys loaded", "proven by Baileys", "received", "sent")
    lines = [heads] + [
        (
            row.when,
            row.store,
            _seconds(row.seconds),
            f"no, held {_seconds(row.downtime)}" if row.live else _seconds(row.downtime),
            str(row.keys),
            "" if row.proven is None else str(row.proven),
            f"{row.received}/{row.expected}",
            f"{row.sent}/{row.expected // 2}",
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"
