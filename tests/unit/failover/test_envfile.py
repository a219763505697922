# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The flags in .env: their values change and nothing else, whatever else the file holds, and an undo is exact."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from baileys_resilience.errors import Misconfigured, NotWritable, StoreError, UsageError
from baileys_resilience.failover.envfile import (
    EnvFile,
    changed_content,
    read_values,
    remembered,
    restored_content,
)

FLAG, OTHER = "USE_DATABASE_AUTH_STATE", "USE_LEGACY_SUPABASE"
OFF = {FLAG: "false", OTHER: "no"}


@dataclass(frozen=True)
class Piece:
    """A part of a file: bytes around the value of a flag, or (without a name) bytes that must survive."""

    before: bytes
    name: str = ""
    quote: bytes = b""
    value: bytes = b""
    after: bytes = b""

    def content(self, value: bytes | None = None) -> bytes:
        return self.before + self.quote + (self.value if value is None else value) + self.quote + self.after


LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
TEXT = st.text(st.characters(exclude_characters="\r\n'\"`\\", exclude_categories=["Cs"]), max_size=12).map(str.encode)
SECRETS = st.sampled_from([b"}X|o<7n?0 $", b"#secret", b"a=b=c", b"", b"\xff\xfe", b"x'y", b"pa`ss"])
BLANK = st.sampled_from([b"", b" ", b"\t", b"  "])
COMMENT = st.one_of(st.just(b""), TEXT.map(lambda text: b" # " + text + b" USE_DATABASE_AUTH_STATE=true"))


@st.composite
def foreign(draw: st.DrawFn) -> Piece:
    end = draw(LINE_ENDS)
    kind = draw(st.sampled_from(["comment", "bare", "quoted", "spanning", "junk", "similar"]))
    if kind == "comment":
        return Piece(draw(BLANK) + b"#" + draw(TEXT) + f"{FLAG}=true".encode() + end)
    if kind == "bare":
        return Piece(b"POSTGRES_PASSWORD=" + draw(SECRETS) + end)
    if kind == "similar":
        return Piece(draw(st.sampled_from([b"X_", b"#", b"no "])) + f"{FLAG}=true".encode() + end)
    if kind == "junk":
        return Piece(draw(TEXT.filter(lambda text: b"=" not in text)) + end)
    quote = draw(st.sampled_from([b"'", b'"', b"`"]))
    inside = draw(TEXT)
    if kind == "spanning":
        inside += b"\n" + f"{FLAG}=true".encode() + b"\r\n" + f"export {OTHER}=x".encode() + end
        inside += draw(st.just(b"") if quote == b"'" else st.just(b"it's\n"))
    return Piece(b"PRIVATE_KEY=" + quote + inside + quote + draw(COMMENT) + end)


@st.composite
def flag(draw: st.DrawFn) -> Piece:
    head = draw(BLANK) + draw(st.sampled_from([b"", b"export ", b"export\t"]))
    name = draw(st.sampled_from([FLAG, OTHER]))
    equals = draw(st.sampled_from([b"=", b" = ", b"= ", b"\t="]))
    quote = draw(st.sampled_from([b"", b"", b"'", b'"', b"`"]))
    value = draw(st.sampled_from([b"true", b"false", b"no", b"", b"TRUE", b"1"]))
    if not quote and not value:
        equals = equals.rstrip(b" ")  # white space behind an empty value belongs to what follows
    after = draw(COMMENT) + draw(BLANK) + draw(LINE_ENDS)
    return Piece(head + name.encode() + equals, name, quote, value, after)


def whole(pieces: list[Piece], values: dict[str, str] | None = None) -> bytes:
    return b"".join(p.content(values[p.name].encode() if values and p.name else None) for p in pieces)


FILES = st.lists(st.one_of(foreign(), flag()), max_size=8)


