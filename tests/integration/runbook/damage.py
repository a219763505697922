# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the runbook's sections begin with: the lab's faults, and those that only these tests need."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from lab import Lab, faults, playbooks
from lab.demo_story import Doubts, talk

DAMAGED = "962302"
Act = Callable[[Lab], object]


def run_sql(lab: Lab, statement: str) -> None:
    with closing(lab.connect(direct=True)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)


def expect_messages(lab: Lab, when: str) -> None:
    """Each session decrypts what it is sent, also in its group, and its answer can be decrypted."""
    lab.wait_open()
    doubts = Doubts()
    talk(lab, when, doubts)
    assert doubts.found == []


def _delete_company(lab: Lab) -> None:
    for table in ("whatsapp_keys", "whatsapp_auth"):
        run_sql(lab, f"DELETE FROM {table} WHERE company_id = '{DAMAGED}'")


def _kill_with_a_backup_of_yesterday(lab: Lab) -> None:
    """A backup is made, the sessions go on and the mirror with them, the server dies."""
    run_sql(lab, "CREATE TABLE old_auth AS TABLE whatsapp_auth; CREATE TABLE old_keys AS TABLE whatsapp_keys")
    expect_messages(lab, "after the backup")
    assert playbooks.command(lab, "mirror", "once").returncode == 0
    lab.break_("postgres-kill")


def _restore_the_backup_of_yesterday(lab: Lab) -> None:
    """Somebody means well and restores it over the rows, when the server runs again."""
    for name in ("auth", "keys"):
        run_sql(
            lab,
            f"TRUNCATE whatsapp_{name}; INSERT INTO whatsapp_{name} SELECT * FROM old_{name}; DROP TABLE old_{name}",
        )


OWN_FAULTS: dict[str, Act] = {
    "creds-tampered": lambda lab: lab.break_("creds-corrupt", company=DAMAGED, variant="tampered"),
    "creds-empty": lambda lab: lab.break_("creds-corrupt", company=DAMAGED, variant="empty"),
    "creds-null": lambda lab: lab.break_("creds-corrupt", company=DAMAGED, variant="null"),
    "keys-corrupt": lambda lab: lab.break_("keys-corrupt", company=DAMAGED),
    "rows-delete": lambda lab: lab.break_("rows-delete", company=DAMAGED),
    "company-delete": _delete_company,
    "table-drop": lambda lab: run_sql(lab, "DROP TABLE whatsapp_keys"),
    "old-backup": _kill_with_a_backup_of_yesterday,
    "server-lost": lambda lab: lab.lose_postgres(),
}
#: what those who look after the database do behind the lab's own healing
REPAIRS: dict[str, Act] = {"old-backup": _restore_the_backup_of_yesterday}


def bring_about(lab: Lab, fault: str) -> None:
    if fault in OWN_FAULTS:
        OWN_FAULTS[fault](lab)
    else:
        lab.break_(fault)


def repair(lab: Lab, fault: str) -> None:
    lab.heal()
    REPAIRS.get(fault, lambda _lab: None)(lab)


def known_faults() -> set[str]:
    return {*OWN_FAULTS, *faults.FAULTS}
