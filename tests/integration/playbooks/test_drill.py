# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook failover_drill against live sessions: whole, refused, failing, killed, and after one that was killed.
What docs/game_day.md tells a team to type is what is typed here.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from baileys_resilience.drill.broken import WATCH_PROCESS
from lab import Lab, playbooks, processes
from lab.inventory import HOST
from lab.state import PROJECT
from tests.integration.playbooks.conftest import Play

LAB = str(PROJECT / "lab" / "lab")
PAGE = PROJECT / "docs" / "game_day.md"
PAGE_HOST = "wa_staging_1"


def typed(heading: str) -> list[tuple[str, list[str]]]:
    """The playbooks that a section of the page runs, with their arguments, for the lab's host."""
    section = PAGE.read_text("utf-8").split(f"\n## {heading}")[1].split("\n## ")[0].replace(PAGE_HOST, HOST)
    found = re.findall(r"^ansible-playbook baileys\.resilience\.(\w+)(.*)$", section, re.MULTILINE)
    return [(name, shlex.split(arguments)) for name, arguments in found]


def shown(heading: str) -> list[str]:
    """The lines that the page shows as printed there, as patterns: numbers differ."""
    section = PAGE.read_text("utf-8").split(f"\n## {heading}")[1].split("\n## ")[0].replace(PAGE_HOST, HOST)
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    block = next(text for language, text in blocks if not language)
    return [re.sub(r"\d+(\\\.\d+)?", r"\\d+(\\.\\d+)?", re.escape(line)) for line in block.splitlines()]


def drill(lab: Lab, fault: str = "postgres-kill", *, confirm: bool = True, **variables: Any) -> list[str]:
    """Extra variables of a drill: the lab breaks and heals, as an operator's own words would."""
    given: dict[str, Any] = {
        **({"failover_drill_confirm": HOST} if confirm else {}),
        "baileys_resilience_production_groups": ["production"],
        "failover_drill_fault": "command",
        "failover_drill_break_command": [LAB, "break", fault, "--dir", str(lab.path)],
        "failover_drill_heal_command": [LAB, "heal", "--dir", str(lab.path)],
        "failover_drill_operator": "maria",
        **variables,
    }
    return ["-e", json.dumps(given)]


@pytest.fixture(autouse=True)
def nothing_left(prepared_lab: Lab) -> Iterator[None]:
    """A test that fails half-way leaves no open drill to the next one."""
    yield
    playbooks.command(prepared_lab, "drill", "heal")
    if status(prepared_lab)["open"]:
        end_by_hand(prepared_lab)


