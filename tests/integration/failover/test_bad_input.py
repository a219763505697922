# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input gets a clear sentence and changes nothing: not a file, not a row, not a process."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.errors import (
    Busy,
    ForeignFiles,
    Misconfigured,
    NotWritable,
    SourceTooOld,
    StepFailed,
    StoreError,
    ToolMissing,
    UsageError,
)
from baileys_resilience.failover.code import prepare
from baileys_resilience.failover.sources import bring_mirror_up_to_date
from lab import Lab
from tests.integration.failover.host import Host

QUICK_INSTALL = ["mkdir", "-p", "node_modules"]


@pytest.fixture(scope="module", autouse=True)
def _alive_at_the_end(lab: Lab) -> Iterator[None]:
    """Whatever was refused: the session is as good as before."""
    Host(lab).assert_alive("before all")
    pid = Host(lab).pid()
    yield
    Host(lab).assert_alive("after all")
    assert Host(lab).pid() == pid


def test_an_unconfirmed_run_is_refused_with_the_word_that_confirms_it(host: Host) -> None:
    with host.refuses(UsageError, cause="not confirmed", hint="failover_confirm=lab-app"):
        host.failover(policy={"confirm": "other-host"})


def test_a_missing_env_file_is_named(host: Host, tmp_path: Path) -> None:
    host.env_file.rename(tmp_path / "env")
    try:
        with host.refuses(Misconfigured, cause=str(host.env_file), hint="application.env_file"):
            host.failover()
    finally:
        (tmp_path / "env").rename(host.env_file)


def test_a_read_only_env_file_is_refused_before_anything_is_touched(host: Host) -> None:
    host.env_file.chmod(0o440)
    try:
        with host.refuses(NotWritable, cause="is read-only", hint="check owner, mode and mount"):
            host.failover()
    finally:
        host.env_file.chmod(0o600)


def test_a_home_where_nobody_may_write_is_refused(host: Host) -> None:
    with host.refuses(NotWritable, cause="/sys/kernel", hint="check owner, mode and mount"):
        host.failover(sessions_dir="/sys/kernel/baileys_sessions")


