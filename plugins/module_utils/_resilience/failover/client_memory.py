# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What the running client holds in memory. It writes a copy itself when it is asked; that costs the application more
than a read from elsewhere, so it is chosen only for what is nowhere else: while it cannot write its journal, while only
we cannot reach the database, and where rows were lost.

The last copy of such a session is made when it is drained: nothing is written behind it, since that process does not
open the session again.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence
from urllib.parse import quote, urlencode

from .. import guarded
from ..clock import from_iso, now_iso
from ..errors import ApplicationError, ResilienceError, StoreError, Unavailable
from ..sessions.client_files import COPY_SUFFIX, HandedOver, read_handed_over
from ..sessions.directory_store import SessionsHome
from ..sessions.model import KeySink, RawCreds, RawKey, SourceInfo
from ..sessions.record import StoreOfRecord, StoreRecord
from .client_admin import SOCKET, STATUS_SECONDS, ask, ask_status, below, text_of
from .context import FailoverContext
from .settings import FailoverSettings
from .source_reports import CLIENT, PRIMARY, Offer, SourceReport

#: on a busy disk, behind what its socket has under way
_EXPORT_SECONDS = 30.0
#: below the client's directory: where it writes copies
EXPORTS = "exports"
#: One file, which it writes in no time: the files that Baileys reads are made here, once.
AS_FILE = {"form": "file"}


@dataclass(frozen=True)
class Exported:
    """A copy that the client has made, and said so."""

    sha256: str
    snapshot_at: str

    def as_dict(self) -> Dict[str, str]:
        return {"sha256": self.sha256, "snapshot_at": self.snapshot_at}


class ClientMemory:
    """The sessions of the running client as a :class:`model.SessionSource`. ``drained`` are copies that it made at its
    end: those are read, and nobody is asked.
    """

    def __init__(
        self, client_dir: str, epochs: Mapping[str, int], drained: Optional[Mapping[str, Exported]] = None
    ) -> None:
        self._client_dir = client_dir
        self._epochs = epochs
        self._exported: Dict[str, Exported] = dict(drained or {})
        self._read: Dict[str, HandedOver] = {}

    @property
    def info(self) -> SourceInfo:
        return SourceInfo(CLIENT, str(Path(self._client_dir) / SOCKET), now_iso())

    def info_of(self, company: str) -> SourceInfo:
        copy = self._copy(company)
        epoch = self._epochs.get(company, copy.epoch)
        return SourceInfo(CLIENT, str(Path(self._client_dir) / SOCKET), copy.snapshot_at, None, epoch)

    def companies(self) -> List[str]:
        return sorted(sessions(self._client_dir))

    def creds(self, company: str) -> Optional[RawCreds]:
        copy = self._copy(company)
        return RawCreds(copy.creds, None)

    def stream_keys(self, company: str, sink: KeySink) -> None:
        for (key_type, key_id), content in self._copy(company).keys.items():
            sink(RawKey(key_type, key_id, content, None))

    def _copy(self, company: str) -> HandedOver:
        """Let the client write it, once, and look whether what lies there is what it says."""
        if company not in self._exported:
            self._exported[company] = _export(self._client_dir, company)
        if company not in self._read:
            self._read[company] = self._read_copy(company, self._exported[company].sha256)
        return self._read[company]

    def _read_copy(self, company: str, sha256: str) -> HandedOver:
        exports = Path(self._client_dir) / EXPORTS
        copy = read_handed_over(exports, company)
        if copy.sha256 == sha256:
            return copy
        raise StoreError(
            "what lies there is another copy than the client made",
            operation="read the client's export of company",
            subject=company,
            hint=f"is its WA_SESSION_EXPORT_DIR {exports}? Run again",
        )


def _export(client_dir: str, company: str) -> Exported:
    """What it refuses for one company says nothing of the others."""
    _refuse_odd_id(company)
    try:
        answer = ask(client_dir, "POST", f"/export?{_query(company, AS_FILE)}", seconds=_EXPORT_SECONDS)
        return exported_of(company, below(answer, "exported", company))
    except ApplicationError as exc:
        raise StoreError(exc.cause, operation="let the client export company", subject=company, hint=exc.hint) from exc


def copied_by_client(context: FailoverContext) -> List[str]:
    """Companies that this run let the client copy; what somebody else has asked it for is theirs."""
    staged = context.result_or_empty("stage").get("sessions", {})
    return sorted(
        {company for company, session in staged.items() if session["source"] == CLIENT}
        | set(context.result_or_empty("stop").get("drained", {}))
    )


def discard_copies(client_dir: str, companies: Sequence[str]) -> None:
    """Remove what the client exported: it is in its place by now."""
    home = SessionsHome(Path(client_dir) / EXPORTS)
    for company in companies:
        with contextlib.suppress(StoreError, OSError), guarded.parent_of(home.directory(company)) as (exports, name):
            guarded.remove(exports, name + COPY_SUFFIX)