def end_by_hand(lab: Lab) -> str:
    """What the playbook does for a drill that was cut off."""
    words = [
        sys.executable,
        "-m",
        "baileys_resilience.cli",
        "--config",
        str(lab.path / "failover.json"),
        "drill",
        "end",
    ]
    done = subprocess.run(words, input='{"abandoned": true}', capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def records(lab: Lab) -> list[dict[str, Any]]:
    """On the controller, oldest first."""
    return [json.loads(path.read_text("utf-8")) for path in sorted((lab.path / "drills").glob("*.json"))]


def stores(lab: Lab) -> set[str]:
    return {each["store"] for each in lab.wait_open()["companies"]}


def status(lab: Lab) -> dict[str, Any]:
    done = playbooks.command(lab, "--json", "drill", "status")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def answers(lab: Lab) -> bool:
    """By the way that the application takes."""
    try:
        lab.connect().close()
    except psycopg2.OperationalError:
        return False
    return True


def test_a_drill_breaks_fails_over_checks_heals_fails_back_and_writes_it_down(live: Lab, play: Play) -> None:
    ((name, arguments),) = typed("Script 1")
    played = play(name, *arguments, *drill(live, confirm=False))
    assert played.returncode == 0, played.output
    (last_line,) = shown("Script 1")
    assert re.search(last_line, " ".join(played.output.split())), last_line
    record = records(live)[-1]
    assert (record["result"], record["failed"], record["operator"], record["host"]) == ("passed", [], "maria", HOST)
    assert (record["fault"]["kind"], record["fault"]["healed_by"]) == ("command", "the drill, for maria")
    assert {name: each for name, each in record["times"].items() if each is None} == {}
    assert record["times"]["outage"] >= record["times"]["failover_downtime"]
    assert {name: each["outcome"] for name, each in record["runs"].items()} == {"failover": "done", "failback": "done"}
    for company in live.companies:
        entry = record["companies"][company.id]
        assert (entry["connected_on_files"], entry["connected_back"], entry["problem"]) == (True, True, "")
        for place in ("on_files", "back_on_postgres"):
            assert entry[place]["good"]
            assert entry[place]["same"] > 1000
    assert stores(live) == {"postgres"}
    assert status(live) == {"broken": None, "open": None}
    for company in live.companies:
        assert live.message(company.id, "after the drill") == "delivered"
    check_records(live, record)


def check_records(lab: Lab, record: dict[str, Any]) -> None:
    """The same on host and controller, for nobody else to read, without a secret, a JID or a number."""
    name = record["drill"]
    places = [Path(lab.state_dir) / "drills", lab.path / "drills"]
    for kind in ("json", "md"):
        texts = [(place / f"{name}.{kind}").read_text("utf-8") for place in places]
        assert all(stat.S_IMODE((place / f"{name}.{kind}").stat().st_mode) == 0o600 for place in places)
        assert lab.need_postgres().password not in texts[0]
        assert "@s.whatsapp.net" not in texts[0]
        assert texts[0].strip() == texts[1].strip() or json.loads(texts[0]) == json.loads(texts[1])
    assert not (Path(lab.state_dir) / "drill" / "keys.json").exists()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"baileys_resilience_production_groups": ""}, "It is not known which hosts are production"),
    ({"baileys_resilience_production_groups": "production"}, "It is not known which hosts are production"),
    ({"baileys_resilience_production_groups": ["all"]}, f"{HOST} is of production (all), and is never drilled"),
    ({"failover_drill_confirm": ""}, f"HINT: -e failover_drill_confirm={HOST}"),
    ({"failover_drill_confirm": "all"}, f"HINT: -e failover_drill_confirm={HOST}"),
    ({"failover_drill_fault_host": "elsewhere"}, "elsewhere is not in this inventory"),
    ({"failover_drill_heal_command": []}, "a command to break needs one to heal"),
    ({"failover_drill_break_command": ["/nowhere"]}, "this program is not there"),
    ({"failover_drill_fault": "stop"}, "no unit is named"),
]


@pytest.mark.parametrize(("wrong", "said"), REFUSED, ids=[said[:30] for _each, said in REFUSED])
def test_what_must_not_be_broken_is_refused_before_anything_is_touched(
    prepared_lab: Lab, play: Play, wrong: dict[str, Any], said: str
) -> None:
    before = len(records(prepared_lab))
    played = play("failover_drill", *drill(prepared_lab, **wrong))
    assert played.returncode != 0
    assert said in " ".join(played.output.split())
    assert answers(prepared_lab)
    assert status(prepared_lab) == {"broken": None, "open": None}
    assert len(records(prepared_lab)) == before


@pytest.mark.parametrize(
    ("staging", "name"),
    [
        ({"failover_drill_login_host": "db.example"}, "db.example"),
        ({"failover_drill_fault_host": "staging-db"}, "staging-db"),
        ({"failover_drill_fault_host": "staging-db"}, "192.0.2.7"),
    ],
)
def test_a_database_that_production_uses_is_refused(
    prepared_lab: Lab, play: Play, tmp_path: Path, staging: dict[str, str], name: str
) -> None:
    """Staging and production on one server: a group alone would not tell."""
    more = tmp_path / "production.yml"
    more.write_text(
        f"production: {{hosts: {{wa-prod: {{baileys_resilience_login_host: {name}}}}}}}\n"
        "others: {hosts: {staging-db: {ansible_host: 192.0.2.7}}}\n"
    )
    played = play("failover_drill", "-i", str(more), "--limit", HOST, *drill(prepared_lab, **staging))
    assert played.returncode != 0
    assert "is also that of wa-prod, which is of production" in " ".join(played.output.split())
    assert answers(prepared_lab)


