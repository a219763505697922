# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the lab share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lab import Lab, processes

PROJECT = Path(__file__).resolve().parents[2]


def lab_command(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """`python -m lab ...`, as a user types it."""
    return subprocess.run(
        [sys.executable, "-m", "lab", *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )


def lab_json(*arguments: str) -> dict[str, Any]:
    done = lab_command(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def seed(lab: Lab, keys_per_type: int = 4) -> None:
    """Rows of the right shape for the faults in data; what they hold matters to nobody here."""
    buffer = {"type": "Buffer", "data": "AAEC"}
    creds = {"noiseKey": {"private": buffer, "public": buffer}, "me": {"id": "1@s.whatsapp.net"}}
    types = ("pre-key", "session", "sender-key", "lid-mapping", "device-list")
    connection = lab.connect(direct=True)
    with connection, connection.cursor() as cursor:
        for company in lab.companies:
            cursor.execute(
                "INSERT INTO whatsapp_auth (company_id, creds) VALUES (%s, %s)", [company.id, json.dumps(creds)]
            )
            for kind in types:
                for number in range(keys_per_type):
                    cursor.execute(
                        "INSERT INTO whatsapp_keys (company_id, key_type, key_id, value, updated_at)"
                        " VALUES (%s, %s, %s, %s, now() - interval '40 days')",
                        [company.id, kind, f"id-{number}", json.dumps({"private": buffer, "n": number})],
                    )
    connection.close()


def rows(lab: Lab) -> list[tuple[Any, ...]]:
    """Everything in both tables, comparable."""
    connection = lab.connect(direct=True)
    with connection, connection.cursor() as cursor:
        cursor.execute("""
            SELECT 'auth', company_id, '', '', creds::text, updated_at, created_at FROM whatsapp_auth UNION ALL
            SELECT 'key', company_id, key_type, key_id, value::text, updated_at, created_at FROM whatsapp_keys
            ORDER BY 1, 2, 3, 4""")
        found = cursor.fetchall()
    connection.close()
    return found


def processes_of(directory: Path) -> list[str]:
    """Command lines of every live process that belongs to the lab in `directory`."""
    found = []
    for pid in processes.marked_processes(directory):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended between the listing and the look
        found.append(command.replace(b"\0", b" ").decode("utf-8", "replace"))
    return found


def node_modules_of(lab: Lab) -> Path:
    return Path(lab.need_app().dir) / "node_modules"


def shared_memory_segment(lab: Lab) -> str:
    """Id of the System V segment that a lab's server holds."""
    return (Path(lab.need_postgres().data_dir) / "postmaster.pid").read_text().splitlines()[6].split()[1]


def shared_memory_segments() -> set[str]:
    return {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}