def test_a_home_that_is_a_file_is_refused(host: Host, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a directory")
    with host.refuses(StoreError, cause="is not a directory", hint="move the file"):
        host.failover(sessions_dir=str(tmp_path / "home"))


def test_foreign_files_in_a_companys_place_are_left_alone(host: Host) -> None:
    host.place.mkdir(parents=True)
    (host.place / "thesis.odt").write_text("all of it")
    try:
        with host.refuses(ForeignFiles, cause="thesis.odt", hint="move"):
            host.failover()
    finally:
        shutil.rmtree(host.place)


@pytest.mark.parametrize("company", ["../962301", "a/b", "..", ""])
def test_a_company_id_that_leaves_the_home_is_refused(host: Host, company: str) -> None:
    hint = "ids with /, .., a leading dot, no characters or more than 255 bytes are refused"
    with host.refuses(UsageError, cause="the company id cannot be a directory name", hint=hint):
        host.failover(companies=[company])


def test_a_company_of_another_host_is_refused(host: Host) -> None:
    with host.refuses(UsageError, cause="is also on the list of app2", hint="name each company on one host only"):
        host.failover(other_hosts={"app2": [host.company]})


def test_code_that_was_never_prepared_is_refused(host: Host) -> None:
    prepared = host.state / "prepared.json"
    content = prepared.read_bytes()
    prepared.unlink()
    try:
        with host.refuses(Misconfigured, cause="no code is prepared", hint="run failover_prepare.yml"):
            host.failover()
        prepared.write_text("{}")
        with host.refuses(Misconfigured, cause="cannot be read", hint="run failover_prepare.yml again"):
            host.failover()
    finally:
        prepared.write_bytes(content)


def git(directory: Path, *words: str) -> str:
    name = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    done = subprocess.run(
        ["git", *name, "-C", directory, *words], check=True, capture_output=True, text=True, timeout=30
    )
    return done.stdout.strip()


def test_a_worktree_at_another_commit_than_prepared_is_refused(host: Host) -> None:
    before = git(host.worktree, "rev-parse", "HEAD")
    git(host.worktree, "commit", "--allow-empty", "--quiet", "-m", "somebody else's code")
    try:
        with host.refuses(Misconfigured, cause=f"prepared was {before[:12]}", hint="run failover_prepare.yml again"):
            host.failover()
    finally:
        git(host.worktree, "reset", "--quiet", "--soft", before)


@pytest.mark.parametrize("name", [".env", "baileys_sessions"])
def test_a_worktree_with_an_env_file_or_sessions_of_its_own_is_refused(host: Host, name: str) -> None:
    own = host.worktree / name
    kept = own.readlink() if own.is_symlink() else None
    own.unlink(missing_ok=True)
    own.mkdir()
    try:
        with host.refuses(Misconfigured, cause=f"it has its own {name}", hint="run failover_prepare.yml again"):
            host.failover()
    finally:
        own.rmdir()
        if kept:
            own.symlink_to(kept)


def test_something_where_the_directory_would_be_parked_is_refused_before_the_stop(host: Host) -> None:
    parked = Path(f"{host.app_dir}.on-postgres")
    parked.mkdir()
    try:
        with host.refuses(UsageError, cause="exists although nothing is switched", hint="move it away"):
            host.failover()
    finally:
        parked.rmdir()


class TestTag:
    """Code that comes from the tag; its worktree and preparation are apart from the module's."""

    @pytest.fixture
    def tagged(self, lab: Lab, tmp_path: Path) -> Iterator[Host]:
        worktree = tmp_path / "worktree"
        code = {"source": "tag", "worktree": str(worktree), "install": QUICK_INSTALL}
        yield Host(lab, code=code, state_dir=str(tmp_path / "state"))
        git(Path(lab.need_app().dir), "worktree", "remove", "--force", str(worktree))

    def test_a_tag_that_does_not_exist_is_refused_by_the_preparation(self, host: Host, tmp_path: Path) -> None:
        with host.refuses(Misconfigured, cause="find code nowhere-v1: the tag does not exist", hint="tag.yml"):
            prepare(host.settings(code={"source": "tag", "tag": "nowhere-v1"}, state_dir=str(tmp_path)))

    def test_a_tag_that_is_not_the_pinned_commit_is_refused_by_the_preparation(
        self, host: Host, tmp_path: Path
    ) -> None:
        head = host.lab.need_app().head_commit
        with host.refuses(Misconfigured, cause=f"the pinned commit is {head[:12]}", hint="a tag that moves"):
            prepare(host.settings(code={"source": "tag", "commit": head}, state_dir=str(tmp_path)))

    def test_a_tag_that_moves_after_the_preparation_is_refused_by_both(self, tagged: Host, lab: Lab) -> None:
        app, first = lab.need_app(), prepare(tagged.settings())
        assert (first["changed"], prepare(tagged.settings())["changed"]) == (True, False)
        git(tagged.app_dir, "tag", "--force", app.tag, app.head_commit)
        try:
            with tagged.refuses(Misconfigured, cause="moved away from the prepared commit", hint="find out why"):
                tagged.failover()
            with tagged.refuses(Misconfigured, cause="it was prepared at", hint="find out who moved it"):
                prepare(tagged.settings())
            git(tagged.app_dir, "tag", "--delete", app.tag)
            with tagged.refuses(Misconfigured, cause="the tag does not exist", hint="git fetch --tags"):
                tagged.failover()
        finally:
            git(tagged.app_dir, "tag", "--force", app.tag, app.tag_commit)


def test_a_process_that_pm2_does_not_know_is_refused_with_those_it_knows(host: Host) -> None:
    known = host.lab.need_app().pm2_name
    with host.refuses(Misconfigured, cause=f"it knows: {known}", hint="application.service.name"):
        host.failover(application={"service": {"name": "baileys"}})


def test_a_pm2_home_without_a_daemon_is_refused_and_none_is_started_there(host: Host, tmp_path: Path) -> None:
    with host.refuses(Misconfigured, cause=f"no PM2 daemon runs for PM2_HOME {tmp_path}", hint="application.user"):
        host.failover(application={"service": {"pm2_home": str(tmp_path)}})
    assert list(tmp_path.iterdir()) == []


def test_a_service_that_runs_from_another_directory_is_refused(host: Host) -> None:
    elsewhere = {"dir": str(host.worktree), "env_file": str(host.env_file)}
    with host.refuses(
        Misconfigured, cause="it is prepared there, and the settings name", hint="a wrong application.dir"
    ):
        host.failover(application=elsewhere)
    blocked = host.operation(application=elsewhere).plan().blocked
    assert any("which is not below application.dir" in each and "set application.dir" in each for each in blocked)


@pytest.mark.parametrize(
    ("tools", "cause", "hint"),
    [
        ({"node": "/nowhere/node"}, "Node.js is not found", "set load_check.node"),
        ({"script": "/nowhere/load_check.mjs"}, "the script of the check is not found", "run the role"),
    ],
)
def test_files_that_nobody_could_prove_are_not_even_begun(
    host: Host, tools: dict[str, str], cause: str, hint: str
) -> None:
    with host.refuses(ToolMissing, cause=cause, hint=hint):
        host.operation(load_check=tools).begin()


DATABASES: list[tuple[dict[str, Any], str]] = [
    ({"database": {"password": "wrong"}}, "check login_user and login_password"),
    ({"database": {"dbname": "nowhere"}}, "check login_db"),
    ({"database": {"host": "nowhere.invalid"}}, "check login_host"),
    ({"database": {"port": 1}}, "check that PostgreSQL runs"),
    ({"database": {"ssl_mode": "require"}}, "ssl_mode"),
    ({"session_tables": {"keys": {"table": "wa_keys"}}}, "session_tables"),
    ({"session_tables": {"auth": {"creds": "credentials"}}}, "session_tables"),
]


@pytest.mark.parametrize(("wrong", "hint"), DATABASES, ids=[hint for _wrong, hint in DATABASES])
def test_a_database_that_cannot_be_read_as_told_is_refused_with_what_to_set(
    host: Host, wrong: dict[str, Any], hint: str
) -> None:
    with host.refuses(StepFailed, cause="no source answers: primary:", hint=hint):
        host.failover(**wrong)


@pytest.mark.parametrize("variant", ["null", "empty", "tampered"])
def test_creds_that_nobody_could_log_in_with_are_refused(host: Host, variant: str) -> None:
    host.lab.break_("creds-corrupt", company=host.company, variant=variant)
    try:
        with host.refuses(
            StepFailed, cause=f"no company could be exported (company {host.company}:", hint="other sources"
        ):
            host.failover()
    finally:
        host.lab.heal()


def test_a_company_without_rows_is_refused(host: Host) -> None:
    with host.refuses(StepFailed, cause="no source has a whole copy", hint="nothing was touched"):
        host.failover(companies=["962399"])


def test_a_second_operator_is_told_who_is_at_it_and_since_when(host: Host) -> None:
    begun = host.operation(policy={"operator": "maria"}).begin()
    before = host.picture()
    try:
        for name in ("failover", "failback"):
            with pytest.raises(Busy) as caught:
                host.operation(name, policy={"operator": "hugo"}).begin()
            assert f"{begun.run} by maria is open since 20" in caught.value.cause
            assert "resume (or undo)" in caught.value.hint
        assert host.picture() == before
    finally:
        host.operation().undo("by a test")


def test_a_mirror_older_than_allowed_is_refused_with_its_age(host: Host) -> None:
    mirror_dir = host.lab.mirror_dir
    bring_mirror_up_to_date(host.settings(mirror_dir=mirror_dir))
    with host.refuses(SourceTooOld, cause="s old (allowed: 0 s)", hint="failover_accept_data_loss"):
        host.failover(mirror_dir=mirror_dir, policy={"max_source_age_seconds": 0.001}, database={"port": 1})


def test_a_failback_of_a_host_that_is_on_postgres_has_nothing_to_do(host: Host) -> None:
    before = host.picture()
    outcome = host.failback()
    assert (outcome.changed, outcome.run) == (False, "")
    assert "nothing to do" in outcome.message
    assert host.picture() == before
    assert os.path.isdir(host.app_dir)
