# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""``baileys-resilience health --watch``: the board again and again, in colours where there are some."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import Any, Callable, Iterator, Optional, TextIO

from ..._thirdparty import require
from ...errors import UsageError
from ..findings import CRITICAL, OK, UNKNOWN, WARNING
from .commands import Told, health
from .configuration import MonitorSettings
from .terminal import StatusBoard

Show = Callable[[Told], None]
_COLOURS = {OK: "green", WARNING: "yellow", UNKNOWN: "magenta", CRITICAL: "bold red"}


def watched(
    settings: MonitorSettings,
    seconds: float,
    *,
    as_json: bool,
    stream: TextIO = sys.stdout,
    wait: Callable[[float], None] = time.sleep,
) -> Told:
    """Until Ctrl-C; ends with the exit code of the last look. One after the other where nobody looks at a terminal."""
    if not 1 <= seconds <= 3600:
        raise UsageError(
            f"each {seconds:g} s is not possible", operation="watch", hint="give --watch 1 to 3600 seconds"
        )
    shown = _plain(stream, as_json) if as_json or not stream.isatty() else _live(stream)
    told = Told({})
    try:
        with shown as show:
            while True:
                told = health(settings)
                show(told)
                wait(seconds)
    except (KeyboardInterrupt, BrokenPipeError):
        return Told({}, [], told.exit_code, told.board)


@contextlib.contextmanager
def _plain(stream: TextIO, as_json: bool) -> Iterator[Show]:
    def show(told: Told) -> None:
        lines = [json.dumps(told.content, default=str, sort_keys=True)] if as_json else [*told.lines, ""]
        stream.write("".join(f"{line}\n" for line in lines))
        stream.flush()

    yield show


@contextlib.contextmanager
def _live(stream: TextIO) -> Iterator[Show]:
    console = require("rich.console").Console(file=stream)
    with require("rich.live").Live(console=console, auto_refresh=False) as live:
        yield lambda told: live.update(coloured(told.board), refresh=True)


def coloured(board: Optional[StatusBoard]) -> Any:
    """As rich shows it: nothing in it is markup."""
    text = require("rich.text").Text()
    for status, line in board.lines() if board else ():
        text.append(line + "\n", style=_COLOURS.get(status, ""))
    return text
