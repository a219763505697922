# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""One scan: what changed in PostgreSQL since the last one, taken over in one transaction of the mirror.

Cheapest question first: is anything visible now that was not (the snapshot itself)? Which company's row versions
changed? Which rows? Only their values are read.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any, Dict, Iterator, Optional, Set

from ...clock import now_iso
from ...errors import CredsInvalid
from ...sessions.codec import encode_creds
from ...sessions.creds import CredsAudit
from .change_log import LoggedKey, changed_keys
from .database import ScanSource
from .policy import CREDS_GONE, DeletionLimits, creds_rejection, deletion_incident, paired_anew
from .store import Kept, MirrorStore, StoredCreds

#: stands for the fingerprint of a company whose rows were put there anew
MOVED = "moved"
#: stands for the fingerprint where the change log told what changed
LOGGED = "logged"
#: rows fetched by their place in one statement
_CHUNK = 1000
#: above this share of changed rows, reading all of a company is cheaper than fetching single rows
_READ_ALL_SHARE = 0.4


@dataclass
class Work:
    """What a scan has done, for the figures of its record."""

    companies_changed: int = 0
    keys_read: int = 0


@dataclass(frozen=True)
class Placement:
    """Where a company lives, by the store of record."""

    store: str
    epoch: int


class Scan:
    """The companies of one snapshot against those of the mirror. ``last_start``: when the last complete one began."""

    def __init__(
        self, source: ScanSource, store: MirrorStore, placements: Any, limits: DeletionLimits, last_start: Optional[str]
    ) -> None:
        #: companies whose values are all read again in this scan
        self.due: Set[str] = set()
        self.work = Work()
        self._source = source
        self._store = store
        self._placements = placements
        self._limits = limits
        self._last_start = last_start
        self._started_at = now_iso()
        self._kept: Dict[str, Kept] = store.companies()
        self._changed: Set[str] = set()
        self._follow: Set[str] = set()
        self._replaced: Dict[str, StoredCreds] = {}

    def thoroughly(self) -> None:
        """Read every value again."""
        self.due = set(self._kept)
        self.by_versions()

    def by_versions(self) -> None:
        """Compare the row versions of every company."""
        self.creds()
        present: Set[str] = set()
        wanted: Dict[str, str] = {}
        for company, fingerprint in self._source.fingerprints():
            present.add(company)
            kept = self._kept.get(company)
            if kept is not None and self._scanned(company) and (company in self.due or kept.fingerprint != fingerprint):
                wanted[company] = fingerprint
        for company, kept in self._kept.items():
            if company not in present and kept.fingerprint != "" and self._scanned(company):
                wanted[company] = ""
        for company, fingerprint in wanted.items():
            self._keys_of(company)
            self._store.set_company(company, fingerprint=fingerprint)
        self.finish()

    def by_log(self, since: str) -> None:
        """Read what the change log names since the snapshot ``since``; creds by their row versions."""
        self.creds()
        entries = changed_keys(self._source, since)
        for company, logged in itertools.groupby(entries, key=lambda each: each.company):
            if company in self._kept and self._scanned(company):
                self._logged(company, logged)
        # A company that is new here, or that came back, is not told by the log alone.
        new = {each for each in self._changed if self._kept[each].fingerprint in ("", MOVED)}
        for company in new | {each for each in self.due if each in self._kept and self._scanned(each)}:
            self._keys_of(company)
            self._store.set_company(company, fingerprint=LOGGED)
            self.due.add(company)
        self.finish()

    def _logged(self, company: str, logged: Iterator[LoggedKey]) -> None:
        self._changed.add(company)
        self._store.clear_scratch()
        for each in logged:
            if each.row is None:
                self._store.missed(each.type, each.id)
            else:
                self._store.put_key(company, each.row)
                self.work.keys_read += 1
        self.judge_gone(company)

    def creds(self) -> None:
        """Take over the creds of every company whose row of creds changed; find those whose row is gone."""
        versions = self._source.creds_versions()
        for company, version in versions.items():
            placement = self._placements(company)
            if not self._scanned(company):
                self._stand_aside(company, placement)
                continue
            kept = self._kept.get(company) or self._store.add_company(company, placement.epoch, placement.store)
            self._kept[company] = kept
            self._place(kept, placement)
            if company in self.due or kept.creds_version != version:
                self._creds_of(kept, version)
        for company, kept in self._kept.items():
            if company not in versions:
                if not self._scanned(company):
                    self._stand_aside(company, self._placements(company))
                elif kept.present:
                    self._creds_gone(kept)

    def _scanned(self, company: str) -> bool:
        return bool(self._placements(company).store == "postgres")

    def _place(self, kept: Kept, placement: Placement) -> None:
        if (kept.epoch, kept.store, kept.aside_at) != (placement.epoch, placement.store, None):
            # The company moved on purpose since: what went with the move is no loss.
            self._follow.add(kept.company)
            self._store.set_company(
                kept.company, epoch=placement.epoch, store=placement.store, aside_at=None, fingerprint=MOVED
            )
            kept.fingerprint = MOVED
            self._changed.add(kept.company)

    def _stand_aside(self, company: str, placement: Placement) -> None:
        """The rows in PostgreSQL are not this company's session now: keep what is mirrored, with its own epoch."""
        kept = self._kept.get(company)
        if kept is not None and kept.aside_at is None:
            self._store.set_company(company, store=placement.store, aside_at=self._last_start or "")

    def _creds_of(self, kept: Kept, version: str) -> None:
        self._changed.add(kept.company)
        try:
            row = self._source.creds(kept.company)
        except CredsInvalid as exc:
            self._store.keep_creds(kept.company, exc.cause, version)
            return
        if row is None:
            return
        if not kept.present:
            self._store.set_company(kept.company, present=1)
            kept.present = True
        try:
            content, value = encode_creds(row.value, company=kept.company)
            problems = creds_rejection(value, kept.creds)
        except CredsInvalid as exc:
            content, value, problems = b"", {}, [exc.cause]
        if problems:
            self._store.keep_creds(kept.company, "; ".join(problems), row.version)
            return
        if paired_anew(value, kept.creds):
            self._follow.add(kept.company)
        if kept.content is not None:
            self._replaced[kept.company] = self._store.stored_creds(kept.company)
        self._store.put_creds(kept.company, content, row)
        kept.content = content

    def _creds_gone(self, kept: Kept) -> None:
        self._changed.add(kept.company)
        kept.present = False
        self._store.set_company(kept.company, present=0, creds_version="")
        if self._store.open_incident(kept.company) is None:
            self._store.add_incident(kept.company, CREDS_GONE, {"keys": self._store.count_keys(kept.company)})

    def _keys_of(self, company: str) -> None:
        self._changed.add(company)
        self._store.clear_scratch()
        if company in self.due or self._store.count_keys(company) == 0:
            self._take(company, self._source.rows(company), remember=True)
            self.due.add(company)
        else:
            self._read_changed(company, self._store.saw_all(self._source.versions(company)))
        self._store.find_gone(company)
        self.judge_gone(company)

    def _read_changed(self, company: str, total: int) -> None:
        places = self._store.changed_places(company)
        if len(places) > _READ_ALL_SHARE * total:
            self._take(company, self._source.rows(company), remember=False)
            return
        for first in range(0, len(places), _CHUNK):
            self._take(company, self._source.rows_at(company, places[first : first + _CHUNK]), remember=False)

    def _take(self, company: str, rows: Iterator[Any], *, remember: bool) -> None:
        for row in rows:
            self._store.put_key(company, row)
            self.work.keys_read += 1
            if remember:
                self._store.saw(row.type, row.id, row.version)

    def judge_gone(self, company: str) -> None:
        """Follow the deletions in ``gone``, or keep the keys and open an incident."""
        gone = self._store.gone_by_type(company)
        if not gone:
            return
        incident = self._store.open_incident(company)
        if incident is None and company not in self._follow:
            total = self._store.count_offered(company)
            kind = deletion_incident(gone, total, self._limits)
            if kind:
                incident = self._store.add_incident(company, kind, {"gone": gone, "of": total})
        if incident is None:
            self._store.follow_gone(company)
        else:
            self._store.keep_gone(company, incident)

    def finish(self) -> None:
        """Judge every company that changed, and close the incidents whose rows came back."""
        for company in self.due & set(self._kept):
            self._store.set_company(company, read_at=self._started_at)
        for company in self._changed:
            kept = self._kept[company]
            if kept.present and not self._store.count_held(company):
                self._store.resolve_incidents(company, "the rows came back")
            self._judge(kept)
        self.work.companies_changed = len(self._changed)

    def _judge(self, kept: Kept) -> None:
        problem = self._problem(kept)
        before = self._replaced.get(kept.company)
        if problem and before is not None and not self._problem(replace(kept, content=before.content)):
            # The creds were put back to an older state: with those of before, the session is whole.
            self._store.put_back_creds(kept.company, before, problem)
            problem = None
        columns: Dict[str, Any] = {"key_count": self._store.count_keys(kept.company)}
        if problem != kept.problem:
            columns["problem"] = problem
            if problem is None:
                columns.update(problem_since=None, good_at=None)
            elif kept.problem is None:
                columns.update(problem_since=self._source.state.snapshot_at, good_at=self._last_start)
        self._store.set_company(kept.company, **columns)

    def _problem(self, kept: Kept) -> Optional[str]:
        creds = kept.creds
        if creds is None:
            return "no usable creds were ever seen"
        audit = CredsAudit(creds)
        for key_type, key_id in self._store.audit_facts(kept.company, creds.get("myAppStateKeyId")):
            audit.see(key_type, key_id)
        return "; ".join(audit.problems()) or None
