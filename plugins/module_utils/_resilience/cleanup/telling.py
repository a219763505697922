# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""A run of a cleanup as news for Sentry and Telegram: what went, or why nothing did."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Sequence

from ..errors import ResilienceError
from ..notify.model import Delivery, Notification, notify_all
from ..notify.services import notifiers_for
from ..notify.settings import NotifySettings
from ..progress import Progress
from .plan import CleanupSettings
from .room import ages_line, megabytes
from .run import Cleaned, clean_up

_OPERATION = "cleanup"


class Teller:
    """Cleans up and tells of it, whatever comes of it."""

    def __init__(self, notify: NotifySettings, state_dir: Path, host: str, companies: Sequence[str]) -> None:
        self._notify = notify
        self._state_dir = state_dir
        self._host = host
        self._companies = tuple(companies)
        self.deliveries: List[Delivery] = []

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        """What is raised inside is told at once, and goes on: also of a policy or a company that a daily run names and
        that is refused, since nobody sees its exit code.
        """
        try:
            yield
        except Exception as exc:
            known = isinstance(exc, ResilienceError)
            text = str(exc) if known else f"{type(exc).__name__}, which it does not expect: its log has the rest"
            what = exc.code if isinstance(exc, ResilienceError) else type(exc).__name__
            self._tell("the cleanup of keys did not do its work", text, "error", what)
            raise

    def clean_up(self, settings: CleanupSettings, progress: Progress) -> Cleaned:
        """Tells what went. Raises what the cleanup raises, for :meth:`failures`."""
        done = clean_up(settings, progress)
        passed_over = [
            f"company {each.company}: {each.passed_over}" for each in done.plan.companies if each.passed_over
        ]
        kinds = [f"{name}: {count}" for name, count in _by_type(done).items()]
        text = "\n".join([f"{done.left} that may go are left", *kinds, *passed_over, *room_lines(done)])
        self._tell(f"{done.number} of {done.plan.total} keys cleaned up", text, "info", done.run or done.plan.at)
        return done

    def checked_in(self, slug: str, daily_at: str, run: Callable[[], Cleaned]) -> Cleaned:
        """``run`` as a job of Sentry Crons. Raises UsageError, before anything is done, for a name or a time that is
        none, and what ``run`` raises.
        """
        # Imported only where it is asked for, as the notifiers are.
        from ..notify.check_in import CheckIn

        check_in = CheckIn(self._notify, slug, daily_at)
        try:
            return check_in.around(run)
        finally:
            self.deliveries += check_in.deliveries

    def _tell(self, title: str, text: str, level: str, what: str) -> None:
        note = Notification(
            f"{title} on {self._host}",
            text,
            level,
            {"host": self._host, "operation": _OPERATION},
            f"cleanup-{self._host}-{what}",
            self._companies,
        )
        self.deliveries += notify_all(notifiers_for(self._notify, self._state_dir), note)


def room_lines(done: Cleaned) -> List[str]:
    """How old the keys were before, what the tables take, and what to run for the room of what went."""
    before = done.plan.room.total_bytes
    lines = [f"before, {ages_line(done.plan.ages)}"] if done.plan.ages else []
    lines.append(
        f"the session tables take {megabytes(before)}" if done.room is None else
        f"the session tables take {megabytes(done.room.total_bytes)}, before {megabytes(before)}"
    )  # fmt: skip
    return lines + ([done.advice] if done.advice else [])


def _by_type(done: Cleaned) -> Dict[str, int]:
    found: Dict[str, int] = {}
    for kinds in done.deleted.values():
        for name, count in kinds.items():
            found[name] = found.get(name, 0) + count
    return found
