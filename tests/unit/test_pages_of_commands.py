# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a page shows is read and compared as its reader would."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import pages
from tests.support.matching import complaint

PAGE = """\
# Top
## First
```sh
# look around
one --option \\
    two        # why
three
```
It prints:
```
a line
```
## Second
```yaml
key: value
```
```sh
four
```
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "page.md").write_text(PAGE)
    return tmp_path / "page.md"


def test_commands_come_in_order_with_what_they_print(page: Path) -> None:
    first, second = pages.examples(page)
    assert first.commands == ("one --option two        # why", "three")
    assert (first.expected, first.block.headings) == ("a line", ("Top", "First"))
    assert (second.commands, second.expected, second.block.headings) == (("four",), None, ("Top", "Second"))


def test_contents_of_files_are_blocks_of_their_language(page: Path) -> None:
    assert [block.text for block in pages.blocks(page) if block.language == "yaml"] == ["key: value"]


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        ("one\ntwo", "one  \ntwo\n"),
        ("one ... three", "one two three"),
        ("one...", "one "),
        ("one\n...\nfour", "one\ntwo\nthree\nfour"),
        ("one\n...\ntwo", "one\ntwo"),
        ("...\nlast", "first\nlast"),
        ("a (b) [c] *", "a (b) [c] *"),
    ],
)
def test_dots_are_anything(expected: str, printed: str) -> None:
    assert complaint(expected, printed) == ""


@pytest.mark.parametrize(
    ("expected", "printed", "said"),
    [
        ("one\ntwo", "one\nthree", "this line of the page was not printed: two"),
        ("one", "one\ntwo", "these lines of the page were not printed in this way"),
        ("one ... three", "one two\nthree", "this line of the page was not printed: one ... three"),
        ("a.c", "abc", "this line of the page was not printed: a.c"),
        ("...\nlast", "first\nlast\nmore", "these lines of the page were not printed in this way"),
        ("...", "ERROR: something", "the page shows no ERROR"),
    ],
)
def test_what_differs_is_named(expected: str, printed: str, said: str) -> None:
    assert complaint(expected, printed).startswith(said)
