# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Export: from any source into a sessions' home, each company whole or not at all.

Stage every company beside its place, sync once, read every file back against its manifest, and only then swap in. One
company that cannot be exported is reported and leaves the others alone.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, ContextManager, Dict, Iterator, List, Optional, Sequence, Type

from .. import files
from ..clock import now_iso
from ..errors import (
    CredsInvalid,
    ResilienceError,
    SessionDataError,
    StoreError,
    UsageError,
    VerificationFailed,
)
from ..files import translate_os_error
from ..processes import end_with_parent
from ..progress import Progress, Silent
from .codec import CREDS_FILE, encode_creds, encode_key, file_name, sha256
from .company_writer import CompanyWriter, EarlierCopy
from .creds import CredsAudit, paired_user
from .directory_store import SessionsHome
from .manifest import CREDS_TYPE, MANIFEST_FILE, Header, Totals
from .model import RawKey, SessionSource, SourceInfo
from .verify import same_files, verify_directory

#: takes type, id, file name, content, its SHA256, and the time of the row
AddFile = Callable[[str, str, str, bytes, str, Optional[str]], None]
OpenSource = Callable[[], ContextManager[SessionSource]]

#: what concerns one company and leaves the others alone; anything else is the source's and ends the run
OF_ONE_COMPANY = (SessionDataError, VerificationFailed, StoreError, UsageError)

#: companies that are staged, synced and swapped together: one sync for many, and a crash leaves few to do again
BATCH = 50
#: up to so many new files are made durable one by one
FEW_FILES = 200
#: new files after which the disk is set to work; more than FEW_FILES, so that it is for many files only
FILES_AT_ONCE = 256


@dataclass(frozen=True)
class CompanyExport:
    """What came of one company. ``counts`` by key type; ``previous`` is where the replaced directory is kept."""

    company: str
    directory: Path
    counts: Dict[str, int]
    keys: int
    bytes: int
    manifest_sha256: str
    user: Optional[str]
    changed: bool
    previous: Optional[Path] = None
    epoch: int = 0


@dataclass
class ExportReport:
    source: SourceInfo
    exported: List[CompanyExport] = field(default_factory=list)
    failed: Dict[str, ResilienceError] = field(default_factory=dict)
    duration_seconds: float = 0.0

    @property
    def changed(self) -> bool:
        return any(each.changed for each in self.exported)

    def counts(self) -> Dict[str, Dict[str, int]]:
        return {each.company: each.counts for each in self.exported}


@dataclass(frozen=True)
class StagedCompany:
    """A company that is written, sealed and durable in staging, not yet in its place."""

    company: str
    path: Path
    totals: Totals
    manifest_sha256: str
    user: Optional[str]
    written: Sequence[str]
    epoch: int


def export_companies(
    source: SessionSource, home: SessionsHome, companies: Sequence[str], *, progress: Optional[Progress] = None
) -> ExportReport:
    """Export ``companies`` from ``source`` into ``home``. Errors of single companies land in the report; errors of
    the source are raised.
    """
    started = time.monotonic()
    with home.locked():
        home.clear_staging()
        report = _export_batches(source, home, companies, progress or Silent())
        home.expire_previous()
    report.duration_seconds = time.monotonic() - started
    return report


def export_in_processes(
    open_source: OpenSource,
    home: SessionsHome,
    companies: Sequence[str],
    jobs: int,
    *,
    progress: Optional[Progress] = None,
) -> ExportReport:
    """The same with ``jobs`` processes, each with a source of its own (one PostgreSQL snapshot can be shared by its
    export id).
    """
    started = time.monotonic()
    parts = [part for part in (list(companies[number::jobs]) for number in range(jobs)) if part]
    with home.locked():
        home.clear_staging()
        # fork: the children inherit the open_source closure, and secrets never pass through a pipe or an argument list.
        with ProcessPoolExecutor(
            max(1, len(parts)),
            multiprocessing.get_context("fork"),
            _begin_part,
            (os.getpid(), open_source, home, progress or Silent()),
        ) as pool:
            report = _merged(list(_results(pool, parts or [[]])))
        home.expire_previous()
    report.duration_seconds = time.monotonic() - started
    return report


def _results(pool: ProcessPoolExecutor, parts: List[List[str]]) -> Iterator[ExportReport]:
    try:
        yield from pool.map(_export_part, parts)
    except BrokenProcessPool as exc:
        raise StoreError(
            "a process of the export was killed",
            operation="export sessions",
            hint="look for the out-of-memory killer in the kernel's log, then run again",
            retryable=True,
        ) from exc


def _merged(reports: List[ExportReport]) -> ExportReport:
    report = reports[0]
    for other in reports[1:]:
        report.exported.extend(other.exported)
        report.failed.update(other.failed)
    report.exported.sort(key=lambda each: each.company)
    return report


_inherited: List[Any] = []


def _begin_part(parent: int, *arguments: Any) -> None:
    end_with_parent(parent)
    _inherited[:] = arguments


def _export_part(companies: List[str]) -> ExportReport:
    open_source, home, progress = _inherited
    with open_source() as source:
        return _export_batches(source, home, companies, progress)


def _export_batches(
    source: SessionSource, home: SessionsHome, companies: Sequence[str], progress: Progress
) -> ExportReport:
    report = ExportReport(source.info)
    for first in range(0, len(companies), BATCH):
        batch = companies[first : first + BATCH]
        for each in stage_batch(source, home, batch, report):
            try:
                activate(home, each, report)
            except StoreError as exc:
                report.failed[each.company] = exc
        progress.note("exported", companies=min(first + BATCH, len(companies)), of=len(companies))
    return report


