# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The words of ``baileys-resilience cleanup``, and what it says. Without ``--apply`` it only shows."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence

from ..errors import ResilienceError, UsageError
from ..progress import Progress
from . import archive
from .choosing import NAMES, SAFE_NAME, choose
from .explain import explain
from .keyfile import ArchiveKeys, add_key
from .members import has_begun, is_ended
from .orphans import ORPHAN_DAYS
from .plan import CAP, MAX_SHARE, CleanupSettings, Plan
from .policy import Policy, rule_for
from .restore import Restored, restore
from .room import ages_line, megabytes
from .run import Cleaned, clean_up, dry_run
from .telling import Teller, room_lines

ACTIONS = ("restore", "archives", "new-key")
#: as of a check that finds something wrong
STOPPED = 3


@dataclass
class Told:
    content: Mapping[str, Any]
    lines: Sequence[str] = field(default_factory=list)
    exit_code: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        nargs="?",
        choices=ACTIONS,
        help="put back what a run deleted, list what is archived, or make a key for archives",
    )
    parser.add_argument("run", nargs="?", metavar="RUN_ID", help="with restore: the run")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--dry-run", action="store_true", help="only show what would go (the default)")
    how.add_argument("--apply", action="store_true", help="delete it, archived first")
    how.add_argument("--explain", metavar="TYPE/ID", help="why this key stays or goes, such as pre-key/17")
    parser.add_argument("--policy", choices=NAMES, default=SAFE_NAME, help="age goes by age alone, and loses messages")
    parser.add_argument("--older-than", type=_days, metavar="DAYS", help="such as 30d (default: by type of key)")
    parser.add_argument(
        "--retention", action="append", type=_retention, metavar="TYPE=DAYS", help="days of your own (repeatable)"
    )
    parser.add_argument("--accept-data-loss", action="store_true", help="also what a session uses: it loses messages")
    parser.add_argument("--company", action="append", help="only this one (repeatable; all by default)")
    parser.add_argument("--cap", type=int, default=CAP, metavar="KEYS", help=f"at most so many a run (default: {CAP})")
    parser.add_argument(
        "--max-share", type=float, default=MAX_SHARE, metavar="SHARE", help="stop above this share (default: 0.2)"
    )
    parser.add_argument(
        "--keep", type=_days, default=archive.KEEP_DAYS, metavar="DAYS", help="keep archives so long (default: 90d)"
    )
    parser.add_argument(
        "--archive-key", metavar="FILE", help="encrypt archives with the first key in it, read them with any of them"
    )
    parser.add_argument(
        "--orphans",
        type=_days,
        default=ORPHAN_DAYS,
        metavar="DAYS",
        help="all keys of a company without creds go when none was written for so long (default: 90d; 0: never)",
    )
    parser.add_argument("--notify", action="store_true", help="with --apply: tell Sentry and Telegram what came of it")
    parser.add_argument(
        "--check-in", metavar="NAME", help="with --apply: tell Sentry Crons, under this name, that it began and ended"
    )
    parser.add_argument(
        "--daily-at",
        default="",
        metavar="HH:MM",
        help="with --check-in: when it runs each day, UTC, for Sentry to know",
    )
    parser.add_argument("--application-stopped", action="store_true", help="with restore, where init-db was never run")


def _days(text: str) -> float:
    found = re.fullmatch(r"(-?\d+(?:\.\d+)?)\s*(?:d|days?)?", text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days: write 30 or 30d")
    return float(found.group(1))


def _retention(text: str) -> Dict[str, float]:
    name, sign, days = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"{text!r} is no retention: write sender-key-memory=30")
    return {name: _days(days)}


def policy_of(options: argparse.Namespace) -> Policy:
    retention = {name: days for each in options.retention or () for name, days in each.items()}
    return choose(
        options.policy,
        older_than_days=options.older_than,
        retention=retention or None,
        accept_data_loss=options.accept_data_loss,
    )


def key_file_of(options: argparse.Namespace, configured: str) -> Optional[Path]:
    name = options.archive_key or configured
    return Path(name) if name else None


def dispatch(options: argparse.Namespace, settings: CleanupSettings, progress: Progress, teller: Teller) -> Told:
    """``settings`` are of :func:`policy_of` and the other options."""
    if (options.action == "restore") != bool(options.run):
        raise UsageError(
            "a run is named with restore, and only there",
            operation="cleanup",
            hint="baileys-resilience cleanup restore RUN_ID; baileys-resilience cleanup archives lists the runs",
        )
    if options.action == "restore":
        return _restored(
            restore(settings, options.run, application_stopped=options.application_stopped, progress=progress)
        )
    if options.action == "archives":
        return _archives(settings)
    if options.action == "new-key":
        return _new_key(settings)
    if options.explain:
        explained = explain(settings, options.explain)
        return Told({"keys": [vars(each) for each in explained]}, [each.sentence() for each in explained])
    if options.apply:
        return _cleaned(_applied(options, settings, progress, teller), teller, options.archive_key)
    return _planned(dry_run(settings), settings.policy)


def _applied(options: argparse.Namespace, settings: CleanupSettings, progress: Progress, teller: Teller) -> Cleaned:
    run = partial(teller.clean_up if options.notify else clean_up, settings, progress)
    return teller.checked_in(options.check_in, options.daily_at, run) if options.check_in else run()


