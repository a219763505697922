# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What a failover's preflight makes of what it sees on the host: whose the files must be, whether the record of where
the sessions live can be true, and which companies' places can be replaced.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from ..errors import ForeignFiles, Misconfigured, StepFailed, VerificationFailed
from ..sessions.manifest import MANIFEST_FILE, read_entries
from ..sessions.record import FILES
from ..sessions.verify import verify_directory
from .context import FailoverContext
from .envfile import EnvFile, read_values
from .health import OPEN
from .processes import owner_of


def unusable_places(context: FailoverContext) -> Dict[str, str]:
    """Companies whose place holds what is not ours, with the reason: they stay behind and the others go on. Raises
    ForeignFiles when none is left.
    """
    errors: Dict[str, ForeignFiles] = {}
    moving = context.moving()
    for company in moving:
        try:
            context.home.check_replaceable(company)
        except ForeignFiles as exc:
            errors[company] = exc
    if errors and len(errors) == len(moving):
        raise next(iter(errors.values()))
    return {company: f"company {company}: {error}" for company, error in errors.items()}


def refuse_contradictions(context: FailoverContext, found: Mapping[str, Any]) -> None:
    """Raise StepFailed when the sessions live on files although the record says PostgreSQL: it was lost or is wrong,
    and a failover would overwrite the live files with old rows.
    """
    known = context.record.all()
    for company in context.moving():
        evidence = _lives_on_files(context, found, company)
        if not evidence and company not in known:
            evidence = _written_since(context.home.directory(company))
        if evidence:
            raise StepFailed(
                f"the record says that it lives in PostgreSQL, but {evidence}",
                operation="check store of record",
                subject=f"company {company}",
                hint="find out where it lives: the newer creds tell. On files: baileys-resilience store set --to files"
                f" --company {company}. In PostgreSQL: move {context.home.directory(company)} away and set the flags"
                " in .env back, then run again",
            )


def _lives_on_files(context: FailoverContext, found: Mapping[str, Any], company: str) -> str:
    """What the application and its .env say. One that runs on files for other companies says so of all, also of a
    company that was left behind: of that one only a connection counts.
    """
    health = found["health"].get(company, {})
    others = bool(context.on_files())
    if health.get("store") == FILES and (health.get("connection") == OPEN or not others):
        return "the application says that it runs from files"
    flags, before = dict(context.flags(FILES)), dict(context.flags(context.origin_store))
    content = EnvFile(context.settings.application.env_path).read()
    if not others and flags and flags != before and read_values(content, list(flags)) == flags:
        return "the flags in .env are those for files"
    return ""


def _written_since(place: Path) -> str:
    """Whether somebody wrote to an exported directory after the export, as Baileys does."""
    if not place.is_dir():
        return ""
    try:
        manifest, entries = read_entries(place / MANIFEST_FILE)
    except VerificationFailed:
        return ""  # none of ours: from before these sessions lived in PostgreSQL
    try:
        verify_directory(place)
        changed = {name for name in os.listdir(place) if name.endswith(".json")} != {entry.file for entry in entries}
    except VerificationFailed:
        changed = True
    since = manifest.header.exported_at
    return f"its files were written after they were exported ({since})" if changed else ""


def use_owner_of_service(context: FailoverContext, found: Mapping[str, Any]) -> None:
    """What root writes is closed to everybody else (0600): it must belong to the user that the application runs as.
    Where no owner is named and the home is still to be made, that user becomes its owner.
    """
    service = _service_owner(context, found)
    if os.geteuid() != 0 or service is None or service[0] == 0:
        return
    owner = context.home.owner
    if owner and owner[0] == service[0]:
        return
    if owner is None and not os.path.lexists(context.home.path):
        context.home = replace(context.home, owner=service)
        return
    wrong = _name(owner[0]) if owner and owner[0] >= 0 else "root"
    raise Misconfigured(
        f"the application runs as {_name(service[0])} and could not read them: they would belong to {wrong}",
        operation="check owner of the files",
        subject=context.settings.sessions_dir,
        hint=f"set application.user (baileys_resilience_app_user) or owner (failover_owner) to {_name(service[0])}",
    )


def _service_owner(context: FailoverContext, found: Mapping[str, Any]) -> Optional[Tuple[int, int]]:
    for pid in found["service"]["pids"]:
        owner = owner_of(int(pid))
        if owner:
            return owner
    # Commands of the operator's own tell no pid. The application may, but one in a container counts by itself: so only
    # of a process that works in the application's directory.
    pid = found.get("health_pid") or 0
    try:
        works_in = os.readlink(f"/proc/{pid}/cwd") if pid else ""
    except OSError:
        return None
    directory = os.path.realpath(context.settings.application.directory)
    return owner_of(pid) if works_in and f"{works_in}/".startswith(f"{directory}/") else None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
