# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/variables.md names every inventory variable of roles and playbooks, with the default that is true."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment

ROOT = Path(__file__).resolve().parents[2]
#: what defaults are built from, in the words of the page
CONTEXT = {
    "failover_app_dir": "<app_dir>",
    "session_client_app_dir": "<app_dir>",
    "__failover_prefix": "/opt/baileys-resilience",
    "__failover_app_postgres_env": "the three flags for PostgreSQL",
    "__failover_app_files_env": "the three flags for files",
}
PROSE = [each for each in CONTEXT.values() if each.startswith("the ")]
GIVEN = {"baileys_resilience_reports"}


def defaults() -> dict[str, set[str]]:
    """variable -> the defaults that its uses give, as the page writes them."""
    found: dict[str, set[str]] = {}
    for path in [
        *ROOT.glob("roles/*/defaults/main.yml"),
        *ROOT.glob("roles/*/vars/main.yml"),
        *ROOT.glob("playbooks/*.yml"),
    ]:
        text = path.read_text("utf-8")
        for match in re.finditer(r"(baileys_resilience_\w+) \| default\(", text):
            expression = up_to_closing(text[match.end() :])
            value = Environment().compile_expression(expression)(CONTEXT)
            found.setdefault(match[1], set()).add(shown(value))
    return found


def up_to_closing(text: str) -> str:
    depth = 1
    for position, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return text[:position]
    raise AssertionError(f"no end: {text[:80]}")


def shown(value: object) -> str:
    if value == "":
        return "empty"
    if isinstance(value, list):
        return f"`[{', '.join(value)}]`"
    return str(value) if value in PROSE else f"`{value}`"


def documented() -> dict[str, str]:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", (ROOT / "docs" / "variables.md").read_text("utf-8"), re.M)
    assert len(rows) == len(dict(rows)), "a variable is named twice"
    return dict(rows)


def test_every_inventory_variable_is_on_the_page_with_its_true_default_and_no_other() -> None:
    real = defaults()
    assert {name: len(each) for name, each in real.items() if len(each) > 1} == {}, "two roles disagree"
    assert documented() == {name: next(iter(each)) for name, each in real.items()}


def test_no_role_reads_an_inventory_variable_past_its_defaults() -> None:
    texts = [path.read_text("utf-8") for path in ROOT.glob("roles/*/*/*") if path.suffix in (".yml", ".j2")]
    used = {name for text in texts for name in re.findall(r"\bbaileys_resilience_[a-z]\w*", text)}
    assert used - GIVEN - set(documented()) == set()
