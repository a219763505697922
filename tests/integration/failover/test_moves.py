# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failovers and failbacks that happen: each ends in a session that decrypts, on the store that everybody names."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.clock import age_seconds
from baileys_resilience.errors import ApplicationError, Busy, SourceTooOld, StepFailed
from baileys_resilience.failover.code import prepare
from baileys_resilience.failover.processes import environment_of
from baileys_resilience.failover.sources import bring_mirror_up_to_date
from baileys_resilience.sessions.manifest import MANIFEST_FILE, read_manifest
from lab import Lab, nodejs, processes
from tests.integration.failover.host import Host

FLAG = "USE_DATABASE_AUTH_STATE"


@pytest.fixture(autouse=True)
def _on_postgres_before_and_after(host: Host) -> Iterator[None]:
    assert host.store() == "postgres"
    env = host.env_file.read_bytes()
    yield
    if not host.app_dir.is_symlink():
        assert host.store() == "postgres"
        assert host.env_file.read_bytes() == env
        host.assert_alive("at the end")


def test_a_second_failover_changes_nothing_and_says_since_when(host: Host) -> None:
    first = host.failover()
    assert first.report is not None
    assert (first.changed, first.report["outcome"], host.store()) == (True, "done", "files")
    since = json.loads((host.state / "stores.json").read_text())["companies"][host.company]["since"]
    host.assert_alive("on files")
    before = host.picture()
    again = host.failover()
    assert (again.changed, again.run) == (False, "")
    assert f"company {host.company} on files since {since}" in again.message
    assert host.picture() == before
    host.failback()
    assert host.store() == "postgres"


def test_an_application_that_never_connects_on_files_is_taken_back_whole(host: Host) -> None:
    index = host.worktree / "src" / "index.js"
    working = index.read_bytes()
    index.write_bytes(b"setInterval(() => {}, 1000);\n")
    env, pid = host.env_file.read_bytes(), host.pid()
    try:
        with pytest.raises(ApplicationError) as caught:
            host.failover(application={"health": {"deadline_seconds": 2}})
    finally:
        index.write_bytes(working)
    assert "no session connected within 2 s" in caught.value.cause
    assert caught.value.cause.endswith("Everything was taken back, the sessions run as before")
    assert caught.value.hint == "see the application's log; then run again"
    assert host.store() == "postgres"
    assert host.pid() != pid
    assert host.env_file.read_bytes() == env
    assert not host.app_dir.is_symlink()
    assert not host.place.exists()
    report = newest_report(host)
    assert report["outcome"] == "undone"
    assert report["companies"][host.company]["store"] == "postgres"
    assert "start" in report["undone"]
    host.assert_alive("after the undo")


def newest_report(host: Host) -> dict[str, object]:
    runs = sorted((host.state / "runs").iterdir(), key=lambda run: run.stat().st_mtime_ns)
    content: dict[str, object] = json.loads((runs[-1] / "report.json").read_text())
    return content


def test_a_failover_cut_off_behind_the_record_is_not_taken_for_done(host: Host) -> None:
    """The record says files already, and the application is down: "nothing to do" would be a lie."""
    first = host.operation(policy={"operator": "maria"})
    first.begin()
    for name in first.step_names[: first.step_names.index("record_store") + 1]:
        first.step(name)
    with pytest.raises(Busy) as caught:
        host.operation(policy={"operator": "hugo"}).run()
    assert "by maria is open since" in caught.value.cause
    first.undo("by a test")
    assert host.store() == "postgres"
    host.assert_alive("after an undo by hand")


def test_a_flag_that_somebody_exported_into_pm2_does_not_undo_the_switch(host: Host) -> None:
    """dotenv does not override what the process has: PM2 remembers an environment longer than its operator."""
    lab, app = host.lab, host.lab.need_app()
    env = nodejs.environment(lab.path, lab.node, {"PM2_HOME": app.pm2_home, FLAG: "true"})
    restart = [lab.node, app.pm2_bin, "restart", app.pm2_name, "--update-env"]
    processes.run(restart, env=env, cwd=host.app_dir, timeout_seconds=30, what="pm2 restart")
    assert host.store() == "postgres"
    assert environment_of(host.pid())[FLAG] == "true"
    host.failover()
    assert host.store() == "files"
    assert environment_of(host.pid())[FLAG] == "false"
    host.assert_alive("on files despite PM2")
    host.failback()
    assert environment_of(host.pid())[FLAG] == "true"