def test_check_mode_says_what_would_be_done_and_changes_nothing(live: Lab, play: Play) -> None:
    _site, (name, arguments) = typed("The week before")
    played = play(name, *arguments, *drill(live, confirm=False))
    assert (played.returncode, played.recap["changed"]) == (0, 0), played.output
    said = " ".join(played.output.split())
    assert f"fault: command on {HOST}: run {LAB} to break" in said
    for line in shown("The week before"):
        assert line.startswith("fault:") or re.search(line, said), line
    assert "REFUSED" not in said
    assert answers(live)
    assert status(live) == {"broken": None, "open": None}


def test_a_drill_of_sessions_on_files_is_refused_and_check_mode_says_so(live: Lab, play: Play) -> None:
    moved = playbooks.command(live, "failover", "run", "--confirm", "all", "--cooldown", "0")
    assert moved.returncode == 0, moved.stderr
    why = "lives on files, and a drill begins on PostgreSQL. HINT: run the playbook failback first"
    shown = play("failover_drill", "--check", *drill(live))
    assert (shown.returncode, shown.recap["changed"]) == (0, 0), shown.output
    assert f"REFUSED: company 962301 {why}" in " ".join(shown.output.split())
    played = play("failover_drill", *drill(live))
    assert played.returncode != 0
    assert why in " ".join(played.output.split())
    assert answers(live)


@pytest.mark.slow
def test_a_failover_that_fails_is_healed_all_the_same_and_the_record_says_where_and_why(live: Lab, play: Play) -> None:
    entry = Path(f"{live.need_app().dir}-files") / "src" / "index.js"
    good = entry.read_text("utf-8")
    entry.write_text("process.exit(1);\n", "utf-8")
    try:
        played = play("failover_drill", *drill(live, failover_health_deadline=3))
    finally:
        entry.write_text(good, "utf-8")
    assert played.returncode != 0
    record = records(live)[-1]
    assert (record["result"], record["fault"]["healed_by"]) == ("failed", "the drill, for maria")
    assert record["runs"] == {"failover": {"run": record["runs"]["failover"]["run"], "outcome": "undone"}}
    assert "Everything was taken back" in record["failed"][0]["why"]
    assert record["times"]["detection"] is not None
    assert f"drill on {HOST} failed: " in played.output
    assert f"{record['drill']}.md" in played.output
    assert stores(live) == {"postgres"}
    assert status(live) == {"broken": None, "open": None}


def test_a_fault_that_does_not_reach_the_database_fails_the_drill(live: Lab, play: Play) -> None:
    nothing = {"failover_drill_break_command": ["true"], "failover_drill_detect_seconds": 3}
    played = play("failover_drill", *drill(live, **nothing))
    assert played.returncode != 0
    failed = records(live)[-1]["failed"]
    assert [each["where"] for each in failed] == ["wait until the database is seen dead"]
    assert "the database still answers after 3 s. HINT: the fault does not reach" in failed[0]["why"]
    assert stores(live) == {"postgres"}


