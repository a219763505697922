# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What the application's own client has of each session: its journal and cache on disk, judged beside the databases.

During an outage nobody else has what it wrote. So it comes before every database, as long as it is beyond doubt that
the session was not written elsewhere since: its process lives, or PostgreSQL still names it as the writer, or no other
source has seen a database that served later.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Collection, Iterator, Mapping, Optional, Sequence, Tuple

from .._thirdparty import require
from ..clock import age_seconds, from_iso
from ..errors import ResilienceError, SessionDataError, StoreError
from ..postgres import connect_within
from ..sessions.client_files import ClientCopy, ClientFiles
from ..sessions.codec import encode_creds, encode_key, sha256
from ..sessions.imported import Imported
from ..sessions.manifest import CREDS_TYPE
from ..sessions.published import read_writers
from ..sessions.record import StoreOfRecord, StoreRecord
from ..sessions.verify import KeyName
from .client_admin import journal_errors
from .settings import FailoverSettings
from .source_reports import JOURNAL, PRIMARY, Offer, SourceReport

_ELSEWHERE = "another process has written this session to the database since"
_UNKNOWN_WRITER = (
    "its process is gone, and nothing tells whether the session was written elsewhere since"
    " (the database has no table baileys_resilience.writers: baileys-resilience init-db)"
)


def client_files(settings: FailoverSettings) -> ClientFiles:
    return ClientFiles(Path(settings.client_dir), StoreRecord(settings.state).epochs_of_rows())


def remember_written(settings: FailoverSettings, imported: Imported, companies: Sequence[str]) -> None:
    """Every content that the client wrote in the outage is this session's own, wherever it turns up: a server that was
    frozen reads what it was sent when it thaws, and writes it long after the switch.
    """
    files = client_files(settings)
    for company in companies:
        with contextlib.suppress(StoreError):
            imported.remember_all(company, _digests(files.copy(company)))


def _digests(copy: ClientCopy) -> Iterator[Tuple[KeyName, str]]:
    for name, content in copy.written:
        with contextlib.suppress(SessionDataError):  # no import compares with what is no key
            yield name, sha256(encode_creds(content)[0] if name[0] == CREDS_TYPE else encode_key(*name, content))


def assess_journal(
    settings: FailoverSettings,
    companies: Sequence[str],
    others: Sequence[SourceReport],
    *,
    ended_now: Collection[str] = (),
) -> SourceReport:
    """What the client left on disk, or is writing now. ``others`` are the sources asked already; ``ended_now`` the
    companies whose process was there until a moment ago, and had this copy.
    """
    report = SourceReport(JOURNAL, settings.client_dir)
    files = client_files(settings)
    if not files.directory.is_dir():
        report.problem = "the application has no session client, its directory is not there"
        return report
    try:
        left = set(files.companies()).intersection(companies)
        entries = StoreRecord(settings.state).all()
        errors = journal_errors(settings.client_dir) if left else {}
    except ResilienceError as exc:
        report.problem = str(exc)
        return report
    writers = _writers(settings, sorted(left), others)
    for company in sorted(left):  # where nothing is left the database has everything, and nothing is wrong
        if company in errors:
            report.offers[company] = Offer({}, f"the client goes on in memory only: {errors[company]}")
            continue
        try:
            copy = files.copy(company)
        except ResilienceError as exc:
            report.offers[company] = Offer({}, exc.cause)
            continue
        alive = copy.alive or company in ended_now
        entry = entries.get(company, StoreOfRecord())
        problem = _problem(copy, entry, writers, alive)
        report.offers[company] = _offer(copy, problem, others, writers, alive)
    used = [offer for offer in report.offers.values() if not offer.problem]
    report.answers = bool(used)
    report.problem = "" if used else _why_none(report.offers)
    report.age_seconds = max((offer.age_seconds or 0.0 for offer in used), default=0.0)
    report.snapshot_at = min((offer.snapshot_at for offer in used), default="")
    return report


def _why_none(offers: Mapping[str, Offer]) -> str:
    if not offers:
        return "no outage was under way"
    reasons = dict.fromkeys(offer.problem for offer in offers.values())
    return next(iter(reasons)) if len(reasons) == 1 else "no company has a copy there that can be used"


def _offer(
    copy: ClientCopy,
    problem: str,
    others: Sequence[SourceReport],
    writers: Optional[Mapping[str, str]],
    alive: bool,
) -> Offer:
    offer = Offer(copy.counts, problem, snapshot_at=copy.snapshot_at, age_seconds=age_seconds(copy.snapshot_at))
    confirmed = bool(copy.outage and writers and writers.get(copy.company) in copy.tokens)
    if problem or not (alive or confirmed or not _seen_later(copy, others)):
        return offer
    # What ended in order while its database served is in that database, too: that one is asked first.
    return replace(offer, age_seconds=0.0, complete=bool(copy.outage) or not _answers(others))


def _problem(copy: ClientCopy, entry: StoreOfRecord, writers: Optional[Mapping[str, str]], alive: bool) -> str:
    """Why the copy must not be taken; ``writers`` is None where no database could be asked."""
    if _is_of_before(copy, entry):
        return f"it is of epoch {copy.epoch}; the session has lived elsewhere since (epoch {entry.lineage})"
    if writers is None:
        return ""
    holder = writers.get(copy.company)
    if holder and holder not in copy.tokens:
        return _ELSEWHERE
    return "" if holder or alive else _UNKNOWN_WRITER


def _is_of_before(copy: ClientCopy, entry: StoreOfRecord) -> bool:
    if copy.epoch >= entry.lineage:
        return False
    # A client that was never told of epochs (without init-db) counts none; then the clock of this host decides.
    return bool(copy.epoch) or from_iso(copy.began_at) < from_iso(entry.since)


def _seen_later(copy: ClientCopy, others: Sequence[SourceReport]) -> bool:
    """Whether some source has seen a database that served after the client's last word; by this host's clock alone.
    Where none answers, nobody can say that none has.
    """
    written = age_seconds(copy.written_at)
    answering = [report for report in others if report.answers]
    return not answering or any(report.age_seconds < written for report in answering)


def _answers(others: Sequence[SourceReport]) -> bool:
    return any(report.kind == PRIMARY and report.answers for report in others)


def _writers(
    settings: FailoverSettings, companies: Sequence[str], others: Sequence[SourceReport]
) -> Optional[Mapping[str, str]]:
    """Token of the writer of each company, as far as the primary tells; None where there is none to ask."""
    if not companies or not _answers(others):
        return None
    try:
        connection = connect_within(settings.database, settings.policy.connect_seconds, operation="read writers")
    except ResilienceError:
        return None  # it has gone since it was asked
    try:
        with connection.cursor() as cursor:
            return read_writers(cursor, companies) or {}
    except (ResilienceError, require("psycopg2").Error):
        return {}
    finally:
        connection.close()