def test_a_failback_refuses_rows_that_are_newer_until_it_is_told_to_overwrite(host: Host) -> None:
    host.failover()
    host.assert_alive("on files")
    write_a_newer_row(host)
    with host.refuses(StepFailed, cause="newer", hint="newer_rows"):
        host.failback()
    assert host.store() == "files"
    host.assert_alive("still on files")
    host.failback(policy={"newer_rows": "overwrite"})
    assert host.store() == "postgres"


def write_a_newer_row(host: Host) -> None:
    """A second writer at work. Rows of the first second after the switch are let pass: clocks are compared."""
    since = json.loads((host.state / "stores.json").read_text())["companies"][host.company]["since"]
    processes.wait_until(lambda: age_seconds(since) > 1.5, "a second after the switch", 5, 0.05)
    host.sql(
        "UPDATE whatsapp_auth SET creds = jsonb_set(creds, '{accountSyncCounter}', '4711'), updated_at = now()"
        " WHERE company_id = %s",
        host.company,
    )


def test_a_directory_of_an_earlier_epoch_is_not_taken_over_by_a_failback(host: Host) -> None:
    first = epoch_of_copy_after_failover(host)
    host.assert_alive("on files")
    host.failback()
    old = newest_archive(host)
    assert epoch_of_copy_after_failover(host) == first + 2
    host.assert_alive("on files again")
    current = host.place.rename(host.place.with_name("current"))
    shutil.copytree(old, host.place)
    try:
        with host.refuses(StepFailed, cause=f"was exported in epoch {first}", hint="failover_accept_data_loss"):
            host.failback()
    finally:
        shutil.rmtree(host.place)
        current.rename(host.place)
    host.failback()
    assert host.store() == "postgres"


def epoch_of_copy_after_failover(host: Host) -> int:
    """The epoch in the manifest, which is one less than that of the store that the copy became."""
    host.failover()
    entry = json.loads((host.state / "stores.json").read_text())["companies"][host.company]
    epoch = read_manifest(host.place / MANIFEST_FILE).header.source.epoch
    assert (entry["epoch"], entry["lineage"]) == (epoch + 1, epoch)
    return epoch


def newest_archive(host: Host) -> Path:
    kept = (host.place.parent / ".resilience" / "previous").glob(f"{host.place.name}.*")
    return max(kept, key=lambda path: int(path.name.rpartition(".")[2]))


