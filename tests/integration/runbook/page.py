# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/runbook.md as a list of things to do: commands with the output that the page promises, and directives.

A ```sh block is one thing that an operator pastes; the block behind it, without a language, is what the page says that
it prints. In it `...` stands for anything within a line, and alone on a line for any number of lines. Directives are
comments that a reader does not see: `<!-- test: word argument, argument -->`.

    each FAULT, ...     the section is run once with each of these; it begins broken
    also FAULT, ...     with these too, when RUNBOOK=all asks for it (make test-runbook)
    when FAULT, ...     the next command is run for these faults only
    exits N             the next command ends with this exit code (0 where nothing is said)
    types WHAT          the next command is given this at its prompts
    heal                whoever looks after PostgreSQL has repaired it
    new server          an empty server answers in the place of the lost one
    messages            each session reads what it is sent, and its answer can be read
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

PAGE = Path(__file__).resolve().parents[3] / "docs" / "runbook.md"
_PART = re.compile(
    r"^<!-- test: (?P<directive>.+?) -->$|^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
#: what the page says of plans where sessions move while they run; it shows those with a restart
_MODE_LIVE = re.compile(
    r"says `(?P<mode>mode live: [^`]+)` behind its first line, it also says `(?P<source>[^`]+)` \(in the table of a"
    r" report: `(?P<cell>[^`]+)`\) instead of the primary or the mirror, and `(?P<held>[^`]+)` instead of"
    r" `(?P<down>[^`]+)`, here and in every plan below"
)
_FIRST_LINE = re.compile(r"^( *- '|)([^ ]+: fail(?:over|back) of .* to \w+)('|)$", re.MULTILINE)
_SOURCE = re.compile(r"keys from (?:primary or mirror|primary|mirror)\b")
_CELL = re.compile(r"(?<=\| )(?:primary|mirror)(?= \|)")
_QUALIFIERS = ("when", "exits", "types")
DIRECTIVES = (*_QUALIFIERS, "each", "also", "heal", "new server", "messages")


class PageError(Exception):
    """The page cannot be run as it is written."""


@dataclass(frozen=True)
class Command:
    """What is pasted, what it should print, and how it should end. `faults`: only for these; empty means always."""

    text: str
    output: str
    exit_code: int = 0
    faults: tuple[str, ...] = ()
    typed: str = ""


@dataclass(frozen=True)
class Event:
    """Something that happens around the operator: heal, new server, messages."""

    name: str


@dataclass
class Section:
    """What stands below one heading of the second level."""

    title: str
    faults: tuple[str, ...] = ()
    more_faults: tuple[str, ...] = ()
    steps: list[Command | Event] = field(default_factory=list)

    def steps_for(self, fault: str) -> list[Command | Event]:
        return [each for each in self.steps if not isinstance(each, Command) or fault in (each.faults or (fault,))]


def sections(text: str) -> list[Section]:
    """The sections that hold something to run, in their order."""
    found = [_section(part) for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]]
    return [each for each in found if each.steps]


def in_mode_live(section: Section) -> Section:
    """The section as the page's own note says that it is where nothing is restarted."""
    note = _MODE_LIVE.search(" ".join(PAGE.read_text("utf-8").split()))
    if note is None:
        raise PageError("the note on mode live is gone from the page, or says it in other words")

    def changed(step: Command | Event) -> Command | Event:
        if isinstance(step, Event):
            return step
        output = _SOURCE.sub(note["source"], step.output).replace(note["down"], note["held"])
        output = _CELL.sub(note["cell"], output)
        output = _FIRST_LINE.sub(rf"\1\2\3\n\1  {note['mode']}\3", output)
        return replace(step, output=output)

    return replace(section, steps=[changed(step) for step in section.steps])


def _section(text: str) -> Section:
    title, _newline, body = text.partition("\n")
    section = Section(title.strip())
    qualifiers: dict[str, str] = {}
    waiting = ""
    for part in _PART.finditer(body):
        directive, kind, content = part["directive"], part["kind"], part["text"]
        if waiting and kind != "":
            raise PageError(f"{title}: no output follows {waiting!r}")
        if directive:
            name, argument = _directive(title, directive)
            if name == "each":
                section.faults = _names(argument)
            elif name == "also":
                section.more_faults = _names(argument)
            elif name in _QUALIFIERS:
                qualifiers[name] = argument
            else:
                section.steps.append(Event(name))
        elif kind == "sh":
            waiting = content
        elif kind == "" and waiting:
            section.steps.append(_command(waiting, content, qualifiers))
            waiting, qualifiers = "", {}
    if waiting or qualifiers:
        raise PageError(f"{title}: nothing follows {waiting or qualifiers!r}")
    return section


def _directive(title: str, text: str) -> tuple[str, str]:
    for name in DIRECTIVES:
        if text == name or text.startswith(f"{name} "):
            return name, text[len(name) :].strip()
    raise PageError(f"{title}: no such directive: {text}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _command(text: str, output: str, qualifiers: dict[str, str]) -> Command:
    faults = _names(qualifiers["when"]) if "when" in qualifiers else ()
    return Command(text, output, int(qualifiers.get("exits", 0)), faults, qualifiers.get("types", ""))