def _planned(plan: Plan, policy: Policy) -> Told:
    lines = [
        f"policy {plan.policy}: {plan.may_go} of {plan.total} keys may go"
        + (f", {plan.number} of them in one run" if plan.number < plan.may_go else ""),
        *(f"  {name}: {count}: {rule_for(name, policy).reason}" for name, count in plan.by_type.items()),
    ]
    if plan.ages:
        lines.append(f"{ages_line(plan.ages)}; the session tables take {megabytes(plan.room.total_bytes)}")
    for each in plan.companies:
        if each.passed_over:
            lines.append(f"company {each.company}: nothing: {each.passed_over}")
        elif each.number:
            orphan = ": no creds, and none of them written for long" if each.is_orphan else ""
            lines.append(f"company {each.company}: {each.number} of {each.total} keys ({each.share:.1%}){orphan}")
    for each in plan.too_much:
        lines.append(
            f"a run would stop: of company {each.company} {each.number} keys would go,"
            f" {each.too_much_of(plan.max_share)}"
        )
    if plan.number and not plan.too_much:
        lines.append("nothing was deleted; --apply does it")
    return Told(plan.as_dict(), lines, STOPPED if plan.too_much else 0)


def _cleaned(done: Cleaned, teller: Teller, key_file: Optional[str]) -> Told:
    lines = [f"{done.number} keys deleted by policy {done.plan.policy}; {done.left} that may go are left"]
    for company, kinds in sorted(done.deleted.items()):
        lines.append(f"company {company}: " + ", ".join(f"{name} {number}" for name, number in sorted(kinds.items())))
    lines += [
        f"company {each.company}: nothing: {each.passed_over}" for each in done.plan.companies if each.passed_over
    ]
    lines += room_lines(done)
    if done.run:
        with_key = f" --archive-key {key_file}" if key_file else ""
        lines.append(
            f"archived in {done.archive}; take it back with: baileys-resilience cleanup restore {done.run}{with_key}"
        )
    lines += [f"the archive of {run}, which was cut off, was brought to its end" for run in done.reconciled]
    lines += [f"archive of {run} removed: it has expired" for run in done.expired]
    lines += [f"{each.service}: {each.detail}" for each in teller.deliveries]
    return Told({**done.as_dict(), "notified": [each.as_dict() for each in teller.deliveries]}, lines)


def _restored(done: Restored) -> Told:
    lines = [f"{done.number} keys of {done.run} put back"]
    kept = sum(done.kept.values())
    if kept:
        lines.append(f"{kept} were not: the table has newer rows of them")
    lines += [f"company {company}: nothing put back: {why}" for company, why in sorted(done.refused.items())]
    for later, number in sorted(done.waiting.items()):
        lines.append(
            f"{number} memories of groups were not: {later} deleted the sender keys that they tell of. Put those back"
            f" first: baileys-resilience cleanup restore {later}, and then this run again"
        )
    if done.number:
        lines.append("an application that runs reads them at its next start")
    return Told(done.as_dict(), lines, STOPPED if done.refused else 0)


def _archives(settings: CleanupSettings) -> Told:
    """A key file that is missing or wrong is told; the list needs none."""
    keys = settings.keys_for_reading()
    found = [_archived(archive.path_of(settings.archives, run), run, keys) for run in archive.runs(settings.archives)]
    names = ("run", "at", "policy", "keys", "ended", "encrypted_with")
    lines = ["\t".join("?" if each[name] is None else str(each[name]) for name in names).rstrip() for each in found]
    failed = bool(keys.problem) or any("error" in each for each in found)
    content = {"archives": found, "key_file": {"keys": keys.ids, "problem": keys.problem}}
    return Told(content, [*lines, *filter(None, [keys.problem])], STOPPED if failed else 0)


def _archived(path: Path, run: str, keys: ArchiveKeys) -> Dict[str, Any]:
    """``keys`` is null where nobody can count them without the key."""
    found: Dict[str, Any] = {"run": run, "at": "", "policy": "", "keys": 0, "ended": "", "encrypted_with": ""}
    try:
        if not has_begun(path):
            return {**found, "ended": "cut off before it deleted anything: the next run removes it"}
        kept = archive.look(path)
        found.update(at=kept.header.at, policy=kept.header.policy, encrypted_with=kept.key)
        if kept.key and keys.get(kept.key) is None:
            what = "ended" if is_ended(path) else "not brought to its end: the next run with its key does it"
            return {**found, "keys": None, "ended": f"{what}; {keys.described()}"}
        kept = archive.read(path, keys=keys)
    except ResilienceError as exc:
        return {**found, "ended": f"{exc.cause}; {exc.hint}", "error": exc.as_dict()}
    return {**found, "keys": kept.keys, "ended": kept.ended or "not brought to its end: the next run does it"}


def _new_key(settings: CleanupSettings) -> Told:
    path = settings.archive_key_file
    if path is None:
        raise UsageError(
            "no file was named",
            operation="make archive key",
            hint="baileys-resilience cleanup new-key --archive-key /etc/baileys-resilience/archive.key",
        )
    identity, older = add_key(path)
    lines = [
        f"key {identity} is in {path}: runs that are given this file encrypt their archives with it",
        "keep a copy of that file where this host's disk is not: without it, nobody can read these archives",
    ]
    if older:
        lines.append(f"older keys in it, for what they encrypted: {older}")
    return Told({"key": identity, "file": str(path), "older": older}, lines)
