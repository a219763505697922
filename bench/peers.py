# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The other side of each comparison: the real library and a plain script in Node.js, bare writes, bare COPY."""

from __future__ import annotations

import ctypes
import io
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from psycopg2.extensions import connection as Connection

from baileys_resilience.sessions.directory_source import DirectorySource
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.manifest import CREDS_TYPE, read_manifest
from lab import Lab, nodejs
from tests.support.databases import Database

ROOT = Path(__file__).resolve().parent.parent
Content = list[tuple[str, list[tuple[str, bytes]]]]


class Process:
    """A script in Node.js that answers each line of JSON with one."""

    def __init__(self, lab: Lab, database: Database, script: Path, *arguments: str | Path) -> None:
        node, _npm = nodejs.find()
        nodejs.ensure_lab_packages(lab.path, node)
        params = database.params
        login = {
            "PGHOST": params.host,
            "PGPORT": str(params.port),
            "PGDATABASE": params.dbname,
            "PGUSER": params.user,
            "PGPASSWORD": params.password,
        }
        self._process = subprocess.Popen(
            [node, script, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **login},
        )  # fmt: skip

    def answer(self, run: str, **command: Any) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"run": run, **command}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer

    def ask(self, run: str, **command: Any) -> float:
        return float(self.answer(run, **command)["seconds"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.kill()
        self._process.communicate()


class Node(Process):
    """peer.mjs, warm."""

    def __init__(self, lab: Lab, database: Database) -> None:
        super().__init__(lab, database, ROOT / "bench" / "peer.mjs", ROOT / "lab" / "node" / "node_modules")

    def prepare(self, home: SessionsHome, company: str) -> None:
        entries = read_manifest(home.manifest(company)).entries()
        names = [(entry.type, entry.id) for entry in entries if entry.type != CREDS_TYPE]
        self.ask("prepare", dir=str(home.directory(company)), names=names)


def content_of(home: SessionsHome) -> Content:
    """Every file of every company with its bytes, in memory."""
    found = []
    for company in home.companies():
        directory = home.directory(company)
        found.append((directory.name, [(path.name, path.read_bytes()) for path in directory.iterdir()]))
    return found


def write_and_sync(content: Content, place: Path) -> None:
    """The same files and nothing else: no database, no decoding, no manifest, no reading back; one sync at the end."""
    os.mkdir(place)
    for name, files in content:
        os.mkdir(place / name, 0o700)
        directory = os.open(place / name, os.O_RDONLY)
        for file_name, data in files:
            descriptor = os.open(file_name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
            os.write(descriptor, data)
            os.close(descriptor)
        os.close(directory)
    descriptor = os.open(place, os.O_RDONLY)
    ctypes.CDLL(None).syncfs(descriptor)
    os.close(descriptor)


def copy_text(home: SessionsHome, companies: Sequence[str]) -> str:
    """The rows of the files as COPY takes them, in memory."""
    source = DirectorySource(home)
    lines = []
    for company in companies:
        for key in source.canonical_keys(company):
            fields = (company, key.type, key.id, key.content.decode())
            lines.append("\t".join(field.replace("\\", "\\\\") for field in fields) + "\n")
    return "".join(lines)


def bare_copy(connection: Connection, table: str, text: str) -> None:
    """Rows that lie ready in memory into a table with the same columns and indexes; one transaction."""
    with connection.cursor() as cursor:
        cursor.copy_expert(f"COPY {table} (company_id, key_type, key_id, value) FROM STDIN", io.StringIO(text))
    connection.commit()


def copy_files(connection: Connection, table: str, home: SessionsHome, companies: Sequence[str]) -> None:
    """The same rows from the same files, by the shortest script that does it: every file that there is, unchecked."""
    with connection.cursor() as cursor:
        for company in companies:
            lines = []
            for path in home.directory(company).glob("*.json"):
                key_type, _, key_id = path.stem.rpartition("-")
                fields = (company, key_type, key_id, path.read_text())
                lines.append("\t".join(field.replace("\\", "\\\\") for field in fields) + "\n")
            columns = "company_id, key_type, key_id, value"
            cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN", io.StringIO("".join(lines)))
    connection.commit()
