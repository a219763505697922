# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A TCP proxy that stands for the network between the application and PostgreSQL. Runs as `python -m lab.proxy`.

Modes:
  pass   forwards bytes.
  delay  forwards bytes, each `delay_ms` later, in each direction.
  drop   a network that swallows packets: open connections stay open and nothing arrives; a new connection is not even
         accepted (the accept queue is full, so the kernel ignores the SYN and connect() hangs).
  reset  open connections get a TCP reset, new ones too.

What is swallowed in drop mode is lost. A stream with a hole in it does not exist in TCP, so a connection that lost
bytes is reset when the mode changes back; one that was idle goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path

CHUNK_BYTES = 1 << 18
MODES = ("pass", "delay", "drop", "reset")
BACKLOG = 256
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(eq=False)
class Link:
    """One client's connection and its counterpart at the server."""

    client: socket.socket
    server: socket.socket
    lost_bytes: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def cancel(self) -> None:
        """End the link. Its sockets are closed, with a reset, once its tasks have let go of them: a descriptor closed
        while the event loop still watches it may be another connection's by the time the loop looks."""
        for task in self.tasks:
            task.cancel()


def close_with_reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    connection.close()


class Proxy:
    def __init__(self, upstream: tuple[str, int], port: int) -> None:
        self.upstream = upstream
        self.mode = "pass"
        self.delay_ms = 0
        self.links: set[Link] = set()
        self.fillers: list[socket.socket] = []
        self.handlers: set[asyncio.Task[None]] = set()
        self.acceptor: asyncio.Task[None] | None = None
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(BACKLOG)
        self.listener.setblocking(False)

    @property
    def port(self) -> int:
        port: int = self.listener.getsockname()[1]
        return port

    def status(self) -> dict[str, object]:
        return {"mode": self.mode, "delay_ms": self.delay_ms, "connections": len(self.links)}

    def set_mode(self, mode: str, delay_ms: int = 0) -> None:
        if mode not in MODES:
            raise ValueError(f"unknown mode {mode!r}: one of {', '.join(MODES)}")
        self.mode, self.delay_ms = mode, delay_ms if mode == "delay" else 0
        if mode == "drop":
            self._stop_accepting()
        else:
            self._accept_again()
        for link in list(self.links):
            if mode == "reset" or (mode != "drop" and link.lost_bytes):
                link.cancel()

    def _stop_accepting(self) -> None:
        if self.acceptor is None:
            return
        self.acceptor.cancel()
        self.acceptor = None
        # With a queue length of 0 the kernel still queues one connection: put our own there, then SYNs go unanswered.
        self.listener.listen(0)
        for _ in range(2):
            filler = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(("127.0.0.1", self.port))
            self.fillers.append(filler)

    def _accept_again(self) -> None:
        for filler in self.fillers:
            close_with_reset(filler)
        self.fillers.clear()
        if self.acceptor is None:
            self.listener.listen(BACKLOG)
            self.acceptor = asyncio.create_task(self._accept())

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _address = await loop.sock_accept(self.listener)
            if self.mode == "reset":
                close_with_reset(client)
                continue
            handler = asyncio.create_task(self._handle(client))
            self.handlers.add(handler)
            handler.add_done_callback(self.handlers.discard)

    async def _handle(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        server.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(server, self.upstream)
        except OSError:
            # Nobody listens behind us: the client must see an error, never a clean end.
            close_with_reset(client)
            server.close()
            return
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = Link(client, server)
        self.links.add(link)
        if self.mode == "reset":
            ended_well = False
        else:
            ended_well = await self._forward(link)
        self.links.discard(link)
        for end in (client, server):
            if ended_well:
                end.close()
            else:
                close_with_reset(end)

    async def _forward(self, link: Link) -> bool:
        """Move bytes both ways until both streams end (True) or one breaks (False)."""
        for source, target in ((link.client, link.server), (link.server, link.client)):
            queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=64)
            link.tasks += [
                asyncio.create_task(self._read(link, source, queue)),
                asyncio.create_task(self._write(queue, target)),
            ]
        done, pending = await asyncio.wait(link.tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in pending:
            task.cancel()
        await asyncio.gather(*link.tasks, return_exceptions=True)
        return not pending and not any(task.cancelled() or task.exception() for task in done)

    async def _read(self, link: Link, source: socket.socket, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            data = await loop.sock_recv(source, CHUNK_BYTES)
            if self.mode == "drop":
                link.lost_bytes += max(1, len(data))
                if data:
                    continue
                # The end of the stream is swallowed too: the other side hears of it when the mode changes.
                await asyncio.Event().wait()
            await queue.put((loop.time() + self.delay_ms / 1000, data))
            if not data:
                return

    async def _write(self, queue: asyncio.Queue[tuple[float, bytes]], target: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await queue.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            if not data:
                with contextlib.suppress(OSError):
                    target.shutdown(socket.SHUT_WR)
                return
            await loop.sock_sendall(target, data)

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One JSON object a line: {} asks for the status, {"mode": ..., "delay_ms": ...} sets the mode."""
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                try:
                    request = json.loads(line)
                    if "mode" in request:
                        self.set_mode(request["mode"], int(request.get("delay_ms", 0)))
                    answer: dict[str, object] = self.status()
                except (ValueError, TypeError, AttributeError) as exc:
                    answer = {"error": str(exc)}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        writer.close()


async def main_async(upstream: tuple[str, int], port: int, control_port: int, ready: Path) -> None:
    proxy = Proxy(upstream, port)
    proxy.set_mode("pass")
    control = await asyncio.start_server(proxy.control, "127.0.0.1", control_port)
    address = control.sockets[0].getsockname()
    temporary = ready.with_name(ready.name + ".new")
    temporary.write_text(json.dumps({"pid": os.getpid(), "port": proxy.port, "control": f"{address[0]}:{address[1]}"}))
    os.replace(temporary, ready)
    await control.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.proxy")
    parser.add_argument("--upstream", required=True, help="host:port of PostgreSQL")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--ready-file", type=Path, required=True)
    options = parser.parse_args()
    host, _, port = options.upstream.rpartition(":")
    asyncio.run(main_async((host, int(port)), options.port, options.control_port, options.ready_file))


if __name__ == "__main__":
    main()
