# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file with the keys of archives: what is taken, what is refused, and that none of it is ever shown."""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import secrets
import subprocess
from pathlib import Path

import pytest

from baileys_resilience.cleanup.cipher import key_id
from baileys_resilience.cleanup.commands import _new_key, add_arguments, key_file_of
from baileys_resilience.cleanup.keyfile import NO_KEYS, add_key, read_keys
from baileys_resilience.cleanup.plan import CleanupSettings
from baileys_resilience.errors import Misconfigured, StoreError, UsageError
from baileys_resilience.postgres import ConnectParams
from baileys_resilience.sessions.model import TableMapping

#: the same for all workers of a run of tests, since it is in the names of some
KEY = hashlib.sha256(b"a key of the tests").digest()
BASE64, HEX = base64.b64encode(KEY).decode(), KEY.hex()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive.key"


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


def test_keys_are_base64_or_hex_and_the_first_of_them_encrypts(path: Path) -> None:
    other = secrets.token_bytes(32)
    for text in (BASE64, f"{HEX}\n", f"# of 2026\n\n  {HEX.upper()}  \r\n{other.hex()}\n", f"{BASE64}\n{HEX}"):
        write(path, text, 0o400)
        keys = read_keys(path)
        assert (keys.first, keys.ids[0], keys.get(key_id(KEY))) == (KEY, key_id(KEY), KEY)
        assert (keys.get(key_id(other)) == other) is (other.hex() in text)
        path.chmod(0o600)
    assert (read_keys(None), NO_KEYS.first, NO_KEYS.ids) == (NO_KEYS, None, [])


def test_what_openssl_makes_is_a_key(path: Path) -> None:
    made = subprocess.run(["openssl", "rand", "-base64", "32"], capture_output=True, text=True, check=True).stdout
    write(path, made)
    assert read_keys(path).first == base64.b64decode(made)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no key"),
        ("# nothing yet\n", "holds no key"),
        (base64.b64encode(KEY[:16]).decode(), "line 1 is no key"),
        (base64.b64encode(KEY * 2).decode(), "line 1 is no key"),
        (HEX[:-2], "line 1 is no key"),
        (f"{BASE64}\n{BASE64[:-2]}", "line 2 is no key"),
        (f"key={BASE64}", "line 1 is no key"),
        ("0" * 64, "line 1 is not random"),
        ("\udcff\udcfe", "line 1 is no key"),
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(path: Path, text: str, says: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    path.chmod(0o600)
    with pytest.raises(Misconfigured, match=says) as refused:
        read_keys(path)
    assert "openssl rand -base64 32" in refused.value.hint
    assert str(path) in refused.value.hint
    assert not [word for word in (BASE64[:8], HEX[:8]) if word in str(refused.value)]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666])
def test_a_file_that_others_can_get_at_is_refused(path: Path, mode: int) -> None:
    write(path, BASE64, mode)
    with pytest.raises(Misconfigured, match=f"its mode is 0{mode:o}") as refused:
        read_keys(path)
    assert "chmod 0600" in refused.value.hint


def test_a_file_of_somebody_else_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, BASE64)
    if os.geteuid() == 0:
        os.chown(path, 1, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 1)
    with pytest.raises(Misconfigured, match="belongs to user") as refused:
        read_keys(path)
    assert "chown root" in refused.value.hint


def test_what_is_no_file_is_refused(path: Path, tmp_path: Path) -> None:
    for wrong, says in ((path, "there is no such file"), (path / "below", "no such file"), (tmp_path, "is no file")):
        with pytest.raises(Misconfigured, match=says) as refused:
            read_keys(wrong)
        assert refused.value.hint
    os.mkfifo(path)
    with pytest.raises(Misconfigured, match="is no file"):
        read_keys(path)
    path.unlink()
    write(tmp_path / "elsewhere", BASE64)
    path.symlink_to(tmp_path / "elsewhere")
    for take in (read_keys, add_key):
        with pytest.raises(Misconfigured, match="is a symbolic link"):
            take(path)
    assert (tmp_path / "elsewhere").read_text() == BASE64


def test_a_new_key_comes_before_the_older_ones_and_none_of_them_is_lost(path: Path) -> None:
    first, older = add_key(path)
    assert (read_keys(path).ids, older) == ([first], 0)
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open("a") as stream:
        stream.write(f"# from the other host\n{HEX}")
    second, older = add_key(path)
    assert (read_keys(path).ids, older) == ([second, first, key_id(KEY)], 2)
    write(path, "not a key")
    with pytest.raises(Misconfigured):
        add_key(path)
    assert path.read_text() == "not a key"
    with pytest.raises(StoreError):
        add_key(path.parent / "nowhere" / "archive.key")


def test_the_command_makes_one_and_says_to_keep_a_copy(path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options = parser.parse_args(["new-key", "--archive-key", str(path)])
    assert (key_file_of(options, "/etc/other"), key_file_of(parser.parse_args([]), "")) == (path, None)
    settings = CleanupSettings(ConnectParams("h", 1, "d", "u", ""), TableMapping(), path.parent, archive_key_file=path)
    told = _new_key(settings)
    assert told.content["key"] == read_keys(path).ids[0]
    assert "keep a copy" in told.lines[1]
    assert path.read_text().strip() not in str(told)
    assert _new_key(settings).content["older"] == 1
    with pytest.raises(UsageError) as refused:
        _new_key(CleanupSettings(ConnectParams("h", 1, "d", "u", ""), TableMapping(), path.parent))
    assert "--archive-key" in refused.value.hint
