# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of the page: where they are read from, what a policy without inline code asks of them, whose they are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from baileys_resilience.health.monitor.page import page_files
from baileys_resilience.sessions.info import AGE_BUCKETS, OLDEST_BUCKET, UNKNOWN_AGE
from tests.support.bodies import body
from tests.support.page import FILES, bundled_page

ROOT = Path(__file__).resolve().parents[4]
OURS = sorted(each for each in FILES.iterdir() if not each.name.startswith("uPlot."))
SCRIPTS = [each for each in OURS if each.suffix == ".js"]


def test_the_files_are_served_by_their_names_and_nothing_else_is(tmp_path: Path) -> None:
    (tmp_path / "page.json").write_text(json.dumps({"index.html": "<p>", "main.js": "1"}))
    files, why = page_files(str(tmp_path / "page.json"))
    assert why == ""
    assert set(files) == {"/", "/main.js"}
    assert files["/"]({}) == (200, "text/html; charset=utf-8", b"<p>")
    assert files["/main.js"]({}).content_type == "text/javascript; charset=utf-8"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("nothing", "No such file"),
        ("no JSON", "holds none"),
        ("[]", "holds none"),
        ('{"a.exe": ""}', "holds none"),
        ('{"index.html": 1}', "holds none"),
        ('{"main.js": "1"}', "holds no index.html"),
    ],
)
def test_where_there_is_no_page_it_says_why_and_who_installs_it(tmp_path: Path, content: str, said: str) -> None:
    if content != "nothing":
        (tmp_path / "page.json").write_text(content)
    files, why = page_files(str(tmp_path / "page.json"))
    assert said in why
    assert set(files) == {"/"}
    page = files["/"]({})
    assert page.status == 404
    assert why in body(page)["error"]
    assert "HINT: the role health_monitor installs it" in body(page)["error"]


def test_without_the_setting_there_is_none() -> None:
    assert page_files("")[1] == "none is installed"


def test_all_that_the_page_loads_is_beside_it(tmp_path: Path) -> None:
    html = (FILES / "index.html").read_text("utf-8")
    loaded = [each for each in re.findall(r'(?:src|href)="([^"]+)"', html) if not each.startswith(("#", "data:"))]
    for script in SCRIPTS:
        loaded += re.findall(r'^import .* from "\./([^"]+)"', script.read_text("utf-8"), re.MULTILINE)
    (tmp_path / "page.json").write_text(bundled_page())
    served = set(page_files(str(tmp_path / "page.json"))[0])
    assert {f"/{each}" for each in loaded} | {"/", "/uPlot.LICENSE.txt"} == served


def test_no_text_becomes_markup_and_no_code_is_inline() -> None:
    """Names come from servers and applications. The policy forbids what is inline; here it does not get so far."""
    for each in OURS:
        text = each.read_text("utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            each
        )
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), each
    html = (FILES / "index.html").read_text("utf-8")
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", html)


def test_each_label_and_description_leads_to_something() -> None:
    html = (FILES / "index.html").read_text("utf-8")
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    wanted = re.findall(r'(?:aria-labelledby|aria-describedby|for)="([^"]+)"|href="#([^"]+)"', html)
    assert {one or other for one, other in wanted} <= set(ids)
    for script in SCRIPTS:
        assert set(re.findall(r'byId\("([^"]+)"\)', script.read_text("utf-8"))) <= set(ids)


def test_ages_have_the_names_of_the_library() -> None:
    names = [*(name for name, _days in AGE_BUCKETS), OLDEST_BUCKET, UNKNOWN_AGE]
    assert f"const BUCKETS = {names!r};".replace("'", '"') in (FILES / "tables.js").read_text("utf-8")
    style = (FILES / "data.css").read_text("utf-8")
    assert all(f'[data-age="{name}"]' in style for name in names)


def test_uplot_is_what_npm_has_with_its_licence() -> None:
    package = ROOT / "lab" / "node" / "node_modules" / "uplot"
    for name in ("uPlot.iife.min.js", "uPlot.min.css"):
        assert (FILES / name).read_bytes() == (package / "dist" / name).read_bytes(), name
    assert (FILES / "uPlot.LICENSE.txt").read_bytes() == (package / "LICENSE").read_bytes()
