# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input gets a clear sentence with its hint, and changes nothing."""

from __future__ import annotations

import datetime
import json
import os
import socket
import ssl
import threading
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.databases import Database
from tests.support.playbooks import Ansible, login, task, tree
from tests.support.synthetic import make_companies


@dataclass(frozen=True)
class Bad:
    """One bad input: what is asked for, the name of the error, and what the sentence and its hint must say."""

    module: str
    options: dict[str, Any]
    error: str
    says: str
    hint: str


def each_is_refused(ansible: Ansible, cases: list[Bad]) -> None:
    """Every case fails with its sentence, in check mode too; an apply changes as little as a check does."""
    # To modules that change nothing, check mode is nothing of its own.
    changing = ("session_export", "session_import")
    runs = [(case, check) for case in cases for check in (True, False) if case.module in changing or not check]
    played = ansible.play([task(case.module, check=check, **case.options) for case, check in runs])
    for (case, check), result in zip(runs, played.results, strict=True):
        where = f"{'check' if check else 'apply'} {case.module} {case.error}: {result.get('msg')}"
        assert result.get("failed") is True, where
        assert result.get("changed") is not True, where
        assert result["error"]["error"] == case.error, where
        sentence, _, hint = result["msg"].partition("HINT: ")
        assert case.says in sentence, where
        assert case.hint in hint, where
        assert "Traceback" not in json.dumps(result), where


def test_connections_that_cannot_be_made(ansible: Ansible, database: Database, tmp_path: Path) -> None:
    good = login(database.params)
    with tls_server(tmp_path) as (port, foreign_root):
        tls = {**good, "login_port": port, "ssl_mode": "verify-full", "ca_cert": str(foreign_root)}
        no_file = {**good, "ssl_mode": "verify-full", "ca_cert": str(tmp_path / "none.pem")}
        with_password = {**good, "connect_params": {"password": "x"}}
        cases = [
            Bad("session_info", {**good, "login_password": "wrong"}, "refused", "password", "check login_user and"),
            Bad("session_info", {**good, "login_user": "nobody_here"}, "refused", "nobody_here", "check login_user"),
            Bad("session_info", {**good, "login_db": "none"}, "misconfigured", "does not exist", "check login_db"),
            Bad("session_info", {**good, "login_host": "db.invalid"}, "unavailable", "db.invalid", "check login_host"),
            Bad("session_info", {**good, "login_port": 1}, "unavailable", "refused", "check that PostgreSQL runs"),
            Bad("session_info", tls, "refused", "certificate verify failed", "ca_cert must be the root that signed"),
            Bad("session_info", no_file, "misconfigured", "certificate file does not exist", "set ca_cert to the file"),
            Bad("session_info", {**good, "ssl_mode": "require"}, "misconfigured", "not support SSL", "set ssl_mode to"),
            Bad("session_info", with_password, "usage", "must not be in connect_params", "set login_password"),
        ]
        each_is_refused(ansible, cases)


@contextmanager
def tls_server(directory: Path) -> Iterator[tuple[int, Path]]:
    """A server that speaks PostgreSQL's TLS handshake with a certificate of its own root; and another root's file."""
    chain, key, foreign = directory / "server.pem", directory / "server.key", directory / "foreign.pem"
    _self_signed("localhost", chain, key)
    _self_signed("another root", foreign, directory / "foreign.key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _address = listener.accept()
            except OSError:
                return
            try:
                client.recv(8)
                client.sendall(b"S")
                context.wrap_socket(client, server_side=True)
            except OSError:
                client.close()  # what the client does when it does not trust us

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], foreign
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=5)