@contextmanager
def running_drill(lab: Lab, *arguments: str, **variables: Any) -> Iterator[subprocess.Popen[str]]:
    words = ["ansible-playbook", "-i", str(lab.path / "inventory.yml"), "baileys.resilience.failover_drill"]
    with (lab.path / "logs" / "killed-drill.log").open("w") as output:
        child = subprocess.Popen(
            [*words, *arguments, *drill(lab, **variables)], cwd=lab.path, env=playbooks.environment(lab),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            yield child
        finally:
            processes.signal_tree(child.pid, signal.SIGKILL)
            child.wait()


def kill_when_broken(lab: Lab, **variables: Any) -> None:
    """The controller is gone as soon as the database is dead, and before a failover has begun."""
    with running_drill(lab, **variables) as child:
        processes.wait_until(lambda: not answers(lab) or child.poll() is not None, "the database is dead", 60, 0.02)
        assert child.poll() is None, (lab.path / "logs" / "killed-drill.log").read_text("utf-8")
        processes.signal_tree(child.pid, signal.SIGKILL)


def watches(lab: Lab) -> list[int]:
    """What drills have left behind on the host of this lab."""
    found = []
    for pid in processes.all_pids():
        try:
            name = Path(f"/proc/{pid}/comm").read_text("utf-8").strip()
            mark = Path(f"/proc/{pid}/environ").read_text("utf-8", "replace")
        except OSError:
            continue
        if name == WATCH_PROCESS and f"={lab.path}\0" in mark:
            found.append(pid)
    return found


def test_a_drill_whose_controller_is_killed_is_healed_by_the_watch(live: Lab, play: Play) -> None:
    kill_when_broken(live, failover_drill_max_seconds=5)
    assert len(watches(live)) == 1
    processes.wait_until(lambda: answers(live), "the watch has healed", 60)
    processes.wait_until(lambda: status(live)["broken"] is None, "the watch has written so", 30)
    processes.wait_until(lambda: not watches(live), "the watch has ended", 30)
    refused = play("failover_drill", *drill(live))
    assert refused.returncode != 0
    assert "heal what it left with -e failover_drill_left=heal" in " ".join(refused.output.split())
    left = status(live)["open"]
    assert (left["operator"], left["over"]) == ("maria", False)
    shown = playbooks.command(live, "drill", "status")
    assert f"OPEN: {left['drill']} by maria since" in shown.stdout
    ((name, arguments),) = typed("Abort when")
    ended = play(name, *arguments, *drill(live, confirm=False))
    assert ended.returncode == 0, ended.output
    record = records(live)[-1]
    assert record["drill"] == left["drill"], "another drill was begun"
    assert (record["result"], record["fault"]["healed_by"]) == ("abandoned", "the watch")


@pytest.mark.slow
def test_what_a_drill_left_whose_host_has_booted_is_healed_by_the_next_one(live: Lab, play: Play) -> None:
    """With the controller the watch has gone, as at a boot: the database stays dead until somebody comes."""
    kill_when_broken(live)
    (watch,) = watches(live)
    os.kill(watch, signal.SIGKILL)
    left = status(live)["open"]
    assert not answers(live)
    played = play("failover_drill", *drill(live, failover_drill_left="heal"))
    assert played.returncode == 0, played.output
    first, second = records(live)[-2:]
    assert (first["drill"], first["result"]) == (left["drill"], "abandoned")
    assert second["result"] == "passed"
    assert stores(live) == {"postgres"}


def test_a_human_on_the_host_heals_without_the_controller(live: Lab) -> None:
    kill_when_broken(live)
    healed = playbooks.command(live, "drill", "heal")
    assert "healed: run " in healed.stdout, healed.stderr
    assert answers(live)
    assert playbooks.command(live, "drill", "heal").stdout == "nothing is broken by a drill here\n"
    processes.wait_until(lambda: not watches(live), "the watch has ended", 30)
    assert "abandoned" in end_by_hand(live)


@pytest.mark.slow
def test_a_team_fails_over_and_back_by_hand_while_the_drill_waits(live: Lab, play: Play) -> None:
    (_drill, begin), look, over, back = typed("Script 2")
    with running_drill(live, *begin, failover_drill_team_seconds=90) as child:
        processes.wait_until(lambda: not answers(live) or child.poll() is not None, "the drill has broken it", 60)
        for (name, arguments), dead in ((look, True), (over, True), (back, False)):
            processes.wait_until(lambda dead=dead: answers(live) is not dead, f"it is time for {name}", 60)
            done = play(name, *arguments)
            assert done.returncode == 0, done.output
        assert child.wait(timeout=120) == 0, (live.path / "logs" / "killed-drill.log").read_text("utf-8")
    record = records(live)[-1]
    assert (record["result"], record["failover_by"]) == ("passed", "team")
    assert all(entry["back_on_postgres"]["good"] for entry in record["companies"].values())
