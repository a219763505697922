# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runbook can be run as it is written, none of it is left out, and a word that is not true is noticed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.runbook.damage import known_faults
from tests.integration.runbook.page import PAGE, Command, PageError, sections
from tests.support.matching import complaint

TEXT = PAGE.read_text("utf-8")
ROOT = PAGE.parents[1]
PRINTED = """
PLAY [PostgreSQL is well again] ****
ok: [wa-app-1] =>
    msg:
    - '  source mirror (/m): answers, 5 s
        old'
    - '  company 1: 1333 keys from mirror'

wa-app-1    : ok=6    changed=0
"""
SHOWN = """...
    - '  source mirror (...): answers, ... s old'
    - '  company 1: ... keys from mirror'
...
wa-app-1 ... changed=0
"""


def test_every_section_with_commands_is_run_by_a_test() -> None:
    tests = "\n".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    named = re.findall(r'section\("([^"]+)"\)', tests) + re.findall(r'parametrize\("title", \[(.+)\]\)', tests)
    begins = [word.strip(' "') for entry in named for word in entry.split(",")]
    titles = [each.title for each in sections(TEXT)]
    assert len(titles) > 5
    assert [title for title in titles if not title.startswith(tuple(begins))] == []


def test_every_shell_block_of_the_page_is_a_command_that_is_run() -> None:
    commands = [step for each in sections(TEXT) for step in each.steps if isinstance(step, Command)]
    assert len(commands) == len(re.findall("^```sh$", TEXT, re.MULTILINE))


def test_every_fault_of_the_page_can_be_brought_about_and_every_block_is_run_after_one() -> None:
    for each in sections(TEXT):
        faults = {*each.faults, *each.more_faults}
        assert faults <= known_faults()
        assert {name for step in each.steps if isinstance(step, Command) for name in step.faults} <= faults


def test_every_scenario_shows_its_symptoms_impact_verification_and_after_care() -> None:
    numbered = [part for part in TEXT.split("\n## ") if part[:1].isdigit()]
    assert len(numbered) == 5
    for part in numbered:
        for word in (
            "**Symptoms.**",
            "**Impact.**",
            "### Do",
            "### Verify",
            "### After-care",
            "<!-- test: messages -->",
        ):
            assert word in part, (word, part[:40])


def test_what_the_tree_and_the_text_quote_is_really_said() -> None:
    """Words of messages are those of the library, and headings that are pointed to are there."""
    tree = TEXT.split("```text")[1].split("```")[0]
    headings = re.findall(r"^#+ (.+)$", TEXT + (ROOT / "docs" / "failover.md").read_text("utf-8"), re.MULTILINE)
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "plugins" / "module_utils").rglob("*.py"))
    known = " ".join(re.sub(r'"\s*f?"', "", sources).split()) + " ".join(headings).replace("`", "")
    quoted = re.findall(r'"([^".]+)"', " ".join(re.sub(r"[├└│─.]{1,}", " ", tree).split()))
    assert len(quoted) > 6
    assert [words for words in quoted if words.strip() not in known] == []


def test_what_is_printed_as_shown_is_no_complaint() -> None:
    assert complaint(SHOWN, PRINTED) == ""


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("mirror'", "primary'"),
        ("answers,", "answered,"),
        ("changed=0", "changed=1"),
        ("... keys", "... sessions"),
        ("...\nwa-app-1", "wa-app-1"),
        ("    - '  company 1: ... keys from mirror'\n", "    - '  company 1: ... keys from mirror'\n" * 2),
    ],
)
def test_one_word_that_is_not_printed_is_a_complaint(was: str, becomes: str) -> None:
    assert was in SHOWN
    assert complaint(SHOWN.replace(was, becomes), PRINTED) != ""


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("changed=0", "changed=0\nand more"),
        ("company 1:", "company 2: 7 keys from mirror'\n    - '  company 1:"),
        ("5 s", "BLOCKED s"),
        ("PLAY", "ERROR PLAY"),
    ],
)
def test_a_line_that_the_page_does_not_show_is_a_complaint(was: str, becomes: str) -> None:
    assert was in PRINTED
    assert complaint(SHOWN, PRINTED.replace(was, becomes)) != ""


@pytest.mark.parametrize(
    "text",
    [
        "## A\n```sh\ntrue\n```\n",
        "## A\n```sh\ntrue\n```\n```sh\ntrue\n```\n```\n```\n",
        "## A\n<!-- test: break it -->\n",
        "## A\n<!-- test: exits 3 -->\n",
    ],
    ids=["no output", "no output before the next", "no such directive", "nothing behind a qualifier"],
)
def test_a_page_that_cannot_be_run_is_refused(text: str) -> None:
    with pytest.raises(PageError):
        sections(text)