def test_a_failback_with_a_damaged_directory_refuses_and_stays_on_files(host: Host) -> None:
    host.failover()
    creds = host.place / "creds.json"
    whole = creds.read_bytes()
    creds.write_bytes(whole[: len(whole) // 2])
    try:
        with host.refuses(StepFailed, cause=f"company {host.company}", hint="PostgreSQL is as it was"):
            host.failback()
    finally:
        creds.write_bytes(whole)
    assert host.store() == "files"
    host.assert_alive("still on files")
    host.failback()


def test_a_mirror_that_is_too_old_is_taken_once_the_loss_is_accepted(host: Host) -> None:
    mirror_dir = host.lab.mirror_dir
    bring_mirror_up_to_date(host.settings(mirror_dir=mirror_dir))
    policy = {"max_source_age_seconds": 0.001, "connect_seconds": 1}
    host.lab.proxy_mode("reset")
    try:
        with host.refuses(SourceTooOld, cause="mirror of", hint="failover_accept_data_loss"):
            host.failover(mirror_dir=mirror_dir, policy=policy)
        moved = host.failover(mirror_dir=mirror_dir, policy={**policy, "accept_data_loss": True})
    finally:
        host.lab.heal()
        host.lab.proxy_mode("pass")
    assert moved.report is not None
    assert moved.report["companies"][host.company]["source"] == "mirror"
    assert [each["kind"] for each in moved.report["sources"] if each["answers"]] == ["mirror"]
    age = moved.report["companies"][host.company]["age_seconds"]
    assert moved.report["data_loss"] == {host.company: age}
    assert 0 < age < 60
    assert f"DATA LOSS, accepted: company {host.company} goes on from data that were {age:.0f} s old" in moved.markdown
    assert host.store() == "files"
    host.assert_alive("from the mirror")
    host.failback()


def test_old_code_without_health_is_judged_by_its_log(host: Host, lab: Lab, tmp_path: Path) -> None:
    worktree = tmp_path / "old"
    tagged = Host(
        lab,
        state_dir=str(tmp_path / "state"),
        code={
            "source": "tag",
            "worktree": str(worktree),
            "install": ["cp", "-al", str(host.app_dir / "node_modules"), "."],
        },
        application={"files_health": {"kind": "log", "deadline_seconds": 15}},
    )
    assert prepare(tagged.settings())["commit"] == lab.need_app().tag_commit
    moved = tagged.failover()
    assert moved.report is not None
    assert moved.report["outcome"] == "done", moved.markdown
    assert moved.report["companies"][host.company]["connected"]
    assert os.path.realpath(host.app_dir) == str(worktree)
    assert lab.message(host.company, "to the old code") == "delivered"
    tagged.failback()
    assert host.store() == "postgres"
    shutil.rmtree(worktree)


def test_an_application_behind_a_link_to_its_release_moves_and_comes_back_to_it(host: Host) -> None:
    release = host.app_dir.with_name("release-7")
    host.app_dir.rename(release)
    host.app_dir.symlink_to(release.name)
    git = ["git", "-C", str(release), "worktree", "repair", str(host.worktree)]
    subprocess.run(git, check=True, capture_output=True, timeout=30)
    try:
        host.failover()
        assert host.store() == "files"
        assert host.app_dir.resolve() == host.worktree
        host.assert_alive("behind a link")
        host.failback()
        assert host.store() == "postgres"
        assert str(host.app_dir.readlink()) == release.name
        assert sorted(each.name for each in host.app_dir.parent.glob("app.*")) == []
        host.assert_alive("behind the link again")
    finally:
        host.app_dir.unlink()
        release.rename(host.app_dir)
        subprocess.run([*git[:2], str(host.app_dir), *git[3:]], check=True, capture_output=True, timeout=30)


def test_a_list_that_pm2_saved_before_is_reported_with_the_command_that_mends_it(host: Host) -> None:
    """A reboot runs pm2 resurrect: what was saved on PostgreSQL would start on rows as old as the failover."""
    lab, app = host.lab, host.lab.need_app()
    env = nodejs.environment(lab.path, lab.node, {"PM2_HOME": app.pm2_home, FLAG: "true"})

    def run(*words: str) -> None:
        processes.run(list(words), env=env, cwd=host.app_dir, timeout_seconds=30, what="pm2")

    saved = Path(app.pm2_home) / "dump.pm2"
    run(lab.node, app.pm2_bin, "restart", app.pm2_name, "--update-env")
    run(lab.node, app.pm2_bin, "save")
    try:
        moved = host.failover()
        said = one_degraded(moved.report)
        assert f"{FLAG}=true" in said
        assert said in moved.markdown
        command = shlex.split(said.partition("Run once: ")[2].partition(" (it saves")[0])
        assert command == ["env", f"PM2_HOME={app.pm2_home}", lab.node, app.pm2_bin, "save"]
        run(*command)
        assert f"{FLAG}=false" in one_degraded(host.failback().report)
        saved.unlink()
        assert "pm2 resurrect" not in host.failover().markdown
    finally:
        saved.unlink(missing_ok=True)
        if host.app_dir.is_symlink():
            host.failback()


def one_degraded(report: dict[str, Any] | None) -> str:
    assert report is not None
    found = [each for each in report["degraded"] if "pm2 resurrect" in each]
    assert len(found) == 1
    return str(found[0])
