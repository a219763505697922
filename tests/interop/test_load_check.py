# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real Baileys 7 and 6 load every key of an export, and every way in which an export can be bad is seen."""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.errors import ToolMissing, VerificationFailed
from baileys_resilience.failover.load_check import LoadCheckReport, LoadedCompany, run_load_check
from baileys_resilience.sessions.codec import file_name, short_id
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.export import export_companies
from baileys_resilience.sessions.model import KeySink, RawCreds, RawKey, SourceInfo
from lab import nodejs
from tests.support.synthetic import FORMS, MIX, SMALL_MIX, Company, make_companies, make_company, stored

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "roles" / "toolkit" / "files" / "load_check.mjs"
LAB_NODE = ROOT / "lab" / "node"
DEADLINE_SECONDS = 60.0


class Made:
    """Companies made in memory, their bytes in all three encodings, as a source of an export."""

    info = SourceInfo("primary", "made for a test", "2026-01-01T00:00:00.000000Z")

    def __init__(self, companies: list[Company]) -> None:
        self._companies = {each.id: each for each in companies}

    def info_of(self, company: str) -> SourceInfo:
        return self.info

    def companies(self) -> list[str]:
        return list(self._companies)

    def creds(self, company: str) -> RawCreds:
        return RawCreds(stored(self._companies[company].creds, "index").encode(), None)

    def stream_keys(self, company: str, sink: KeySink) -> None:
        for n, ((key_type, key_id), value) in enumerate(self._companies[company].keys.items()):
            sink(RawKey(key_type, key_id, stored(value, FORMS[n % 3]).encode(), None))


@pytest.fixture(scope="module")
def node() -> str:
    return nodejs.find()[0]


@pytest.fixture(scope="module", autouse=True)
def _packages(node: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    nodejs.ensure_lab_packages(tmp_path_factory.mktemp("npm"), node)


@pytest.fixture(params=["baileys", "baileys-6"])
def module_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder that has one of the two versions under the name `baileys`, as an application has."""
    return folder_with(tmp_path / "app", request.param, "baileys")


def folder_with(folder: Path, installed: str, name: str) -> Path:
    """The link keeps its target's place, where the dependencies of the package are found."""
    link = folder / "node_modules" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(LAB_NODE / "node_modules" / installed)
    return folder


def exported(tmp_path: Path, companies: list[Company]) -> SessionsHome:
    home = SessionsHome(tmp_path / "sessions")
    report = export_companies(Made(companies), home, [each.id for each in companies])
    assert not report.failed
    return home


def check(node: str, home: SessionsHome, companies: list[str], module_dir: Path = LAB_NODE) -> LoadCheckReport:
    return run_load_check(node, SCRIPT, module_dir, home, companies, deadline_seconds=DEADLINE_SECONDS)


def only(report: LoadCheckReport) -> LoadedCompany:
    (company,) = report.companies
    return company


@pytest.fixture(scope="module")
def small() -> Company:
    return make_company(mix=SMALL_MIX)


@pytest.fixture
def home(tmp_path: Path, small: Company) -> SessionsHome:
    return exported(tmp_path, [small])


def key_file(home: SessionsHome, company: Company, key_type: str) -> tuple[Path, str]:
    key_id = next(key_id for each, key_id in company.keys if each == key_type)
    return home.directory(company.id) / file_name(key_type, key_id), key_id


def test_a_full_company_is_loaded_key_by_key_and_nothing_in_its_directory_changes(
    node: str, module_dir: Path, tmp_path: Path
) -> None:
    company = make_company(mix=MIX)
    home = exported(tmp_path, [company])
    before = state_of(home.directory(company.id))
    report = check(node, home, [company.id], module_dir)
    loaded = only(report)
    assert (loaded.problems, loaded.counts, loaded.user) == ([], company.counts(), company.creds["me"]["id"])
    assert report.baileys == json.loads((module_dir / "node_modules/baileys/package.json").read_text())["version"]
    assert state_of(home.directory(company.id)) == before
    report.require_whole()


def state_of(directory: Path) -> dict[str, tuple[int, int, int]]:
    paths = [directory, *directory.iterdir()]
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_size, path.stat().st_ino) for path in paths}


