# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for Sentry and the Telegram Bot API, which record what they are sent. Runs as `python -m lab.receivers`.

Each answer carries the header `X-Lab-Stand-In` and each record `"stand_in": true`: nobody can take them for the real
services. `POST /control {"fault": {"kind": "429", "times": 1, "retry_after": 3}}` on either port makes that one refuse
its next requests, hang, or drop them (KINDS).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import threading
import zlib
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from .state import write_private

MAX_BODY_BYTES = 20 << 20
#: what a request can meet: an answer with that status; no answer; a connection that is closed before anything is done
#: with the request, or after it was recorded
KINDS = ("400", "401", "403", "429", "500", "hang", "drop", "drop_after")
HANG_SECONDS = 60.0
DESCRIPTIONS = {"400": "Bad Request: told to refuse", "401": "Unauthorized", "403": "Forbidden", "500": "Internal"}


class Recorder:
    """Appends JSON lines to a 0600 file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))

    def add(self, record: dict[str, Any]) -> None:
        line = json.dumps({"at": datetime.now(UTC).isoformat(), "stand_in": True, **record}) + "\n"
        with self.lock, open(self.path, "a") as stream:
            stream.write(line)


class Faults:
    """What the next requests of one service meet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kind, self._times = "", 0
        self.retry_after = 1
        #: set when nothing hangs any more
        self.released = threading.Event()

    def order(self, kind: str = "", times: int = 1, retry_after: int = 1) -> None:
        """`times` 0 ends it, and lets go what hangs."""
        if kind not in KINDS and times:
            raise ValueError(f"kind is one of {', '.join(KINDS)}")
        with self._lock:
            self._kind, self._times, self.retry_after = kind, times, retry_after
            self.released.set()
            self.released = threading.Event()

    def next(self) -> str:
        with self._lock:
            if self._times <= 0:
                return ""
            self._times -= 1
            return self._kind


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service = ""
    recorder: Recorder
    faults: Faults
    silent = False

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: request lines of the Bot API hold the token."""

    def body(self) -> bytes:
        data = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), MAX_BODY_BYTES))
        encoding = self.headers.get("Content-Encoding", "identity")
        if encoding == "gzip":
            return gzip.decompress(data)
        if encoding == "deflate":
            return zlib.decompress(data)
        if encoding == "identity":
            return data
        raise ValueError(f"content encoding {encoding} is not understood by this stand-in")

    def do_POST(self) -> None:
        try:
            content = self.body()
            if self.path == "/control":
                self.control(json.loads(content or b"{}"))
                return
        except (ValueError, OSError, zlib.error) as exc:
            self.recorder.add({"type": "unreadable", "error": str(exc)})
            self.refuse(400, f"Bad Request: {exc}")
            return
        fault = self.faults.next()
        self.silent = fault == "drop_after"
        if not self.met(fault):
            self.take(content)

    def take(self, content: bytes) -> None:
        """A request that meets no fault."""
        raise NotImplementedError

    def refuse(self, status: int, description: str) -> None:
        self.answer(status, {"detail": description})

    def control(self, values: dict[str, Any]) -> None:
        try:
            self.faults.order(**(values.get("fault") or {"times": 0}))
        except (TypeError, ValueError) as exc:
            self.answer(400, {"ok": False, "description": str(exc)})
        else:
            self.answer(200, {"ok": True})

    def met(self, fault: str) -> bool:
        """Whether the request is over with this fault."""
        if fault in ("", "drop_after"):
            return False
        self.recorder.add({"type": "refused", "fault": fault})
        if fault == "hang":
            self.faults.released.wait(HANG_SECONDS)
        if fault in ("hang", "drop"):
            self.close_connection = True
        elif fault == "429":
            self.refuse(429, f"Too Many Requests: retry after {self.faults.retry_after}")
        else:
            self.refuse(int(fault), DESCRIPTIONS.get(fault, "told to refuse"))
        return True

    def answer(self, status: int, content: dict[str, Any]) -> None:
        if self.silent:
            self.close_connection = True
            return
        data = json.dumps(content).encode()
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", str(self.faults.retry_after))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Lab-Stand-In", f"this is not {self.service}")
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.answer(200, {"stand_in_for": self.service, "records": str(self.recorder.path)})


class SentryHandler(Handler):
    service = "Sentry"
    key = ""
    faults = Faults()

    def take(self, content: bytes) -> None:
        try:
            records = (
                parse_envelope(content)
                if self.path.rstrip("/").endswith("/envelope")
                else [{"type": "event", "payload": json.loads(content)}]
            )
        except ValueError as exc:
            self.recorder.add({"type": "unreadable", "error": str(exc), "path": self.path})
            self.refuse(400, str(exc))
            return
        known = self.key in self.path + self.headers.get("X-Sentry-Auth", "")
        if not known:
            self.refuse(403, "unknown key in the DSN")
            return
        for record in records:
            self.recorder.add(record)
        event_id = next((record["event_id"] for record in records if record.get("event_id")), "")
        self.answer(200, {"id": event_id})


def parse_envelope(data: bytes) -> list[dict[str, Any]]:
    """Items of a Sentry envelope: a header line, then per item a header line and a payload of `length` bytes."""
    head, _, rest = data.partition(b"\n")
    event_id = json.loads(head).get("event_id")
    records: list[dict[str, Any]] = []
    while rest.strip():
        line, _, rest = rest.partition(b"\n")
        header = json.loads(line)
        if "length" in header:
            payload, rest = rest[: header["length"]], rest[header["length"] :].removeprefix(b"\n")
        else:
            payload, _, rest = rest.partition(b"\n")
        try:
            content: Any = json.loads(payload)
        except ValueError:
            content = payload.decode("utf-8", "replace")
        records.append({"type": header.get("type"), "event_id": event_id, "payload": content})
    return records


class TelegramHandler(Handler):
    service = "the Telegram Bot API"
    token = ""
    chat_id = ""
    message_id = 0
    lock = threading.Lock()
    faults = Faults()

    def take(self, content: bytes) -> None:
        try:
            values = self._values(content)
        except ValueError as exc:
            self._refuse_and_record(400, f"Bad Request: {exc}")
            return
        if self.path != f"/bot{self.token}/sendMessage":
            right_token = self.path.startswith(f"/bot{self.token}/")
            self._refuse_and_record(404 if right_token else 401, "Not Found" if right_token else "Unauthorized")
        elif str(values.get("chat_id")) != self.chat_id:
            self._refuse_and_record(400, "Bad Request: chat not found")
        elif not values.get("text"):
            self._refuse_and_record(400, "Bad Request: message text is empty")
        else:
            self._accept(values)

    def _values(self, body: bytes) -> dict[str, Any]:
        if self.headers.get_content_type() == "application/json":
            values: dict[str, Any] = json.loads(body or b"{}")
            return values
        return {name: texts[0] for name, texts in parse_qs(body.decode()).items()}

    def _refuse_and_record(self, status: int, description: str) -> None:
        self.recorder.add({"type": "refused", "error_code": status, "description": description})
        self.refuse(status, description)

    def refuse(self, status: int, description: str) -> None:
        content: dict[str, Any] = {"ok": False, "error_code": status, "description": description}
        if status == 429:
            content["parameters"] = {"retry_after": self.faults.retry_after}
        self.answer(status, content)

    def _accept(self, values: dict[str, Any]) -> None:
        with self.lock:
            TelegramHandler.message_id += 1
            number = TelegramHandler.message_id
        self.recorder.add({"type": "message", "message_id": number, **values})
        self.answer(
            200,
            {
                "ok": True,
                "result": {
                    "message_id": number,
                    "from": {"id": 1, "is_bot": True, "first_name": "stand-in of the lab"},
                    "chat": {"id": self.chat_id, "type": "group"},
                    "text": values["text"],
                    "date": int(datetime.now(UTC).timestamp()),
                },
            },
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.receivers")
    parser.add_argument("--dir", type=Path, required=True, help="where the records are appended")
    parser.add_argument("--ready-file", type=Path, required=True)
    options = parser.parse_args()
    # Key and token come by the environment: a command line is readable by everybody on the machine.
    SentryHandler.key = os.environ["LAB_SENTRY_KEY"]
    TelegramHandler.token = os.environ["LAB_TELEGRAM_TOKEN"]
    TelegramHandler.chat_id = os.environ["LAB_TELEGRAM_CHAT_ID"]
    SentryHandler.recorder = Recorder(options.dir / "sentry.jsonl")
    TelegramHandler.recorder = Recorder(options.dir / "telegram.jsonl")
    sentry = ThreadingHTTPServer(("127.0.0.1", 0), SentryHandler)
    telegram = ThreadingHTTPServer(("127.0.0.1", 0), TelegramHandler)
    threading.Thread(target=sentry.serve_forever, daemon=True).start()
    write_private(
        options.ready_file,
        json.dumps({"pid": os.getpid(), "sentry_port": sentry.server_port, "telegram_port": telegram.server_port}),
    )
    telegram.serve_forever()


if __name__ == "__main__":
    main()
