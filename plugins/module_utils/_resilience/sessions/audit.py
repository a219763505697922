# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Judging stores without touching them: against manifests, against another store, and creds against their keys."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Set, Union

from ..errors import SessionDataError, StoreError, UsageError, VerificationFailed
from ..postgres import ConnectParams
from .directory_source import DirectorySource
from .directory_store import SessionsHome
from .manifest import Manifest, read_manifest
from .model import SessionSource, SourceInfo, TableMapping
from .postgres_store import PostgresSnapshot, open_snapshot
from .verify import (
    CompanyState,
    Difference,
    KeyName,
    compare,
    inspect_company,
    manifest_digests,
)

#: gives the digests that a company should have; raises the typed error that says why it cannot
Expectation = Callable[[str], Dict[KeyName, str]]


@dataclass
class Verdict:
    """What was found of one company. ``difference`` is None where nothing was compared."""

    company: str
    state: CompanyState
    difference: Optional[Difference] = None
    problems: List[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.problems

    def summary(self) -> str:
        """Fit to leave the host: at most three problems, ids hashed."""
        more = f"; and {len(self.problems) - 3} more" if len(self.problems) > 3 else ""
        return "; ".join(self.problems[:3]) + more


@dataclass(frozen=True)
class AuditRequest:
    """``subject`` is directory or database; ``against`` is manifest, directory, database or nothing; ``home`` is where
    directories and manifests are. ``companies`` None means all of the subject and of what it is compared with.
    """

    subject: str
    against: str
    params: ConnectParams
    tables: TableMapping
    home: Optional[SessionsHome] = None
    companies: Optional[Sequence[str]] = None


@dataclass
class Audit:
    """``manifests`` is None where they were not asked."""

    source: SourceInfo
    verdicts: List[Verdict]
    manifests: Optional[Dict[str, Manifest]] = None

    @property
    def bad(self) -> List[Verdict]:
        return [each for each in self.verdicts if not each.good]

    def error(self) -> Optional[VerificationFailed]:
        """One sentence for all that is wrong; None when nothing is."""
        if not self.bad:
            return None
        shown = "; ".join(f"company {each.company}: {each.summary()}" for each in self.bad[:3])
        more = f"; and {len(self.bad) - 3} more companies" if len(self.bad) > 3 else ""
        return VerificationFailed(
            f"{len(self.bad)} of {len(self.verdicts)} companies do not verify: {shown}{more}",
            operation="verify",
            subject=self.source.detail,
            hint="use another source for these companies (mirror or backup), or compare with session_info",
        )


def run_audit(request: AuditRequest) -> Audit:
    """Judge every company. Bad data is in the verdicts; errors of the database are raised."""
    _check(request)
    with contextlib.ExitStack() as stack:
        snapshot = None
        if "database" in (request.subject, request.against):
            snapshot = stack.enter_context(open_snapshot(request.params, request.tables))
        stores = _Stores(request, snapshot)
        subject = stores.named(request.subject)
        expectation = stores.expectation()
        verdicts = [_judge(subject, company, expectation) for company in stores.companies()]
        return Audit(subject.info, verdicts, stores.manifests if request.against == "manifest" else None)


def _check(request: AuditRequest) -> None:
    if request.home is None and "database" not in (request.subject, request.against):
        problem, hint = "there is nothing to verify", "set src"
    elif request.home is None and request.against in ("manifest", "directory"):
        problem, hint = f"against {request.against} needs a directory", "set src"
    elif request.home is None and request.subject == "directory":
        problem, hint = "subject directory needs a directory", "set src"
    elif request.subject == request.against:
        problem, hint = "a store cannot be compared with itself", "set against to manifest or to the other store"
    else:
        return
    raise UsageError(problem, operation="verify", hint=hint)


Store = Union[PostgresSnapshot, DirectorySource]


class _Stores:
    """The stores of one audit, opened once."""

    def __init__(self, request: AuditRequest, snapshot: Optional[PostgresSnapshot]) -> None:
        self._request = request
        self._snapshot = snapshot
        self.manifests: Dict[str, Manifest] = {}

    def named(self, name: str) -> Store:
        if name == "database" and self._snapshot is not None:
            return self._snapshot
        return self._directory()

    def _directory(self) -> DirectorySource:
        if self._request.home is None:
            raise UsageError("there is no directory", operation="verify", hint="set src")
        # Files that Baileys made itself have no manifest; asking for one is up to `against`.
        return DirectorySource(self._request.home, require_manifest=self._request.against == "manifest")

    def expectation(self) -> Optional[Expectation]:
        if self._request.against == "nothing":
            return None
        if self._request.against == "manifest":
            return self._from_manifest
        return from_source(self.named(self._request.against))

    def companies(self) -> List[str]:
        if self._request.companies is not None:
            return list(self._request.companies)
        found: Set[str] = set()
        for name in {self._request.subject, self._request.against} & {"database", "directory"}:
            found.update(_all_companies(self.named(name)))
        if self._request.against == "manifest":
            found.update(self._directory().companies())
        if not found:
            raise VerificationFailed(
                "there is no company",
                operation="verify",
                subject=self.named(self._request.subject).info.detail,
                hint="check src, directory_template, login_db and session_tables",
            )
        return sorted(found)

    def _from_manifest(self, company: str) -> Dict[KeyName, str]:
        manifest = read_manifest(self._directory().home.manifest(company))
        if manifest.header.company != company:
            raise VerificationFailed(
                f"the manifest is of company {manifest.header.company}",
                operation="verify company",
                subject=company,
                hint="this directory was copied to a wrong name: put it back under its own",
            )
        self.manifests[company] = manifest
        return manifest_digests(manifest)


def _all_companies(store: Store) -> Iterator[str]:
    yield from store.companies()
    if isinstance(store, PostgresSnapshot):
        yield from store.companies_with_keys()  # keys whose creds are gone are a company in trouble, not none


def from_source(source: SessionSource) -> Expectation:
    """What another store holds. Its own bad rows are its problem: it cannot be the measure then."""

    def expected(company: str) -> Dict[KeyName, str]:
        state = inspect_company(source, company)
        if state.problems:
            raise VerificationFailed(
                f"{source.info.kind} {source.info.detail} cannot be the measure: {state.problems[0]}",
                operation="verify company",
                subject=company,
                hint="compare with a manifest or another store instead",
            )
        return state.digests

    return expected


def _judge(source: SessionSource, company: str, expectation: Optional[Expectation]) -> Verdict:
    verdict = Verdict(company, CompanyState(company))
    try:
        verdict.state = inspect_company(source, company)
        verdict.problems.extend(verdict.state.problems)
        if expectation is not None:
            verdict.difference = compare(expectation(company), verdict.state.digests)
    except (SessionDataError, VerificationFailed, StoreError, UsageError) as exc:
        verdict.problems.append(exc.cause)
    if verdict.difference:
        verdict.problems.append(verdict.difference.summary())
    return verdict
