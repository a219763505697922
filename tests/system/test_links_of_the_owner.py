# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The application's user owns the directories that we act in as root: no link of its makes us act elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.errors import ForeignFiles, Misconfigured, ResilienceError, Unavailable
from baileys_resilience.failover.client_admin import ask
from baileys_resilience.failover.client_memory import ClientMemory, discard_copies, exported_of
from baileys_resilience.failover.code import CodeSwitch, _overlay
from baileys_resilience.failover.copies import expire_copies
from baileys_resilience.failover.envfile import EnvFile
from baileys_resilience.failover.processes import User
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict
from baileys_resilience.sessions.client_files import ClientFiles
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.export import export_companies
from baileys_resilience.sessions.manifest import read_manifest
from baileys_resilience.sessions.model import RawKey
from tests.support.client_admin import client
from tests.support.client_copies import COMPANY as COPIED
from tests.support.client_copies import KEYS, write_copy
from tests.support.sources import MemorySource, assert_holds
from tests.support.synthetic import SMALL_MIX, make_company

UID = 12345
COMPANY = make_company("962301", 1, SMALL_MIX)
OTHER = make_company("962301", 2, SMALL_MIX)


@pytest.fixture
def root() -> Iterator[Path]:
    """Where the user may go (pytest's own directories are closed), with an `etc` of root's in it."""
    with tempfile.TemporaryDirectory(prefix="baileys-resilience-") as made:
        path = Path(made)
        path.chmod(0o755)
        etc = path / "etc"
        etc.mkdir(0o755)
        (etc / "shadow").write_text("root:secret\n")
        (etc / "shadow").chmod(0o600)
        before = _picture(etc)
        yield path
        assert _picture(etc) == before, "root's own directory was touched"


@pytest.fixture
def home(root: Path) -> SessionsHome:
    app = root / "app"
    app.mkdir()
    os.chown(app, UID, UID)
    return SessionsHome(app / "baileys_sessions", owner=(UID, UID))


def _picture(directory: Path) -> list[tuple[Any, ...]]:
    found = []
    for path in (directory, *sorted(directory.rglob("*"))):
        status = path.lstat()
        content = path.read_text() if path.is_file() else ""
        found.append((str(path), status.st_uid, status.st_mode, content))
    return found


def as_user(script: str, *words: object) -> None:
    command = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "sh", "-ec", script, "sh"]
    subprocess.run([*command, *map(str, words)], check=True, timeout=20, cwd="/")


def test_a_copy_of_the_client_behind_a_link_of_its_user_is_not_read(root: Path) -> None:
    elsewhere, client = root / "exports-of-root", root / "client"
    said = write_copy(elsewhere)
    (elsewhere / "company_962301.copy").chmod(0o600)
    client.mkdir()
    os.chown(client, UID, UID)
    source = ClientMemory(str(client), {}, {COPIED: exported_of(COPIED, said)})
    for script in (
        'ln -s "$2" "$1/exports"',
        'rm "$1/exports"; mkdir "$1/exports"; ln -s "$2/company_962301.copy" "$1/exports/company_962301.copy"',
        'rm "$1/exports/company_962301.copy"; mkfifo "$1/exports/company_962301.copy"',
    ):
        as_user(script, client, elsewhere)
        with pytest.raises(ForeignFiles):
            source.creds(COPIED)
    assert ClientFiles(client).companies() == []
    as_user('ln -s "$2" "$1/962301.cache"', client, root / "etc" / "shadow")
    with pytest.raises(ForeignFiles):
        ClientFiles(client).creds(COPIED)


def test_a_copy_is_read_once_and_what_is_put_there_behind_that_does_not_count(root: Path) -> None:
    client = root / "client"
    client.mkdir()
    said = write_copy(client / "exports")
    subprocess.run(["chown", "-R", f"{UID}:{UID}", str(client)], check=True)
    source = ClientMemory(str(client), {}, {COPIED: exported_of(COPIED, said)})
    before = source.creds(COPIED)
    as_user('echo "{}" > "$1/exports/company_962301.copy"', client)
    found: list[RawKey] = []
    source.stream_keys(COPIED, found.append)
    assert (source.creds(COPIED), len(found)) == (before, len(KEYS))


def test_discarding_a_copy_follows_no_link(root: Path) -> None:
    elsewhere, client = root / "exports-of-root", root / "client"
    write_copy(elsewhere)
    client.mkdir()
    os.chown(client, UID, UID)
    as_user('ln -s "$2" "$1/exports"', client, elsewhere)
    discard_copies(str(client), [COPIED])
    assert (elsewhere / "company_962301.copy").exists()


