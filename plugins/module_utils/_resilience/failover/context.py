# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What the steps of one run share: the settings, and the results of earlier steps as the journal holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ..errors import StepFailed
from ..progress import Progress, Silent
from ..sessions.directory_store import SessionsHome
from ..sessions.imported import Imported
from ..sessions.record import FILES, POSTGRES, StoreRecord
from ..steps.journal import Journal, RunState
from .code import CodeSwitch, Prepared, read_prepared
from .health import ApplicationHealth, HealthProbe
from .services import Service, make_service
from .settings import FailoverSettings


class FailoverContext:
    """Steps live in different processes (one Ansible task each); whatever one needs of another goes through the
    journal.
    """

    def __init__(
        self, settings: FailoverSettings, run_id: str, target: str, *, progress: Optional[Progress] = None
    ) -> None:
        self.settings = settings
        self.run_id = run_id
        #: the store the run moves to: ``files`` or ``postgres``
        self.target = target
        self.progress = progress or Silent()
        self.home: SessionsHome = settings.home()
        self.record = StoreRecord(settings.state)
        self.code = CodeSwitch(settings)
        self._service: Optional[Service] = None

    @property
    def origin_store(self) -> str:
        return POSTGRES if self.target == FILES else FILES

    @property
    def run_directory(self) -> Path:
        return self.settings.state / "runs" / self.run_id

    @property
    def service(self) -> Service:
        if self._service is None:
            self._service = make_service(self.settings.application)
        return self._service

    @property
    def switches_code(self) -> bool:
        return self.settings.code.source != "none"

    @property
    def live(self) -> bool:
        """Whether this run moves the sessions while they run (:mod:`live`)."""
        return self.result_or_empty("preflight").get("mode") == "live"

    @property
    def may_restart_instead(self) -> bool:
        """Whether this run may still go over to stopping and starting the application."""
        return self.live and self.settings.policy.mode == "auto" and not self.state().no_return

    def state(self) -> RunState:
        return RunState(Journal(self.run_directory / "journal.jsonl").events())

    @property
    def imported(self) -> Imported:
        return Imported(self.settings.state / "imported")

    def result(self, step: str) -> Mapping[str, Any]:
        """The result of a step that is done. Raises StepFailed when it is not: the steps were run out of order."""
        results = self.state().results
        if step not in results:
            raise StepFailed("has not been run", operation="read result", subject=step, hint="run the steps in order")
        return results[step]

    def result_or_empty(self, step: str) -> Mapping[str, Any]:
        return self.state().results.get(step, {})

    def flags(self, store: str) -> Mapping[str, str]:
        application = self.settings.application
        return application.files_env if store == FILES else application.postgres_env

    def store_in_use(self) -> str:
        """The store that the application is started on: files as soon as one of its sessions lives there, because
        rows that were left behind must never be read again.
        """
        return FILES if self.on_files() else POSTGRES

    def on_files(self) -> List[str]:
        """Every company of this application that the record has on files, on the list of this run or not."""
        entries = self.record.all()
        return [
            company
            for company, entry in entries.items()
            if entry.store == FILES and entry.place in ("", str(self.home.directory(company)))
        ]

    def probe(self, store: str, *, log_file: str = "", log_offset: int = 0) -> HealthProbe:
        application = self.settings.application
        return HealthProbe(application.health_on(store), application, log_file=log_file, log_offset=log_offset)

    def health(self, store: str) -> ApplicationHealth:
        return self.probe(store).ask(self.settings.companies)

    def prepared(self) -> Optional[Prepared]:
        return read_prepared(self.settings) if self.switches_code else None

    def staging_home(self) -> SessionsHome:
        """Where this run keeps its proven copies until they are swapped in: beside the places, on the same file
        system.
        """
        return SessionsHome(self.home.private / "runs" / self.run_id, self.home.template, self.home.owner)

    def moving(self) -> Tuple[str, ...]:
        """The companies that this run moves: of this host, and not in the target store already."""
        entries = self.record.all()
        started = self.state().header.get("companies")
        if started:
            return tuple(started)
        return tuple(c for c in self.settings.companies if _store_of(entries, c) != self.target)

    def moved_companies(self) -> List[str]:
        """The companies whose data are in the new store, proven: what ``verify`` says."""
        return list(self.result("verify")["companies"])


def _store_of(entries: Mapping[str, Any], company: str) -> str:
    entry = entries.get(company)
    return entry.store if entry else POSTGRES


def companies_text(companies: List[str]) -> str:
    """Up to five names, for sentences."""
    shown = ", ".join(companies[:5])
    return shown + (f" and {len(companies) - 5} more" if len(companies) > 5 else "")


def as_text(errors: Mapping[str, Any]) -> Dict[str, str]:
    return {company: str(error) for company, error in errors.items()}
