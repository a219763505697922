# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's stand-ins for Sentry and Telegram, without the rest of the lab."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baileys_resilience.notify import NotifySettings

KEY = "0123456789abcdef0123456789abcdef"
TOKEN = "123456:AA_bb-cc"
CHAT = "4242"
SENTRY, TELEGRAM = "sentry", "telegram"
START_SECONDS = 20


@dataclass(frozen=True)
class Receivers:
    folder: Path
    sentry_port: int
    telegram_port: int

    def settings(self, *, key: str = KEY, token: str = TOKEN, chat: str = CHAT, budget: float = 2.0) -> NotifySettings:
        """Without a ledger: what is sent twice arrives twice."""
        dsn = f"http://{key}@127.0.0.1:{self.sentry_port}/42"
        url = f"http://127.0.0.1:{self.telegram_port}"
        return NotifySettings(dsn, token, chat, url, environment="lab", budget_seconds=budget, server_name="app1")

    def fault(self, service: str, kind: str = "", times: int = 1, retry_after: int = 1) -> None:
        """What the next requests meet; without a kind nothing any more."""
        order = {"fault": {"kind": kind, "times": times, "retry_after": retry_after}} if kind else {}
        port = self.sentry_port if service == SENTRY else self.telegram_port
        request = urllib.request.Request(f"http://127.0.0.1:{port}/control", json.dumps(order).encode())
        request.add_header("Content-Type", "application/json")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            assert answer.status == 200

    def records(self, service: str) -> list[dict[str, Any]]:
        text = (self.folder / f"{service}.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def texts(self, service: str) -> list[str]:
        """Of each message that was taken, the text as a human sees it."""
        if service == SENTRY:
            return [each["payload"]["message"] for each in self.records(SENTRY) if each["type"] == "event"]
        return [each["text"].removeprefix("ℹ ") for each in self.records(TELEGRAM) if each["type"] == "message"]

    def titles(self, service: str) -> list[str]:
        return [text.split("\n")[0].lstrip("ℹ⚠✖ ") for text in self.texts(service)]

    def refusals(self, service: str) -> list[dict[str, Any]]:
        return [each for each in self.records(service) if each["type"] == "refused"]


@contextlib.contextmanager
def receivers(folder: Path) -> Iterator[Receivers]:
    folder.mkdir(parents=True, exist_ok=True)
    ready = folder / "ready.json"
    secrets = {"LAB_SENTRY_KEY": KEY, "LAB_TELEGRAM_TOKEN": TOKEN, "LAB_TELEGRAM_CHAT_ID": CHAT}
    process = subprocess.Popen(
        [sys.executable, "-m", "lab.receivers", "--dir", str(folder), "--ready-file", str(ready)],
        env={**os.environ, **secrets},
    )
    try:
        until = time.monotonic() + START_SECONDS
        while not ready.exists():
            assert process.poll() is None, "the receivers ended"
            assert time.monotonic() < until, "the receivers do not come up"
            time.sleep(0.02)
        ports = json.loads(ready.read_text())
        yield Receivers(folder, ports["sentry_port"], ports["telegram_port"])
    finally:
        process.kill()
        process.wait()
