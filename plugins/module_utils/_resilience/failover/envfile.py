# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Changing flags in a ``.env`` file: only the values of the named variables change, every other byte survives.

A name that stands twice is changed in both places: which of two wins differs between readers (dotenv takes the last,
shells the last, systemd the last, but older dotenv releases the first).
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from .. import files, guarded
from ..errors import Misconfigured, UsageError
from ..files import translate_os_error

_HEAD = re.compile(rb"[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=")
_LINE_END = re.compile(rb"\r\n|\r|\n")
_SPACE = re.compile(rb"[ \t]*")
_BARE = re.compile(rb"[^\r\n]*?(?=[ \t]*(?:[\r\n]|\Z)|[ \t]+#)")
#: up to the next quote that no backslash escapes, also lines further down: as dotenv reads it
_QUOTED = {
    quote: re.compile(rb"%s((?:\\.|[^%s\\])*)%s" % (quote, quote, quote), re.DOTALL) for quote in (b"'", b'"', b"`")
}
_NEEDS_NO_QUOTES = re.compile(r"[A-Za-z0-9_.,:/@+-]*\Z")


@dataclass(frozen=True)
class _Assignment:
    """Where a value stands: content[start:end], with its quotes."""

    name: str
    line: int
    start: int
    end: int
    quote: bytes
    value: bytes


def read_values(content: bytes, names: Sequence[str]) -> Dict[str, str]:
    """The values (quotes removed) that the last assignment of each name gives; names that are not set are left out."""
    return {each.name: each.value.decode("utf-8", "replace") for each in _assignments(content) if each.name in names}


def changed_content(content: bytes, values: Mapping[str, str]) -> bytes:
    """``content`` with the values set. Names that do not stand in it are added at the end."""
    found = [each for each in _assignments(content) if each.name in values]
    changes = [
        (each.start, each.end, _written(each.name, values[each.name], each.quote))
        for each in found
        if each.value != values[each.name].encode()
    ]
    changed = _replaced(content, changes)
    missing = [name for name in values if name not in {each.name for each in found}]
    line_end = b"\r\n" if b"\r\n" in content else b"\n"
    if missing and changed and not changed.endswith((b"\n", b"\r")):
        changed += line_end
    return changed + b"".join(name.encode() + b"=" + _written(name, values[name], b"") + line_end for name in missing)


def remembered(content: bytes, names: Sequence[str]) -> Dict[str, Any]:
    """What :func:`restored_content` needs: how the values of ``names`` are written, and nothing else of the file, which
    holds passwords.
    """
    found = [each for each in _assignments(content) if each.name in names]
    return {
        "written": [[each.name, content[each.start : each.end].decode("latin-1")] for each in found],
        "ended": content.endswith((b"\n", b"\r")) or not content,
    }


def restored_content(content: bytes, names: Sequence[str], before: Mapping[str, Any]) -> bytes:
    """``content`` with the values of ``names`` as they were ``remembered``; lines that were added since go."""
    written: List[List[str]] = before["written"]
    known = {name for name, _raw in written}
    found = [each for each in _assignments(content) if each.name in names]
    added = [each for each in found if each.name not in known]
    places: Dict[str, List[_Assignment]] = {name: [each for each in found if each.name == name] for name in known}
    changes: List[Tuple[int, int, bytes]] = []
    for name, raw in written:
        if places[name]:
            place = places[name].pop(0)
            changes.append((place.start, place.end, raw.encode("latin-1")))
    changes.extend((each.line, _next_line(content, each.end), b"") for each in added)
    restored = _replaced(content, changes)
    return restored if before["ended"] or not added else re.sub(rb"(\r\n|\r|\n)\Z", b"", restored)


def _replaced(content: bytes, changes: Sequence[Tuple[int, int, bytes]]) -> bytes:
    for start, end, new in sorted(changes, reverse=True):
        content = content[:start] + new + content[end:]
    return content