def _self_signed(name: str, certificate: Path, key_file: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def test_tables_companies_and_rows_that_cannot_be_exported(
    ansible: Ansible, database: Database, tmp_path: Path
) -> None:
    database.fill(*make_companies(5))
    spoil(database)
    before = database.everything(versions=True)
    home = tmp_path / "sessions"
    good = {**login(database.params), "dest": str(home), "companies": ["962301"], "state_dir": str(tmp_path)}

    def export(**options: Any) -> dict[str, Any]:
        return {**good, **options}

    tables = {"auth": {"table": "nope"}}, {"keys": {"table": "nope"}}, {"keys": {"value": "content"}}
    cases = [
        Bad(
            "session_export", export(session_tables=tables[0]), "schema_mismatch", '"nope"', "session_tables.auth.table"
        ),
        Bad(
            "session_export", export(session_tables=tables[1]), "schema_mismatch", '"nope"', "session_tables.keys.table"
        ),
        Bad(
            "session_export",
            export(session_tables=tables[2]),
            "schema_mismatch",
            '"content" missing in whatsapp_keys',
            "set session_tables.keys.value to the column",
        ),
        Bad("session_export", export(companies=["962302"]), "creds_invalid", "value is null", "use another source"),
        Bad("session_export", export(companies=["962303"]), "creds_invalid", "creds cannot be read", "another source"),
        Bad("session_export", export(companies=["962304"]), "name_collision", "have the same file name", "delete it"),
        Bad("session_export", export(companies=["962305"]), "key_undecodable", "session #", "restore this row"),
        Bad(
            "session_export", export(companies=["nobody"]), "creds_invalid", "no row of creds", "check the company's id"
        ),
        Bad("session_export", export(companies=["a/b"]), "usage", "cannot be a directory name", "ids with /"),
        Bad("session_export", export(companies=["../x"]), "usage", "cannot be a directory name", "ids with /"),
        Bad("session_export", export(companies=[".."]), "usage", "cannot be a directory name", "ids with /"),
        Bad("session_export", export(companies=[]), "usage", "the list is empty", "leave the option out to mean all"),
        Bad("session_export", export(directory_template="x"), "usage", "has no {company_id}", "share one directory"),
        Bad("session_export", export(owner="no-such-user"), "usage", "user does not exist", "create the user"),
    ]
    each_is_refused(ansible, cases)
    assert database.everything(versions=True) == before
    left = [path for path in home.rglob("*") if path.is_file() and path.name != "lock"]
    assert left == [], "a refused export leaves nothing behind"


def spoil(database: Database) -> None:
    database.run("UPDATE whatsapp_auth SET creds = 'null' WHERE company_id = '962302'")
    database.run("UPDATE whatsapp_auth SET creds = '\"{broken\"' WHERE company_id = '962303'")
    database.run(
        "INSERT INTO whatsapp_keys (company_id, key_type, key_id, value)"
        " VALUES ('962304', 'lid-mapping', 'a:b', '\"1\"'), ('962304', 'lid-mapping', 'a-b', '\"2\"')"
    )
    database.run("UPDATE whatsapp_keys SET value = '{}' WHERE company_id = '962305' AND key_type = 'session'")


def test_an_empty_table_is_not_exported_as_a_success(ansible: Ansible, database: Database, tmp_path: Path) -> None:
    options = {**login(database.params), "dest": str(tmp_path / "sessions")}
    each_is_refused(
        ansible,
        [
            Bad("session_export", options, "creds_invalid", "whatsapp_auth holds no company", "check login_db"),
            Bad(
                "session_import",
                {**login(database.params), "src": str(tmp_path / "none")},
                "store",
                "no company's directory",
                "check src and directory_template",
            ),
            Bad("session_verify", login(database.params), "verification_failed", "there is no company", "check src"),
            Bad(
                "session_verify",
                {**login(database.params), "against": "manifest"},
                "usage",
                "needs a directory",
                "set src",
            ),
            Bad(
                "session_verify", {"subject": "database", "against": "database"}, "usage", "with itself", "set against"
            ),
        ],
    )
    assert not (tmp_path / "sessions").exists()


def test_directories_that_must_not_be_written(ansible: Ansible, database: Database, tmp_path: Path) -> None:
    database.fill(*make_companies(1))
    foreign, linked, lived = tmp_path / "foreign", tmp_path / "linked", tmp_path / "lived"
    (foreign / "company_962301").mkdir(parents=True)
    (foreign / "company_962301" / "holiday.jpg").write_bytes(b"mine")
    linked.mkdir()
    (linked / "company_962301").symlink_to(foreign)
    (tmp_path / "file").write_text("a file")
    state = tmp_path / "state"
    state.mkdir()
    entry = {"store": "files", "epoch": 1, "since": "2026-01-31T03:00:00.000000Z", "by": "r", "place": str(lived)}
    content = {"format": "baileys-resilience/stores", "version": 1, "companies": {"962301": entry}}
    (state / "stores.json").write_text(json.dumps(content))
    before = tree(foreign)
    good = login(database.params)

    def export(dest: Path, **more: Any) -> dict[str, Any]:
        return {**good, "dest": str(dest), "state_dir": str(tmp_path / "none"), **more}

    each_is_refused(
        ansible,
        [
            Bad("session_export", export(foreign), "foreign_files", "holiday.jpg", "name another dest"),
            Bad("session_export", export(linked), "foreign_files", "not a directory", "name another dest"),
            Bad("session_export", export(tmp_path / "file"), "store", "not a directory", "move the file"),
            Bad(
                "session_export",
                export(lived, state_dir=str(state)),
                "usage",
                "lives on files here since 2026-01-31",
                "fail back first",
            ),
        ],
    )
    assert tree(foreign).items() >= before.items()
    assert (foreign / "company_962301" / "holiday.jpg").read_bytes() == b"mine"
    assert [path.name for path in (foreign / "company_962301").iterdir()] == ["holiday.jpg"]
    assert not list(lived.glob("company_*"))


def test_a_full_disk_and_a_read_only_one(ansible: Ansible, database: Database, tmp_path: Path) -> None:
    """On small file systems of our own, in a mount namespace that ends with the playbook."""
    database.fill(*make_companies(1))
    full, read_only = tmp_path / "full", tmp_path / "read-only"
    full.mkdir()
    read_only.mkdir()
    mounts = f"mount -t tmpfs -o size=48k tmpfs '{full}' && mount -t tmpfs -o ro tmpfs '{read_only}' && exec \"$@\""
    root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    ansible.wrapper = ["unshare", *root, "--mount", "sh", "-c", mounts, "sh"]
    good = login(database.params)
    look = {"name": "look", "ansible.builtin.find": {"paths": str(full), "hidden": True, "recurse": True}}
    fits_not, refused, found = ansible.play(
        [
            task("session_export", **good, dest=str(full)),
            task("session_export", **good, dest=str(read_only / "sessions")),
            look,
        ]
    ).results
    assert fits_not["error"]["error"] == "no_space", fits_not
    assert "No space left on device" in fits_not["msg"]
    assert "free space there, then run again" in fits_not["msg"]
    assert fits_not["changed"] is False
    assert [each["path"] for each in found["files"]] == [str(full / ".resilience" / "lock")]
    assert refused["error"]["error"] == "not_writable", refused
    assert "check owner, mode and mount" in refused["msg"]


def test_a_server_that_takes_no_writes_and_manifests_that_do_not_match(
    ansible: Ansible, database: Database, tmp_path: Path
) -> None:
    database.fill(*make_companies(2))
    home, renamed = tmp_path / "sessions", tmp_path / "renamed"
    good = login(database.params)
    ansible.play([task("session_export", **good, dest=str(home)), task("session_export", **good, dest=str(renamed))])
    (renamed / "company_962301").rename(renamed / "company_962309")
    manifest = home / "company_962302" / ".resilience-manifest.jsonl"
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join([*lines[:3], *lines[4:]]))
    next((home / "company_962301").glob("session-*.json")).unlink()
    database.run("DELETE FROM whatsapp_keys WHERE key_type = 'tctoken'")
    before, files = database.everything(versions=True), tree(home)
    read_only = {"connect_params": {"options": "-c default_transaction_read_only=on"}}

    def company(name: str, **more: Any) -> dict[str, Any]:
        return {**good, "src": str(home), "companies": [name], **more}

    each_is_refused(
        ansible,
        [
            Bad("session_import", company("962301", **read_only), "read_only", "takes no writes", "to the primary"),
            Bad("session_import", company("962302"), "verification_failed", "manifest was changed", "export again"),
            Bad("session_import", company("962303"), "creds_invalid", "no creds.json", "nothing is imported"),
            Bad("session_import", company("962309", src=str(renamed)), "verification_failed",
                "the manifest is of company 962301", "put it back"),
            Bad("session_import", company("962301", reference_time="yesterday"), "usage", "not a time", "2026-01-31T"),
            Bad("session_verify", company("962301"), "verification_failed", "1 missing (session #", "another source"),
            Bad("session_verify", company("962302"), "verification_failed", "manifest was changed", "another source"),
            Bad("session_verify", company("962309", src=str(renamed)), "verification_failed",
                "the manifest is of company 962301", "another source"),
        ],
    )  # fmt: skip
    assert (database.everything(versions=True), tree(home)) == (before, files)