@given(FILES)
@example([Piece(b"USE_DATABASE_AUTH_STATE=", FLAG, b'"', b"true", b" # why\n")])
@example([Piece(b"USE_DATABASE_AUTH_STATE=", FLAG, b"", b"", b"  # empty\n")])
def test_only_the_values_change_and_every_other_byte_survives(pieces: list[Piece]) -> None:
    changed = changed_content(whole(pieces), OFF)
    expected = whole(pieces, OFF)
    assert changed[: len(expected)] == expected
    added = changed[len(expected) :]
    present = {piece.name for piece in pieces if piece.name}
    assert [line.split(b"=")[0].decode() for line in added.splitlines()] == [n for n in OFF if n not in present]
    assert read_values(changed, [FLAG, OTHER]) == OFF


@given(FILES, st.booleans())
def test_an_undo_gives_back_every_byte(pieces: list[Piece], ended: bool) -> None:
    content = whole(pieces) + (b"" if ended else b"# no end")
    before = remembered(content, list(OFF))
    assert restored_content(changed_content(content, OFF), list(OFF), before) == content


@given(FILES)
def test_changing_twice_is_changing_once(pieces: list[Piece]) -> None:
    once = changed_content(whole(pieces), OFF)
    assert changed_content(once, OFF) == once


@given(st.binary(max_size=60))
def test_a_file_of_any_bytes_keeps_them_and_gains_the_flags(content: bytes) -> None:
    changed = changed_content(content, OFF)
    assert changed.startswith(content)
    assert restored_content(changed, list(OFF), remembered(content, list(OFF))) == content


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"@=true", b"@=false"),
        (b"@=true # on\r\nA=1", b"@=false # on\r\nA=1"),
        (b"@='true' # on\n", b"@='false' # on\n"),
        (b'A="one\n@=true\n"\n', b'A="one\n@=true\n"\n@=false\n'),
        (b'PW="unclosed\n@=true\n', b'PW="unclosed\n@=false\n'),
        (b'PW="a\\"b\n@=x"\n', b'PW="a\\"b\n@=x"\n@=false\n'),
        (b'PW="a\\\n@=x"\n', b'PW="a\\\n@=x"\n@=false\n'),
        (b'@="tr\nue"\nA=1\n', b'@="false"\nA=1\n'),
        (b"A=1\r\nB=2", b"A=1\r\nB=2\r\n@=false\r\n"),
        (b"", b"@=false\n"),
        (b"@=true\n@=1\n", b"@=false\n@=false\n"),
    ],
)
def test_what_people_write_is_changed_as_dotenv_reads_it(content: bytes, expected: bytes) -> None:
    name = FLAG.encode()
    assert changed_content(content.replace(b"@", name), {FLAG: "false"}) == expected.replace(b"@", name)


def test_the_last_of_two_assignments_is_the_value_and_both_are_given_back() -> None:
    content = b"USE_DATABASE_AUTH_STATE=true\nUSE_DATABASE_AUTH_STATE='no' # late\n"
    assert read_values(content, [FLAG]) == {FLAG: "no"}
    changed = changed_content(content, {FLAG: "false"})
    assert restored_content(changed, [FLAG], remembered(content, [FLAG])) == content


def test_a_line_that_somebody_removed_meanwhile_is_no_reason_to_fail_an_undo() -> None:
    before = remembered(b"USE_DATABASE_AUTH_STATE=true\nUSE_LEGACY_SUPABASE=no\n", list(OFF))
    assert restored_content(b"USE_LEGACY_SUPABASE=yes\nA=1\n", list(OFF), before) == b"USE_LEGACY_SUPABASE=no\nA=1\n"


@pytest.mark.parametrize(("value", "written"), [("a b", b"'a b'"), ("it's", b'"it\'s"'), ("#1", b"'#1'"), ("", b"")])
def test_a_value_that_needs_quotes_gets_some_and_reads_back(value: str, written: bytes) -> None:
    changed = changed_content(b"", {FLAG: value})
    assert changed == f"{FLAG}=".encode() + written + b"\n"
    assert read_values(changed, [FLAG]) == {FLAG: value}


