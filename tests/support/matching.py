# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a command printed what the page says. In what a page shows ``...`` is anything: alone on a line any
lines, in a line any text of that line.
"""

from __future__ import annotations

import re

ANY = "..."
#: words at which a reader is right to be alarmed: where they are printed, the page shows them
ALARMS = ("BLOCKED", "degraded", "ERROR", "LATE", "NOT GOOD", "OPEN", "PROBLEM", "fatal", "Traceback")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
#: Ansible breaks long sentences at eighty characters, wherever that is on this host. As JSON it breaks none, and begins
#: each sentence as far to the right, between quotes.
_WRAPPED = re.compile(r'\n {8}(?=\S)(?!".*",?$)', re.MULTILINE)


def lines_of(output: str) -> list[str]:
    """The lines as a reader takes them: without colours, what was wrapped in one piece, no blanks at ends of lines."""
    text = _WRAPPED.sub(" ", _COLOURS.sub("", output).replace("\r\n", "\n"))
    lines = [line.rstrip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def complaint(expected: str, output: str) -> str:
    """The first thing in which the output is not what the page says; empty when it is."""
    wanted, printed = lines_of(expected), lines_of(output)
    for word in ALARMS:
        if word not in expected and any(word in line for line in printed):
            line = next(line for line in printed if word in line)
            return f"the page shows no {word}, and this was printed: {line}"
    return _mismatch(wanted, printed)


def _mismatch(wanted: list[str], printed: list[str]) -> str:
    """Each piece between two lines of `...` is taken where it fits first: if that leaves no room, nothing does."""
    position = 0
    pieces = _pieces(wanted)
    for number, piece in enumerate(pieces):
        first, last = number == 0, number == len(pieces) - 1
        places = range(position, len(printed) - len(piece) + 1)
        if last:
            places = range(max(position, len(printed) - len(piece)), len(printed) - len(piece) + 1)
        if first:
            places = range(1) if not last or len(printed) == len(piece) else range(0)
        found = next((at for at in places if _fits(piece, printed[at : at + len(piece)])), None)
        if found is None:
            return _explain(piece, printed[position:])
        position = found + len(piece)
    return ""


def _pieces(wanted: list[str]) -> list[list[str]]:
    pieces: list[list[str]] = [[]]
    for line in wanted:
        if line.strip() == ANY:
            pieces.append([])
        else:
            pieces[-1].append(line)
    return pieces


def _fits(piece: list[str], lines: list[str]) -> bool:
    return len(piece) == len(lines) and all(fits(wanted, line) for wanted, line in zip(piece, lines, strict=True))


def fits(wanted: str, line: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, wanted.split(ANY))), line) is not None


def _explain(piece: list[str], rest: list[str]) -> str:
    missing = next((wanted for wanted in piece if not any(fits(wanted, line) for line in rest)), "")
    if missing:
        return f"this line of the page was not printed: {missing}"
    return "these lines of the page were not printed in this way:\n" + "\n".join(piece)