def test_twenty_companies_are_loaded_by_one_process_that_may_open_few_files(node: str, tmp_path: Path) -> None:
    home = exported(tmp_path, [make_company("962301", 0, MIX)])
    companies = [str(962301 + n) for n in range(20)]
    for each in companies[1:]:
        shutil.copytree(home.directory("962301"), home.directory(each), copy_function=os.link)
    runs = tmp_path / "runs"
    wrapper = program(tmp_path, f'echo run >> {runs}\nulimit -n 512\nexec {node} "$@"\n')
    report = check(wrapper, home, companies)
    assert report.failed == {}
    assert [sum(each.counts.values()) for each in report.companies] == [1333] * 20
    assert runs.read_text() == "run\n"


def program(folder: Path, text: str) -> str:
    """A program called node, as a shell script."""
    path = folder / "node"
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o700)
    return str(path)


def test_the_other_name_of_the_package_is_found_and_can_be_asked_for(
    node: str, tmp_path: Path, home: SessionsHome, small: Company
) -> None:
    folder = folder_with(tmp_path / "app", "baileys", "@whiskeysockets/baileys")
    report = check(node, home, [small.id], folder)
    assert (report.package, report.failed) == ("@whiskeysockets/baileys", {})
    with pytest.raises(ToolMissing):
        run_load_check(node, SCRIPT, folder, home, [small.id], deadline_seconds=20, package="baileys")


def test_one_bad_company_leaves_the_others_proven(node: str, tmp_path: Path) -> None:
    first, second = make_companies(2)
    home = exported(tmp_path, [first, second])
    path, key_id = key_file(home, second, "session")
    path.write_bytes(path.read_bytes()[:40])
    report = check(node, home, [first.id, second.id])
    assert list(report.failed) == [second.id]
    error = report.failed[second.id]
    total = len(second.keys)
    assert error.subject == second.id
    assert f"loads {total - 1} of {total} keys" in error.cause
    assert f"session {short_id(key_id)}" in error.cause
    assert "session: 6 expected, 5 loaded" in report.companies[1].problems
    assert key_id not in str(error)
    with pytest.raises(VerificationFailed, match="do not start the application"):
        report.require_whole()


def test_a_missing_file_is_named_by_type_and_hashed_id(node: str, home: SessionsHome, small: Company) -> None:
    path, key_id = key_file(home, small, "identity-key")
    path.unlink()
    problems = only(check(node, home, [small.id])).problems
    assert f"1 keys are not loaded: identity-key {short_id(key_id)}" in problems


def arrays(content: Any) -> Any:
    """The value with its bytes as JSON.stringify of a Buffer leaves them."""
    if isinstance(content, dict) and content.get("type") == "Buffer":
        return {"type": "Buffer", "data": list(base64.b64decode(content["data"]))}
    return {name: arrays(each) for name, each in content.items()} if isinstance(content, dict) else content


@pytest.mark.parametrize("key_type", ["pre-key", "identity-key", "sender-key", "app-state-sync-version", "tctoken"])
def test_bytes_left_in_the_array_encoding_are_not_taken_for_bytes_of_baileys_7(
    key_type: str, node: str, home: SessionsHome, small: Company
) -> None:
    path, key_id = key_file(home, small, key_type)
    path.write_text(json.dumps(arrays(json.loads(path.read_text()))))
    loaded = only(check(node, home, [small.id]))
    assert f"{key_type} {short_id(key_id)}: Baileys loads it as something that it cannot use" in loaded.problems
    assert loaded.counts[key_type] == small.counts()[key_type] - 1


def test_baileys_6_reads_the_array_encoding_so_the_check_follows_the_library_in_use(
    node: str, tmp_path: Path, home: SessionsHome, small: Company
) -> None:
    path, _key_id = key_file(home, small, "pre-key")
    path.write_text(json.dumps(arrays(json.loads(path.read_text()))))
    assert only(check(node, home, [small.id], folder_with(tmp_path / "app", "baileys-6", "baileys"))).problems == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "creds.json is missing"),
        (b"", "creds.json is empty or broken"),
        (b'{"me": {"id"', "creds.json is empty or broken"),
        (b'{"me": {"id": "1@s.whatsapp.net"}}', "creds noiseKey: no pair of 32-byte keys"),
    ],
)
def test_creds_from_which_baileys_would_make_a_new_identity_are_named(
    content: bytes | None, problem: str, node: str, home: SessionsHome, small: Company
) -> None:
    creds = home.directory(small.id) / "creds.json"
    creds.unlink() if content is None else creds.write_bytes(content)
    problems = only(check(node, home, [small.id])).problems
    assert any(problem in each for each in problems), problems
    assert creds.exists() == (content is not None)


