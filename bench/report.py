# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables, and their places in docs/performance.md."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from bench.measure import Result

BEGIN, END = "<!-- bench:begin {part} (written by python -m bench) -->", "<!-- bench:end {part} -->"


def render(results: list[Result], command: str, rounds: int, place: Path) -> str:
    rows = ["| what | ours | theirs | ratio (median, range) | floor | |", "|---|---|---|---|---|---|"]
    for each in results:
        ratio = "" if each.ratio is None else f"{each.ratio:.2f}x"
        spread = f" ({each.notes[0]} to {each.notes[1]})" if each.notes else ""
        rows.append(
            f"| {each.name} | {each.ours} | {each.theirs} | {ratio}{spread} | {each.floor} |"
            f" {'met' if each.met else '**missed**'} |"
        )
    about = [
        f"`{command}`, {rounds} rounds, {datetime.now(UTC):%Y-%m-%d}; {machine()}.",
        "Both sides of a line ran in turn in the same run; a ratio is the median of the rounds' ratios.",
    ]
    return "\n".join([*about, "", *rows])


def machine() -> str:
    """What a reader needs to weigh the figures."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[1]
    return (
        f"{os.cpu_count()} cores ({cpu()}), {memory:.0f} GiB, {platform.system()} {platform.machine()},"
        f" Python {platform.python_version()}, load average {load:.1f} at the end"
    )


def file_system(place: Path) -> str:
    """The type of the file system that holds `place`."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    inside = [each for each in mounts if place.resolve().is_relative_to(each[0])]
    return max(inside, key=lambda each: len(each[0]))[1]


def cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def write(path: Path, part: str, text: str) -> None:
    """Replace the table of one part."""
    begin, end = BEGIN.format(part=part), END.format(part=part)
    before, found, rest = path.read_text("utf-8").partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"{path} has no place for the part {part}: {begin} and {end}")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", "utf-8")
