# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages that tests execute: the commands of a page in order, and what the page says they print.

A block ``sh`` holds commands, a block without a language right behind it what they print, and any other block the
content of a file. What is printed is compared by :mod:`tests.support.matching`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FENCE = re.compile(r"^```(\w*)\s*$")


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, where it is, and the headings above it, outermost first."""

    language: str
    text: str
    line: int
    headings: tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """Commands and what they print; ``expected`` is None where the page does not show it."""

    commands: tuple[str, ...]
    expected: str | None
    block: Block


@dataclass
class _Headings:
    path: list[str] = field(default_factory=list)

    def read(self, line: str) -> None:
        marks, _space, title = line.partition(" ")
        if title and marks and set(marks) == {"#"}:
            del self.path[len(marks) - 1 :]
            self.path.append(title.strip())


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page in order."""
    found: list[Block] = []
    headings = _Headings()
    opened: tuple[str, int] | None = None
    text: list[str] = []
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        fence = FENCE.match(line)
        if opened is None and fence:
            opened, text = (fence.group(1), number), []
        elif opened is not None and fence:
            found.append(Block(opened[0], "\n".join(text), opened[1], tuple(headings.path)))
            opened = None
        elif opened is not None:
            text.append(line)
        else:
            headings.read(line)
    assert opened is None, f"{page}: the block of line {opened and opened[1]} has no end"
    return found


def examples(page: Path) -> list[Example]:
    """The blocks ``sh`` of a page in order, each with the block of output that follows it."""
    found = []
    every = blocks(page)
    for block, behind in zip(every, [*every[1:], None], strict=True):
        if block.language == "sh":
            shown = behind is not None and behind.language == "" and behind.headings == block.headings
            expected = behind.text if shown and behind is not None else None
            found.append(Example(tuple(commands(block.text)), expected, block))
    return found


def commands(text: str) -> Iterator[str]:
    """The commands of a block: one a line, longer where a line ends with a backslash; comments are not commands."""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()