def test_a_manifest_that_is_a_link_or_a_pipe_is_refused(home: SessionsHome, root: Path) -> None:
    export(home)
    manifest = home.manifest("962301")
    for script in ('rm "$1"; ln -s "$2" "$1"', 'rm "$1"; mkfifo "$1"'):
        as_user(script, manifest, root / "etc" / "shadow")
        with pytest.raises(ForeignFiles):
            read_manifest(manifest)


def export(home: SessionsHome, company: Any = COMPANY) -> None:
    assert export_companies(MemorySource([company]), home, [company.id]).failed == {}


def test_what_we_keep_is_ours_and_closed_and_what_the_application_needs_is_its_own(home: SessionsHome) -> None:
    export(home)
    export(home, OTHER)
    place = home.directory("962301")
    (kept,) = (home.private / "previous").iterdir()
    for theirs in (home.path, place, kept, *place.iterdir(), *kept.iterdir()):
        assert (theirs.stat().st_uid, theirs.stat().st_gid) == (UID, UID)
    for ours in (home.private, *(home.private / name for name in ("staging", "previous", "runs", "lock"))):
        assert ours.stat().st_uid == 0
        assert ours.stat().st_mode & 0o066 == 0, ours
    assert_holds(place, OTHER)


def test_the_user_can_read_a_runs_copies_by_their_names_for_the_load_check(home: SessionsHome) -> None:
    home.prepare()
    run = home.private / "runs" / "r1"
    home.make_run_directory(run)
    os.mkdir(run / "company_962301", 0o700)
    os.chown(run / "company_962301", UID, UID)
    as_user('ls "$1" && ! ls "$2" && ! touch "$2/x"', run / "company_962301", run)


@pytest.mark.parametrize("name", [".resilience", ".resilience/staging", ".resilience/previous", ".resilience/runs"])
def test_a_link_in_the_place_of_our_directory_is_refused(home: SessionsHome, root: Path, name: str) -> None:
    as_user('mkdir -p "$(dirname "$1")"; ln -s "$2" "$1"', home.path / name, root / "etc")
    for call in (home.prepare, lambda: export(home)):
        with pytest.raises(ForeignFiles) as caught:
            call()
        assert "is a link" in caught.value.cause
        assert "remove it, then run again" in caught.value.hint


def test_a_directory_of_another_user_in_the_place_of_ours_is_refused(home: SessionsHome) -> None:
    home.prepare()
    (home.private / "staging").rmdir()
    (home.private / "staging").mkdir()
    os.chown(home.private / "staging", UID + 1, UID + 1)
    with pytest.raises(ForeignFiles) as caught:
        home.prepare()
    assert f"belongs to user {UID + 1}" in caught.value.cause
    assert "mv" in caught.value.hint


@pytest.mark.parametrize(
    "intent",
    [
        {"place": "{etc}/ld.so.preload", "new": "{home}/.resilience/evil", "old": "/nonexistent"},
        {"place": "../../etc/ld.so.preload", "new": "../evil", "old": "x"},
        {"place": "company_1", "new": "x"},
    ],
)
def test_an_intent_that_the_user_wrote_moves_nothing(home: SessionsHome, root: Path, intent: dict[str, str]) -> None:
    told = {name: text.format(etc=root / "etc", home=home.path) for name, text in intent.items()}
    as_user('mkdir -p "$1"; echo evil >"$1/evil"; echo "$2" >"$1/swap.json"', home.private, json.dumps(told))
    with pytest.raises(ForeignFiles) as caught, home.locked():
        pass
    assert "then remove the file" in caught.value.hint


def test_a_link_in_the_place_of_the_lock_or_the_intent_opens_nothing(home: SessionsHome, root: Path) -> None:
    for name in ("lock", "swap.json"):
        as_user('mkdir -p "$1"; ln -s "$2" "$1/$3"', home.private, root / "etc" / "shadow", name)
        with pytest.raises(ForeignFiles, match="is a link"), home.locked():
            pass
        (home.private / name).unlink()
        os.chown(home.private, UID, UID)


def test_a_home_behind_the_users_link_must_be_the_users_and_behind_roots_link_may_be_anywhere(
    home: SessionsHome, root: Path
) -> None:
    as_user('ln -s "$1" "$2"', root / "etc", home.path)
    with pytest.raises(ForeignFiles) as caught:
        home.prepare()
    assert f"a link that user {UID} made leads to what belongs to user 0" in caught.value.cause
    assert "chown -h root" in caught.value.hint
    home.path.unlink()
    as_user('mkdir -p "$1/elsewhere"; ln -s "$1/elsewhere" "$2"', home.path.parent, home.path)
    export(home)
    assert_holds(home.directory("962301"), COMPANY)
    os.rename(home.path.parent / "elsewhere", root / "elsewhere")
    home.path.unlink()
    home.path.symlink_to(root / "elsewhere")
    export(home)


