# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Proof by the real library: what Baileys itself loads from directories that were exported.

Node runs ``load_check.mjs`` (roles/toolkit/files), which imports the application's own Baileys and asks it for every
key of the manifests. Hashes tell that files are what was meant; only this tells that Baileys can use them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from ..errors import Misconfigured, ResilienceError, ToolMissing, VerificationFailed
from ..files import PathLike
from ..sessions.directory_store import SessionsHome
from ..sessions.manifest import read_manifest
from .processes import User

#: companies of one Node process: Baileys keeps a lock a file (300 bytes each) for as long as the process lives
COMPANIES_PER_PROCESS = 100
_SHOWN = 3
_REQUEST_REFUSED = 3

_HINTS = {
    "baileys_missing": "set load_check.module_dir to the folder whose node_modules holds baileys, or run npm ci there",
    "baileys_broken": "run npm ci in load_check.module_dir, and check that this Node.js is new enough for that Baileys",
    "node_too_old": "set load_check.node to the Node.js that runs the application (18 or newer)",
}


@dataclass(frozen=True)
class LoadedCompany:
    """What Baileys made of one company. ``expected`` and ``counts`` are keys by type: in the manifest, loaded whole.

    ``problems`` is everything that is wrong, fit to leave the host (ids are hashed); empty means proven. ``user`` is
    the paired user as Baileys sees it.
    """

    company: str
    user: Optional[str]
    expected: Dict[str, int]
    counts: Dict[str, int]
    problems: List[str]
    milliseconds: int = 0

    @property
    def error(self) -> Optional[VerificationFailed]:
        if not self.problems:
            return None
        return VerificationFailed(
            f"Baileys loads {sum(self.counts.values())} of {sum(self.expected.values())} keys: {_some(self.problems)}",
            operation="load check of company",
            subject=self.company,
            hint="do not start the application on these files: export again, from another source if it repeats",
        )


@dataclass
class LoadCheckReport:
    """``baileys`` is the version that was asked, ``package`` the name it is installed under."""

    baileys: str = ""
    package: str = ""
    companies: List[LoadedCompany] = field(default_factory=list)
    duration_seconds: float = 0.0

    @property
    def failed(self) -> Dict[str, VerificationFailed]:
        return {each.company: each.error for each in self.companies if each.error}

    def require_whole(self) -> None:
        """Raise VerificationFailed for the first company that is not whole."""
        for error in self.failed.values():
            raise error


def run_load_check(
    node: str,
    script: PathLike,
    module_dir: PathLike,
    home: SessionsHome,
    companies: Sequence[str],
    *,
    deadline_seconds: float,
    user: Optional[User] = None,
    package: Optional[str] = None,
) -> LoadCheckReport:
    """Let the Baileys that ``module_dir`` would import load each company of ``home``.

    ``user``: run Node as this user, not as root (it runs the application's code). ``package``: which of the two names
    of Baileys; None takes what is there. A company that is not whole is told in the report. Raises ToolMissing when
    Node or Baileys cannot be used, and VerificationFailed when there is no answer within ``deadline_seconds``.
    """
    started = time.monotonic()
    report = LoadCheckReport()
    argv = find_tools(node, script)
    for first in range(0, len(companies), COMPANIES_PER_PROCESS):
        part = companies[first : first + COMPANIES_PER_PROCESS]
        left = deadline_seconds - (time.monotonic() - started)
        answer = _ask(argv, _request(module_dir, home, part, package), max(left, 0.0), user, deadline_seconds)
        report.baileys, report.package = answer["baileys"], answer["package"]
        answers = {each["company"]: each for each in answer["companies"]}
        report.companies.extend(_judge(home, company, answers.get(company)) for company in part)
    report.duration_seconds = time.monotonic() - started
    return report


def find_tools(node: str, script: PathLike) -> List[str]:
    """The words that start the check. Raises ToolMissing when Node or the script is not there."""
    return [_find_node(node), _find_script(script)]


def ask_baileys(
    node: str, script: PathLike, module_dir: PathLike, *, deadline_seconds: float, user: Optional[User] = None
) -> str:
    """The version of the Baileys that ``module_dir`` would import, as a check of no company tells it: Node and Baileys
    are really started. Raises what :func:`run_load_check` would.
    """
    request: Dict[str, Any] = {"module_dir": os.path.abspath(module_dir), "package": None, "directories": []}
    answer = _ask(find_tools(node, script), request, deadline_seconds, user, deadline_seconds)
    return str(answer["baileys"])


def _find_node(node: str) -> str:
    found = shutil.which(node)
    if found is None:
        raise ToolMissing(
            "Node.js is not found",
            operation="load check",
            subject=node,
            hint="set load_check.node to the full path of the node that runs the application",
        )
    return os.path.abspath(found)