def _query(company: str, more: Optional[Mapping[str, str]] = None) -> str:
    return urlencode({"company": company, **(more or {})})


def _refuse_odd_id(company: str) -> None:
    if quote(company, safe="!'()*~") != company:
        raise StoreError(
            "the client's export of this id has another name than ours",
            operation="read the client's export of company",
            subject=company,
            hint="another source has to serve",
        )


def exported_of(company: str, answer: Any) -> Exported:
    try:
        copy = Exported(text_of(answer["sha256"]), text_of(answer["snapshot_at"]))
        from_iso(copy.snapshot_at)
        return copy
    except (KeyError, TypeError, ValueError, ResilienceError) as exc:
        raise ApplicationError(
            "the client has not said what it exported",
            operation="export company",
            subject=company,
            hint="see the application's log",
        ) from exc


def sessions(client_dir: str) -> Dict[str, Mapping[str, Any]]:
    """Status of each session that is open in the running client. Raises Unavailable and ApplicationError."""
    return {each["company"]: each for each in ask_status(client_dir)["sessions"]}


def assess_client(
    settings: FailoverSettings, companies: Sequence[str], journal: SourceReport, others: Sequence[SourceReport]
) -> SourceReport:
    """What the client says of itself. ``journal`` is what it has on disk, ``others`` the sources asked already."""
    report = SourceReport(CLIENT, str(Path(settings.client_dir) / SOCKET))
    if not Path(settings.client_dir).is_dir():
        report.problem = "the application has no session client, its directory is not there"
        return report
    try:
        open_now = sessions(settings.client_dir)
        entries = StoreRecord(settings.state).all()
    except ResilienceError as exc:
        report.problem = exc.cause
        return report
    primary = any(each.kind == PRIMARY and each.answers for each in others)
    for company in companies:
        if company not in open_now:
            continue
        status, on_disk = open_now[company], journal.offers.get(company, Offer())
        elsewhere = on_disk.complete or (primary and status.get("state") == "online")
        problem = _problem(status, entries.get(company, StoreOfRecord()))
        report.offers[company] = Offer(
            dict(status.get("counts", {})), problem, complete=not problem and not elsewhere, age_seconds=0.0
        )
    report.answers = bool(report.offers)
    report.problem = "" if report.answers else "it runs, and none of these companies is open in it"
    report.snapshot_at = now_iso()
    return report


def _problem(status: Mapping[str, Any], entry: StoreOfRecord) -> str:
    if status.get("undecodable"):
        return f"{status['undecodable']} keys in its memory are no keys"
    epoch = int(status.get("epoch") or 0)
    if epoch and epoch < entry.lineage:
        return f"it is of epoch {epoch}; the session has lived elsewhere since (epoch {entry.lineage})"
    return ""


def drain(client_dir: str, company: str, *, accept_data_loss: bool) -> Dict[str, str]:
    """End this session in the running client, with a last copy. Returns that copy; an ``error`` where the client is
    gone by now, so that nothing can be copied any more.

    Raises ApplicationError when it runs and makes no copy: it goes on then, and to stop it would lose what it alone
    has.
    """
    try:
        answer = ask(client_dir, "POST", f"/drain?{_query(company, AS_FILE)}&export=true", seconds=_EXPORT_SECONDS)
        copy = exported_of(company, below(answer, "drained", company, "export"))
    except Unavailable as exc:
        return {"error": exc.cause}
    except ApplicationError as exc:
        if accept_data_loss:
            return {"error": exc.cause}
        raise ApplicationError(
            f"only the running client has all of this session, and it makes no last copy: {exc.cause}",
            operation="drain company",
            subject=company,
            hint="nothing was stopped. Give it room on its disk, then run again; to go on without its last steps set"
            " failover_accept_data_loss to true",
        ) from exc
    return copy.as_dict()


def last_copies(client_dir: str, drained: Mapping[str, Any]) -> Dict[str, Any]:
    """Those of the ``drained`` that are the last still. A run that was cut off may be resumed by a host that has booted
    since: its application was started anew and has gone on, and the copies are of before.
    """
    if not drained:
        return {}
    try:
        known = ask_status(client_dir)["drained"]
    except (Unavailable, ApplicationError):
        return {}  # what it left on disk tells the rest
    return {company: copy for company, copy in drained.items() if company in known}


def resume(client_dir: str, companies: Sequence[str]) -> None:
    """Let the running client open them again. One that is gone needs no word."""
    for company in companies:
        try:
            ask(client_dir, "POST", f"/resume?{_query(company)}", seconds=STATUS_SECONDS)
        except (Unavailable, ApplicationError):
            continue