def test_a_host_without_the_python_packages_is_told_which(ansible: Ansible, database: Database, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    venv.create(bare)
    options = login(database.params)
    variables = {"ansible_python_interpreter": str(bare / "bin" / "python")}
    [result] = ansible.play([task("session_info", **options)], variables=variables).results
    assert result["error"]["error"] == "tool_missing"
    assert "Failed to import the required Python library (psycopg2-binary)" in result["msg"]
    assert "run the role baileys.resilience.toolkit" in result["msg"]


def test_no_password_and_no_key_is_printed_even_at_the_highest_verbosity(
    ansible: Ansible, database: Database, tmp_path: Path
) -> None:
    companies = make_companies(2)
    database.fill(*companies)
    database.run("UPDATE whatsapp_keys SET value = '{}' WHERE company_id = '962302' AND key_type = 'session'")
    good = {**login(database.params), "state_dir": str(tmp_path)}
    home = str(tmp_path / "sessions")
    played = ansible.play(
        [
            task("session_export", diff=True, **good, dest=home),
            task("session_import", diff=True, **login(database.params), src=home),
            task("session_verify", **login(database.params)),
            task("session_info", **good),
            task("session_info", **{**good, "login_port": 1}),
        ],
        "-vvv",
        "--diff",
    )
    password = database.params.password
    assert len(played.output) > 10_000
    assert "962302" in played.output
    # The tail is plain hex, so it would show however the rest was quoted.
    assert password not in played.output
    assert password[-12:] not in played.output
    for company in companies:
        for (key_type, key_id), content in company.expected().items():
            if key_type == "session":
                assert key_id not in played.output
            if key_type == "pre-key":
                assert json.loads(content)["private"]["data"] not in played.output