def test_a_value_that_no_quotes_hold_is_refused_by_the_name_of_its_flag() -> None:
    with pytest.raises(UsageError) as caught:
        changed_content(b"", {FLAG: "'\"`"})
    assert caught.value.subject == FLAG
    assert "application.postgres_env" in caught.value.hint


def test_what_is_remembered_for_the_undo_holds_no_other_value_of_the_file() -> None:
    content = b"POSTGRES_PASSWORD='}X|o<7n?0'\nUSE_DATABASE_AUTH_STATE=true # pw: geheim\n"
    assert "}X|o" not in str(remembered(content, [FLAG]))
    assert "geheim" not in str(remembered(content, [FLAG]))


@pytest.fixture
def env(tmp_path: Path) -> Path:
    path = tmp_path / "app.env"
    path.write_bytes(b"USE_DATABASE_AUTH_STATE=true\n")
    return path


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_writing_keeps_mode_and_owner(env: Path, mode: int) -> None:
    env.chmod(mode)
    if os.geteuid() == 0:
        os.chown(env, 65534, 65534)
    before = env.stat()
    EnvFile(env).write(b"new")
    after = env.stat()
    assert (stat.S_IMODE(after.st_mode), after.st_uid, after.st_gid) == (mode, before.st_uid, before.st_gid)
    assert env.read_bytes() == b"new"
    assert [p.name for p in env.parent.iterdir()] == ["app.env"]


def test_a_symbolic_link_stays_one_and_its_file_is_replaced(env: Path, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    link = tmp_path / "app" / ".env"
    link.symlink_to("../app.env")
    EnvFile(link).check_writable()
    EnvFile(link).write(b"new")
    assert link.readlink() == Path("../app.env")
    assert env.read_bytes() == b"new"


@pytest.mark.parametrize("dangling", [False, True])
def test_a_missing_file_says_which_setting_names_it(tmp_path: Path, dangling: bool) -> None:
    path = tmp_path / ".env"
    if dangling:
        path.symlink_to("nowhere")
    with pytest.raises(Misconfigured) as caught:
        EnvFile(path).check_writable()
    assert caught.value.subject == str(path)
    assert "application.env_file" in caught.value.hint


def test_a_file_set_read_only_is_refused_even_for_root(env: Path) -> None:
    env.chmod(0o440)
    with pytest.raises(NotWritable) as caught:
        EnvFile(env).check_writable()
    assert (caught.value.subject, caught.value.cause) == (str(env), "is read-only")
    assert "check owner, mode and mount" in caught.value.hint


def test_a_directory_in_its_place_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    with pytest.raises(StoreError):
        EnvFile(tmp_path / ".env").read()


KILLED_WRITE = """
import os, signal, sys
from pathlib import Path
from baileys_resilience.failover.envfile import EnvFile
os.replace = lambda *_names, **_descriptors: os.kill(os.getpid(), signal.SIGKILL)
EnvFile(Path(sys.argv[1])).write(b"PASSWORD=secret")
"""


def test_what_a_killed_write_left_with_all_passwords_is_removed_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"PASSWORD=secret\n")
    mine = tmp_path / "..env.00000000.mine"
    mine.write_text("not ours")
    subprocess.run([sys.executable, "-c", KILLED_WRITE, str(path)], timeout=20, check=False)
    (left,) = EnvFile(path).leftovers()
    assert left.read_bytes() == b"PASSWORD=secret"
    assert left.stat().st_mode & 0o777 == path.stat().st_mode & 0o777
    EnvFile(path).write(b"PASSWORD=other\n")
    assert sorted(tmp_path.iterdir()) == sorted([path, mine])


def test_a_leftover_is_removed_by_its_age_and_a_write_that_may_still_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"PORT=1\n")
    left = tmp_path / "..env.0123abcd.resilience-new"
    left.write_bytes(b"PASSWORD=secret")
    assert EnvFile(tmp_path / ".env").remove_leftovers(60) == []
    os.utime(left, (0, 0))
    assert EnvFile(tmp_path / ".env").remove_leftovers(60) == [left]
    assert EnvFile(tmp_path / "none" / ".env").leftovers() == []