def test_what_is_expired_is_removed_and_nothing_that_a_link_in_it_names(home: SessionsHome, root: Path) -> None:
    home.prepare()
    old = home.private / "previous" / "company_1.1000"
    old.mkdir()
    (old / "etc").symlink_to(root / "etc")
    (home.private / "previous" / "company_2.1000").symlink_to(root / "etc")
    assert len(home.expire_previous()) == 2
    assert list((home.private / "previous").iterdir()) == []


_SWAPPER = """
import os, sys
home, etc = sys.argv[1:]
print("ready", flush=True)
number = 0
while True:
    number += 1
    for name in (".resilience", "company_962301"):
        place, aside = f"{home}/{name}", f"{home}/aside-{name}"
        try:
            os.rename(place, aside)
            os.symlink(etc, place)
            os.unlink(place)
            os.rename(aside, place)
        except OSError:
            try:
                os.unlink(place)
            except OSError:
                pass
            try:
                os.rename(aside, place)
            except OSError:
                pass
"""


def test_a_user_that_puts_links_there_all_the_time_gets_nothing_of_roots_changed(
    home: SessionsHome, root: Path
) -> None:
    """Exports may fail meanwhile, with a typed error; what they must not do is act behind the link."""
    export(home)
    command = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", sys.executable, "-c", _SWAPPER]
    swapper = subprocess.Popen([*command, home.path, root / "etc"], stdout=subprocess.PIPE, cwd="/")
    try:
        assert swapper.stdout is not None
        assert swapper.stdout.readline() == b"ready\n"
        for turn in range(40):
            company = (COMPANY, OTHER)[turn % 2]
            with contextlib.suppress(ResilienceError):
                export_companies(MemorySource([company]), home, [company.id])
    finally:
        swapper.send_signal(signal.SIGKILL)
        swapper.communicate(timeout=10)


# The application's other files


def settings(root: Path, **code: Any) -> FailoverSettings:
    return settings_from_dict(
        {
            "host": "app1",
            "companies": ["962301"],
            "database": {},
            "sessions_dir": str(root / "app" / "baileys_sessions"),
            "state_dir": str(root / "state"),
            "owner": str(UID),
            "group": str(UID),
            "application": {"dir": str(root / "app")},
            "code": code,
        }
    )


def test_an_env_file_that_is_the_users_link_to_a_file_of_roots_is_neither_read_nor_written(
    home: SessionsHome, root: Path
) -> None:
    env = EnvFile(root / "app" / ".env")
    as_user('ln -s "$1" "$2"', root / "etc" / "shadow", env.path)
    for call in (env.read, env.check_writable, lambda: env.write(b"evil")):
        with pytest.raises(ForeignFiles) as caught:
            call()
        assert "chown -h root" in caught.value.hint
    env.path.unlink()
    as_user('mkdir "$1/shared"; echo PORT=1 >"$1/shared/env"; ln -s shared/env "$1/.env"', env.path.parent)
    env.write(env.read() + b"MORE=1\n")
    assert env.path.is_symlink()
    assert (root / "app" / "shared" / "env").read_text() == "PORT=1\nMORE=1\n"
    assert (root / "app" / "shared" / "env").stat().st_uid == UID


def test_a_release_that_the_user_links_may_hold_an_env_file_of_roots(home: SessionsHome, root: Path) -> None:
    """The link leads to what is the user's own; that root keeps the passwords there is root's decision."""
    as_user('cd "$1"; mkdir -p releases/7; ln -s releases/7 current; ln -s current latest', root / "app")
    (root / "app" / "releases" / "7" / ".env").write_text("PORT=1\n")
    EnvFile(root / "app" / "latest" / ".env").write(b"PORT=2\n")
    assert (root / "app" / "releases" / "7" / ".env").read_text() == "PORT=2\n"
    as_user('ln -s "$1" "$2/stolen"', root / "etc", root / "app")
    with pytest.raises(ForeignFiles):
        EnvFile(root / "app" / "stolen" / "shadow").read()


def test_a_pipe_in_the_place_of_the_env_file_keeps_nobody_waiting(home: SessionsHome, root: Path) -> None:
    as_user('mkfifo "$1"', root / "app" / ".env")
    with pytest.raises(ForeignFiles):
        EnvFile(root / "app" / ".env").read()