def stage_batch(
    source: SessionSource,
    home: SessionsHome,
    companies: Sequence[str],
    report: ExportReport,
    earlier: Callable[[str], Optional[Path]] = lambda _company: None,
) -> List[StagedCompany]:
    """Write companies to staging, make them durable, read them back. Bad session data goes to ``report.failed``.

    ``earlier`` names a durable copy of a company, if there is one: files that did not change since are shared with it.
    """
    staged: List[StagedCompany] = []
    with _WriteBack(home) as disk:
        for company in companies:
            try:
                home.check_replaceable(company)
                staged.append(_stage_company(source, home, company, earlier(company), disk.wrote))
            except OF_ONE_COMPANY as exc:
                report.failed[company] = exc
        # The disk works while we read back; both are done before anybody swaps anything in.
        disk.finish(list(staged))
        for each in list(staged):
            try:
                verify_directory(each.path)
            except (VerificationFailed, StoreError) as exc:
                report.failed[each.company] = exc
                staged.remove(each)
    return staged


class _WriteBack:
    """Makes what is staged durable, in a thread that only waits for the kernel. Of many files most are on disk when
    the last is written. Leaving the block waits for the rest and raises what the disk said.
    """

    def __init__(self, home: SessionsHome) -> None:
        self._home = home
        self._thread = ThreadPoolExecutor(1)
        self._syncs: List[Future[None]] = []
        self._files = 0

    def wrote(self) -> None:
        """One more new file was written."""
        self._files += 1
        if self._files % FILES_AT_ONCE == 0 and all(each.done() for each in self._syncs[-1:]):
            self._syncs.append(self._thread.submit(files.sync_file_system, self._home.path))

    def finish(self, staged: Sequence[StagedCompany]) -> None:
        """Everything is written: make it durable."""
        self._syncs.append(self._thread.submit(_make_durable, self._home, staged))

    def __enter__(self) -> _WriteBack:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], *_about: object) -> None:
        self._thread.shutdown()
        if kind is None:
            for each in self._syncs:
                each.result()  # each: the kernel tells an error once, to whoever syncs first


def _make_durable(home: SessionsHome, staged: Sequence[StagedCompany]) -> None:
    """Many files: one sync of the file system. Few: each by itself, since a sync waits for everybody's pending writes
    (2.3 s were seen beside an npm install) and the application may be waiting for us.
    """
    if sum(len(each.written) for each in staged) > FEW_FILES:
        files.sync_file_system(home.path)
        return
    for each in staged:
        for name in each.written:
            files.fsync_path(each.path / name)
        try:
            files.fsync_directory(each.path)
        except OSError as exc:
            raise translate_os_error(exc, "sync", each.path) from exc


def _stage_company(
    source: SessionSource, home: SessionsHome, company: str, earlier: Optional[Path], wrote: Callable[[], None]
) -> StagedCompany:
    shared = EarlierCopy(home, earlier) if earlier else None
    info = source.info_of(company)
    try:
        writer = CompanyWriter(home, Header(company, info, now_iso()), wrote, shared)
        try:
            creds = encode_company(source, company, writer.add)
            digest = writer.finish()
        except BaseException:
            writer.discard()
            raise
    finally:
        if shared:
            shared.close()
    return StagedCompany(
        company, writer.path, writer.manifest.totals, digest, paired_user(creds), writer.written, info.epoch
    )


def encode_company(source: SessionSource, company: str, add: AddFile) -> Dict[str, Any]:
    """Call ``add`` for each file that the company should have, creds first; returns the creds. Raises
    SessionDataError when the session is not whole: what was added until then is worth nothing.
    """
    raw = source.creds(company)
    if raw is None:
        raise CredsInvalid(
            "there is no row of creds",
            operation="export company",
            subject=company,
            hint="check the company's id; if its row was deleted, use another source (mirror or backup)",
        )
    content, creds = encode_creds(raw.value, company=company)
    audit = CredsAudit(creds)
    add(CREDS_TYPE, "", CREDS_FILE, content, sha256(content), raw.updated_at)

    def see(key: RawKey) -> None:
        encoded = encode_key(key.type, key.id, key.value, company=company)
        audit.see(key.type, key.id)
        add(key.type, key.id, file_name(key.type, key.id), encoded, sha256(encoded), key.updated_at)

    source.stream_keys(company, see)
    problems = audit.problems()
    if problems:
        raise CredsInvalid(
            "; ".join(problems),
            operation="export company",
            subject=company,
            hint="Baileys would lose this session: use another source (mirror or backup)",
        )
    return creds


def activate(home: SessionsHome, staged: StagedCompany, report: ExportReport) -> None:
    """Put one staged company in its place and add it to the report."""
    place = home.directory(staged.company)
    previous = None
    changed = not same_files(staged.path, place) or not home.owned(staged.company)
    if changed:
        previous = home.swap_in(staged.company, staged.path)
    else:
        # Same session, newer snapshot: only the manifest is news.
        home.rename(staged.path / MANIFEST_FILE, place / MANIFEST_FILE)
        home.remove(staged.path)
    totals = staged.totals
    report.exported.append(
        CompanyExport(
            staged.company,
            place,
            totals.counts,
            totals.keys,
            totals.bytes,
            staged.manifest_sha256,
            staged.user,
            changed,
            previous,
            staged.epoch,
        )
    )
