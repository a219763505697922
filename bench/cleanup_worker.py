# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes of the cleanup's comparison: the cleanup itself, and clients that read or write meanwhile. An order as JSON
on the first line of stdin, figures as JSON on stdout.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psycopg2

from baileys_resilience.cleanup.plan import CleanupSettings
from baileys_resilience.cleanup.run import clean_up
from baileys_resilience.postgres import ConnectParams
from baileys_resilience.sessions.model import TableMapping
from bench.worker import _own_peak_mb

FIRST_COMPANY = 962301
_READ = "SELECT key_id, value FROM whatsapp_keys WHERE company_id = %s AND key_type = 'session' AND key_id = ANY(%s)"
_WRITE = (
    "INSERT INTO whatsapp_keys (company_id, key_type, key_id, value) VALUES (%s, %s, %s, %s)"
    " ON CONFLICT (company_id, key_type, key_id) DO UPDATE SET value = EXCLUDED.value, updated_at = now()"
)
#: one write in so many is of a key that the cleanup is about to delete: a group is written to again
_MEMORY_EVERY = 10
_VALUE = json.dumps("x" * 288)


def main() -> None:
    order = json.loads(sys.stdin.readline())
    found = cleanup(order) if order["role"] == "cleanup" else client(order)
    json.dump(found, sys.stdout)


def cleanup(order: dict[str, Any]) -> dict[str, Any]:
    settings = CleanupSettings(
        ConnectParams(**order["params"]), TableMapping(), Path(order["state"]), cap=order["removable"]
    )
    os.nice(10)  # as the role's units do
    started = time.monotonic()
    done = clean_up(settings)
    ended = time.monotonic()
    return {"started": started, "ended": ended, "deleted": done.number, "rss_mb": _own_peak_mb()}


def client(order: dict[str, Any]) -> dict[str, Any]:
    """One operation each 1 / ``rate`` s until stdin ends. ``samples``: the moment it was due, and the seconds from then
    to its end, so that those who wait behind a slow one are counted, too.
    """
    chance, stop = random.Random(order["seed"]), threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    connection = psycopg2.connect(**order["libpq"])
    connection.autocommit = True
    samples: list[tuple[float, float]] = []
    with connection.cursor() as cursor:
        print("ready", flush=True)
        due = time.monotonic()
        while not stop.is_set():
            due += 1 / order["rate"]
            time.sleep(max(0.0, due - time.monotonic()))
            cursor.execute(*one(order, chance, len(samples)))
            samples.append((due, time.monotonic() - due))
    connection.close()
    return {"samples": samples}


def one(order: dict[str, Any], chance: random.Random, number: int) -> tuple[str, tuple[Any, ...]]:
    company, tens = str(FIRST_COMPANY + chance.randrange(order["companies"])), order["keys"] // 10
    if order["role"] == "reader":
        return _READ, (company, [str(10 * chance.randrange(tens) + 1) for _ in range(5)])
    if number % _MEMORY_EVERY == 0:
        return _WRITE, (company, "sender-key-memory", f"{10 * chance.randrange(tens)}@g.us", _VALUE)
    return _WRITE, (company, "session", str(10 * chance.randrange(tens) + 1), _VALUE)


if __name__ == "__main__":
    main()