def test_what_is_left_of_an_env_file_is_removed_and_not_what_a_link_names(home: SessionsHome, root: Path) -> None:
    left = root / "app" / "..env.00000000.resilience-new"
    as_user('echo PORT=1 >"$1"; ln -s "$2" "$3"', root / "app" / ".env", root / "etc" / "shadow", left)
    os.utime(left, (0, 0), follow_symlinks=False)
    removed = expire_copies(settings(root))
    assert [path.name for path in removed] == [left.name]


def test_the_code_switch_makes_no_link_behind_a_link_of_the_user(home: SessionsHome, root: Path) -> None:
    (root / "app" / ".env").write_text("PORT=1")
    (root / "app" / "conf").mkdir()
    (root / "app" / "conf" / "passwd").write_text("x")
    worktree = root / "app-files"
    worktree.mkdir()
    os.chown(worktree, UID, UID)
    as_user('ln -s "$1" "$2/conf"', root / "etc", worktree)
    switch = CodeSwitch(settings(root, source="archive", shared=["conf/passwd"]))
    with pytest.raises(ForeignFiles):
        switch.to_files(switch.origin())


@pytest.mark.parametrize("where", ["archive/s/a.js", "src/b.js", "src", "archive/s"])
def test_the_archived_code_is_copied_as_its_owner_and_links_out_of_it_are_refused(
    home: SessionsHome, root: Path, where: str
) -> None:
    worktree = root / "app-files"
    worktree.mkdir()
    os.chown(worktree, UID, UID)
    as_user('mkdir -p "$1/archive" "$1/$2"; rmdir "$1/$2"; ln -s "$3" "$1/$2"; mkdir -p "$1/archive/s/" "$1/src/"',
            worktree, where, root / "etc" / ("shadow" if where.endswith(".js") else ""))  # fmt: skip
    user = User("", UID, UID, "/")
    given = settings(root, source="archive", archive_path="archive/s", archive_target="src")
    with pytest.raises(Misconfigured) as caught:
        _overlay(worktree, given, user)
    assert "out of the prepared code" in caught.value.cause
    assert "failover_code_commit" in caught.value.hint
    (worktree / where).unlink()
    as_user(
        'mkdir -p "$1/archive/s/lib" "$1/src"; echo new >"$1/archive/s/lib/a.js"; echo old >"$1/src/b.js"', worktree
    )
    _overlay(worktree, given, user)
    assert (worktree / "src" / "lib" / "a.js").read_text() == "new\n"
    assert (worktree / "src" / "b.js").read_text() == "old\n"
    assert (worktree / "src" / "lib" / "a.js").stat().st_uid == UID


@contextlib.contextmanager
def listening(place: Path, user: int) -> Iterator[list[str]]:
    """Somebody's service, with what it was asked."""
    place.mkdir()
    place.chmod(0o755)
    os.chown(place, user, user)
    with contextlib.ExitStack() as stack:
        os.seteuid(user)  # whoever listens is whom the kernel names
        try:
            asked = stack.enter_context(client(place, {"GET /status": (200, {"sessions": []})}))
        finally:
            os.seteuid(0)
        yield asked


@pytest.mark.parametrize("other", [0, UID + 1])
def test_nothing_is_asked_of_a_service_that_a_link_of_the_user_leads_to(
    home: SessionsHome, root: Path, other: int
) -> None:
    """Root may open every socket of the machine: that of a container daemon, or of another user's client."""
    directory, service = root / "app" / "client", root / "run"
    as_user('mkdir -m 0700 "$1"', directory)
    with listening(service, other) as asked:
        as_user('ln -s "$1/admin.sock" "$2/admin.sock"', service, directory)
        with pytest.raises(Unavailable, match=f"a process of user {other} listens there"):
            ask(str(directory), "GET", "/status", seconds=2)
        as_user('mv "$2" "$2.away"; ln -s "$1" "$2"', service, directory)
        with pytest.raises(Unavailable, match="a link that user"):
            ask(str(directory), "GET", "/status", seconds=2)
        assert asked == []


def test_the_client_of_the_user_is_asked_wherever_it_listens(home: SessionsHome, root: Path) -> None:
    directory, service = root / "app" / "client", root / "run"
    as_user('mkdir -m 0700 "$1"', directory)
    with listening(service, UID):
        as_user('ln -s "$1/admin.sock" "$2/admin.sock"', service, directory)
        assert ask(str(directory), "GET", "/status", seconds=2) == {"sessions": []}