def _find_script(script: PathLike) -> str:
    if not Path(script).is_file():
        raise ToolMissing(
            "the script of the check is not found",
            operation="load check",
            subject=os.fspath(script),
            hint="run the role baileys.resilience.toolkit on this host, or correct load_check.script",
        )
    return os.path.abspath(script)


def _request(
    module_dir: PathLike, home: SessionsHome, companies: Sequence[str], package: Optional[str]
) -> Dict[str, Any]:
    directories = [
        {
            "company": company,
            "path": os.path.abspath(home.directory(company)),
            "manifest": os.path.abspath(home.manifest(company)),
        }
        for company in companies
    ]
    return {"module_dir": os.path.abspath(module_dir), "package": package, "directories": directories}


def _ask(
    argv: List[str], request: Dict[str, Any], seconds: float, user: Optional[User], deadline_seconds: float
) -> Dict[str, Any]:
    process = _start(argv, user)
    try:
        said, complained = process.communicate(json.dumps(request).encode(), timeout=seconds)
    except subprocess.TimeoutExpired as exc:
        raise VerificationFailed(
            f"no answer within {deadline_seconds:g} s",
            operation="load check",
            subject=request["module_dir"],
            hint="raise load_check.deadline_seconds, or look whether the disk of the sessions' home answers",
            retryable=True,
        ) from exc
    finally:
        _end(process)
    return _read_answer(process.returncode, said, complained, request["module_dir"])


def _start(argv: List[str], user: Optional[User]) -> subprocess.Popen[bytes]:
    # Only what Node needs: our environment may hold the password of the database.
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "HOME": user.home if user else "/"}
    identity: Dict[str, Any] = {}
    if user is not None:
        identity = {"user": user.uid, "group": user.gid, "extra_groups": os.getgrouplist(user.name, user.gid)}
    pipe = subprocess.PIPE
    try:
        # A session of its own, so that the deadline also ends what a wrapper named "node" may have started.
        return subprocess.Popen(
            argv, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd="/", start_new_session=True, **identity
        )
    except OSError as exc:
        raise ToolMissing(
            f"cannot be started: {exc.strerror or exc}",
            operation="load check",
            subject=argv[0],
            hint="set load_check.node to the full path of an executable node",
        ) from exc


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _read_answer(code: int, said: bytes, complained: bytes, module_dir: str) -> Dict[str, Any]:
    try:
        answer: Dict[str, Any] = json.loads(said)
    except ValueError as exc:
        last = complained.decode("utf-8", "replace").strip()[-300:]
        raise VerificationFailed(
            f"node ended with {code} and no answer: {last}",
            operation="load check",
            subject=module_dir,
            hint="run the script by hand with this node to see why",
        ) from exc
    if code == _REQUEST_REFUSED or "error" in answer:
        raise _refused(answer, module_dir)
    return answer


def _refused(answer: Dict[str, Any], module_dir: str) -> ResilienceError:
    kind = ToolMissing if answer["error"] in _HINTS else Misconfigured
    return kind(
        str(answer.get("detail")),
        operation="load check",
        subject=module_dir,
        hint=_HINTS.get(answer["error"], "toolkit and library are of different versions: run the role toolkit again"),
    )


def _judge(home: SessionsHome, company: str, answer: Optional[Dict[str, Any]]) -> LoadedCompany:
    """Hold what Node says against the manifest as we read it: Node's own reading of it is not its own proof."""
    try:
        expected = dict(read_manifest(home.manifest(company)).totals.counts)
    except ResilienceError as exc:
        return LoadedCompany(company, None, {}, {}, [exc.cause])
    if answer is None:
        return LoadedCompany(company, None, expected, {}, ["node did not answer for it"])
    counts = {key_type: number for key_type, number in answer["counts"].items() if number}
    problems = list(answer["problems"])
    if answer["missing"]:
        problems.append(f"{len(answer['missing'])} keys are not loaded: {_some(_names(answer['missing']))}")
    if counts != expected and not problems:
        problems.append("the numbers of keys by type differ")
    if problems:
        problems.extend(_short_counts(expected, counts))
    return LoadedCompany(company, answer["user"], expected, counts, problems, answer["milliseconds"])


def _names(missing: Sequence[Dict[str, str]]) -> List[str]:
    return [f"{each['type']} {each['id_hash']}" for each in missing]


def _short_counts(expected: Dict[str, int], counts: Dict[str, int]) -> List[str]:
    return [
        f"{key_type}: {number} expected, {counts.get(key_type, 0)} loaded"
        for key_type, number in expected.items()
        if counts.get(key_type, 0) != number
    ]


def _some(texts: Sequence[str]) -> str:
    more = f", and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more
