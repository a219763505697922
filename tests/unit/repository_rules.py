# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The house rules that a machine can check, as functions from sources to complaints.

test_repository.py applies them to the tree, and to small examples that break each rule.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = "plugins/module_utils/_resilience"

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

# "Arrows run downwards only" (docs/architecture.md). A part may import itself, the parts named here, and the plain
# files at the top of the library (errors, files, clock, ...), which import no part at all.
ALLOWED_PARTS = {
    "sessions": set(),
    "notify": set(),
    "steps": {"notify"},
    "cleanup": {"sessions", "steps", "notify"},
    "health": {"sessions", "steps", "notify", "cleanup"},
    "backup": {"sessions", "steps", "notify"},
    "restore": {"sessions", "steps", "notify", "backup"},
    "failover": {"sessions", "steps", "notify", "restore"},
    "drill": {"sessions", "steps", "notify", "failover"},
    "automatic": {"sessions", "steps", "notify", "cleanup", "health", "failover"},
}
# The command line is the top of the library: it may use every part.
TOP_FILES = {"__main__.py", "cli.py", "cli"}

# Everything that the standard library does not bring is imported here, guarded, and nowhere else.
THIRD_PARTY_DOOR = "_thirdparty.py"


@dataclass(frozen=True)
class Source:
    """A tracked or new file: its path below the checkout and its text."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=self.path)


def tracked(*patterns: str) -> list[str]:
    """List files that are in git or about to be: what .gitignore names is not ours to check."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate", "--", *patterns]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return sorted(name for name in out.split("\0") if name and (ROOT / name).is_file())


def sources(*patterns: str) -> list[Source]:
    return [Source(name, (ROOT / name).read_text(encoding="utf-8")) for name in tracked(*patterns)]


def missing_licence(source: Source, licence: str) -> Iterator[str]:
    head = "\n".join(source.text.splitlines()[:6])
    if f"SPDX-License-Identifier: {licence}" not in head:
        yield f"{source.path}: no 'SPDX-License-Identifier: {licence}' in the first six lines"


def too_long(source: Source) -> Iterator[str]:
    lines = source.text.count("\n")
    # One file by Ansible's own rule: it cannot be split, and it is a list of options, not a text to be followed.
    if lines > MAX_FILE_LINES and not source.path.endswith("meta/argument_specs.yml"):
        yield f"{source.path}: {lines} lines, more than {MAX_FILE_LINES}: it is two things"
    if not source.path.endswith(".py"):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"{source.path}:{node.lineno}: {node.name} has {length} lines, more than {MAX_FUNCTION_LINES}"


def unparsable_on_hosts(source: Source) -> Iterator[str]:
    """Hosts may run Python 3.9: its grammar must accept what we send to them."""
    try:
        ast.parse(source.text, filename=source.path, feature_version=(3, 9))
    except SyntaxError as error:
        yield f"{source.path}:{error.lineno}: not Python 3.9: {error.msg}"


def imports(tree: ast.Module) -> Iterator[tuple[int, int, str]]:
    """Yield (line, level of a relative import or 0, dotted name) of every import, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, 0, alias.name
        elif isinstance(node, ast.ImportFrom):
            if node.module:
                yield node.lineno, node.level, node.module
            else:  # from . import a, b
                for alias in node.names:
                    yield node.lineno, node.level, alias.name


def foreign_imports(source: Source, standard_library: frozenset[str]) -> Iterator[str]:
    """Only _thirdparty.py imports third-party code; nothing imports Ansible, nor the library by an absolute name."""
    is_door = source.path == f"{LIBRARY}/{THIRD_PARTY_DOOR}"
    for line, level, name in imports(source.tree):
        top = name.split(".")[0]
        if level or top in standard_library:
            continue
        if top in {"ansible", "ansible_collections"}:
            yield f"{source.path}:{line}: imports {name}: the library knows nothing of Ansible"
        elif top == "baileys_resilience":
            yield f"{source.path}:{line}: imports {name}: imports inside the library are relative"
        elif not is_door:
            yield f"{source.path}:{line}: imports {name}: third-party code comes through {THIRD_PARTY_DOOR}"


def upward_imports(source: Source) -> Iterator[str]:
    """Check one file of the library against ALLOWED_PARTS."""
    below = Path(source.path).relative_to(LIBRARY).parts
    part = below[0] if len(below) > 1 else None
    if below[0] in TOP_FILES:
        return
    if part is not None and part not in ALLOWED_PARTS:
        yield f"{source.path}: unknown part {part!r} of the library: give it a place in ALLOWED_PARTS"
        return
    allowed = ALLOWED_PARTS[part] | {part} if part else set()
    for line, level, name in imports(source.tree):
        target = _library_part(below, level, name)
        if target and target not in allowed:
            yield f"{source.path}:{line}: {part or 'the top of the library'} imports {target}: arrows run down"


def _library_part(below: tuple[str, ...], level: int, name: str) -> str | None:
    """Resolve a relative import to the part (or top file) of the library it reaches, None when it is neither."""
    if not level:
        return None
    package = list(below[:-1])[: len(below) - level]
    reached = (package + name.split("."))[0]
    if reached in ALLOWED_PARTS:
        return reached
    return reached if f"{reached}.py" in TOP_FILES or reached in TOP_FILES else None


class TagBlindLoader(yaml.SafeLoader):
    """Reads Ansible's YAML; what stands behind tags such as !unsafe and !vault does not matter to the rules."""


TagBlindLoader.add_multi_constructor("!", lambda _loader, _suffix, _node: None)

MODULE_NAME = re.compile(r"\b([a-z0-9_]+\.[a-z0-9_]+)\.[a-z0-9_]+\b")


def undeclared_collections(path: str, tasks: object, declared: set[str]) -> Iterator[str]:
    """Walk parsed YAML and report task keys like `community.general.x` whose collection galaxy.yml does not name."""
    if isinstance(tasks, list):
        for item in tasks:
            yield from undeclared_collections(path, item, declared)
    elif isinstance(tasks, dict):
        for key, value in tasks.items():
            match = MODULE_NAME.fullmatch(str(key))
            if match and match[1] not in declared:
                yield f"{path}: uses {key}, but galaxy.yml names no dependency {match[1]}"
            yield from undeclared_collections(path, value, declared)