def _assignments(content: bytes) -> Iterator[_Assignment]:
    """Every assignment. Lines inside a quoted value that spans lines are none."""
    line = 0
    while line < len(content):
        end = line
        head = _HEAD.match(content, line)
        if head:
            found = _assignment(content, head, line)
            end = found.end
            yield found
        line = _next_line(content, end)


def _assignment(content: bytes, head: re.Match[bytes], line: int) -> _Assignment:
    name, start = head["name"].decode(), head.end()
    behind = _end(_SPACE, content, start)
    quoted = _QUOTED.get(content[behind : behind + 1])
    match = quoted.match(content, behind) if quoted else None
    if match:
        return _Assignment(name, line, behind, match.end(), content[behind : behind + 1], match[1])
    if content[behind : behind + 1] in (b"#", b"\r", b"\n", b""):
        return _Assignment(name, line, start, start, b"", b"")
    end = _end(_BARE, content, behind)
    return _Assignment(name, line, behind, end, b"", content[behind:end])


def _end(pattern: re.Pattern[bytes], content: bytes, start: int) -> int:
    match = pattern.match(content, start)
    return match.end() if match else start


def _next_line(content: bytes, position: int) -> int:
    match = _LINE_END.search(content, position)
    return match.end() if match else len(content)


def _written(name: str, value: str, quote: bytes) -> bytes:
    """The value in the quotes it had, if it fits in them; in others where it needs some."""
    if not quote and _NEEDS_NO_QUOTES.match(value):
        return value.encode()
    for each in (quote, b"'", b'"', b"`"):
        if each and each.decode() not in value and "\\" not in value:
            return each + value.encode() + each
    raise UsageError(
        "a value with all kinds of quotes or a backslash cannot be written",
        operation="change .env",
        subject=name,
        hint="choose another value in application.postgres_env and files_env",
    )


class EnvFile:
    """One ``.env`` on disk. A symbolic link stays one: the file it points to is replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes:
        try:
            return guarded.read_file(self.path)
        except FileNotFoundError as exc:
            raise Misconfigured(
                "the file does not exist",
                operation="read .env",
                subject=str(self.path),
                hint="set application.env_file to the application's .env",
            ) from exc
        except OSError as exc:
            raise translate_os_error(exc, "read .env", self.path) from exc

    def check_writable(self) -> None:
        """Raise NotWritable when the file or its directory cannot be replaced, before anything is touched."""
        real = Path(os.path.realpath(self.path))
        self.read()
        for place in (real, real.parent):
            if not os.access(place, os.W_OK) or _immutable(place):
                raise translate_os_error(PermissionError(13, "is read-only"), "change .env", place)

    def write(self, content: bytes) -> None:
        """Replace the content; owner and mode stay. What a killed write left, with all passwords in it, is removed."""
        try:
            with guarded.place_of_file(self.path) as (directory, name, status):
                if status is None:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
                for each in files.leftovers(directory, name):
                    guarded.remove(directory, each)
                mode, owner = stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
                files.write_at(directory, name, content, mode=mode, owner=owner)
        except OSError as exc:
            raise translate_os_error(exc, "write .env", self.path) from exc

    def leftovers(self) -> List[Path]:
        """What killed writes left beside the file."""
        real = Path(os.path.realpath(self.path))
        try:
            with guarded.place_of_file(self.path) as (directory, name, _status):
                return [real.parent / each for each in files.leftovers(directory, name)]
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise translate_os_error(exc, "look beside .env", self.path) from exc

    def remove_leftovers(self, older_than_seconds: float) -> List[Path]:
        """Remove those; a younger one may be in the middle of its write. Returns what was removed."""
        removed = []
        for path in self.leftovers():
            with guarded.parent_of(path) as (directory, name):
                try:
                    written = os.lstat(name, dir_fd=directory).st_mtime
                except FileNotFoundError:
                    continue
                if time.time() - written > older_than_seconds:
                    guarded.remove(directory, name)
                    removed.append(path)
        return removed


def _immutable(path: Path) -> bool:
    """A read-only mode counts even for root, whom it would not stop: somebody meant it."""
    return path.is_file() and not path.stat().st_mode & stat.S_IWUSR