def test_creds_of_a_session_that_is_not_paired_are_a_problem(node: str, home: SessionsHome, small: Company) -> None:
    creds = home.directory(small.id) / "creds.json"
    content = json.loads(creds.read_text())
    del content["me"]
    creds.write_text(json.dumps(content))
    assert "creds.json holds no paired session" in only(check(node, home, [small.id])).problems


def test_a_directory_that_is_not_there_is_a_problem_and_is_not_made(node: str, tmp_path: Path) -> None:
    home = SessionsHome(tmp_path / "sessions")
    assert only(check(node, home, ["962301"])).problems == ["there is no manifest"]
    assert not home.path.exists()


def test_a_manifest_that_was_cut_off_proves_nothing(node: str, home: SessionsHome, small: Company) -> None:
    manifest = home.manifest(small.id)
    manifest.write_bytes(b"".join(manifest.read_bytes().splitlines(keepends=True)[:-1]))
    assert only(check(node, home, [small.id])).problems == ["the manifest was cut off"]


def test_without_baileys_the_error_says_where_it_is_looked_for(
    node: str, tmp_path: Path, home: SessionsHome, small: Company
) -> None:
    with pytest.raises(ToolMissing) as caught:
        check(node, home, [small.id], tmp_path)
    assert caught.value.subject == str(tmp_path)
    assert "load_check.module_dir" in caught.value.hint


def test_a_baileys_that_cannot_be_imported_is_told_from_one_that_is_absent(
    node: str, tmp_path: Path, home: SessionsHome, small: Company
) -> None:
    package = tmp_path / "node_modules" / "baileys"
    # A copy has no dependencies around it: what an interrupted `npm ci` leaves.
    shutil.copytree(LAB_NODE / "node_modules" / "baileys", package, ignore=shutil.ignore_patterns("node_modules"))
    with pytest.raises(ToolMissing) as caught:
        check(node, home, [small.id], tmp_path)
    assert "cannot be imported" in caught.value.cause
    assert "npm ci" in caught.value.hint


@pytest.mark.parametrize("name", ["no-such-node", "/nowhere/bin/node"])
def test_without_node_the_error_names_the_setting(name: str, home: SessionsHome, small: Company) -> None:
    with pytest.raises(ToolMissing) as caught:
        check(name, home, [small.id])
    assert (caught.value.subject, "load_check.node" in caught.value.hint) == (name, True)


def test_without_the_script_the_error_names_the_role(node: str, tmp_path: Path, home: SessionsHome) -> None:
    with pytest.raises(ToolMissing, match=r"baileys\.resilience\.toolkit"):
        run_load_check(node, tmp_path / "x.mjs", LAB_NODE, home, ["962301"], deadline_seconds=5)


def test_a_program_that_is_no_node_is_reported_with_what_it_wrote(home: SessionsHome, tmp_path: Path) -> None:
    broken = program(tmp_path, "echo cannot open shared object file >&2\nexit 127\n")
    with pytest.raises(VerificationFailed, match="ended with 127 and no answer: cannot open shared object file"):
        check(broken, home, ["962301"])


def test_a_disk_that_hangs_ends_at_the_deadline_and_leaves_no_process(
    node: str, home: SessionsHome, small: Company, tmp_path: Path
) -> None:
    path, _key_id = key_file(home, small, "pre-key")
    path.unlink()
    os.mkfifo(path)  # opening it waits for a writer that never comes
    pid_file = tmp_path / "pid"
    # A wrapper that stays, as version managers have them: the deadline must end its child too.
    wrapper = program(tmp_path, f'exec 3<&0\n{node} "$@" <&3 &\necho $! > {pid_file}\nwait\n')
    started = time.monotonic()
    with pytest.raises(VerificationFailed) as caught:
        run_load_check(wrapper, SCRIPT, LAB_NODE, home, [small.id], deadline_seconds=1.5)
    assert time.monotonic() - started < 4
    assert (caught.value.retryable, "no answer within 1.5 s" in caught.value.cause) == (True, True)
    limit = time.monotonic() + 5
    while is_running(int(pid_file.read_text())):
        assert time.monotonic() < limit, "node outlived the deadline"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """A killed child whose parent died waits as a zombie for init; that is not running."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_secrets_of_our_environment_do_not_reach_the_code_of_the_application(
    node: str, home: SessionsHome, small: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "environment"
    wrapper = program(tmp_path, f'env > {seen}\nexec {node} "$@"\n')
    monkeypatch.setenv("PGPASSWORD", "}X|o<7n?0")
    assert check(wrapper, home, [small.id]).failed == {}
    assert "PGPASSWORD" not in seen.read_text()
