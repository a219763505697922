# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choosing a source: order, pin, age, and what counts as a loss."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from baileys_resilience.errors import SourceTooOld, StepFailed, Unavailable
from baileys_resilience.failover import sources
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict
from baileys_resilience.failover.source_reports import Offer, SourceReport, loss_problem
from baileys_resilience.failover.sources import choose

A, B = "962301", "962302"
COUNTS = {"pre-key": 812, "session": 230, "lid-mapping": 120, "identity-key": 60, "app-state-sync-key": 6}


def settings(**policy: Any) -> FailoverSettings:
    return settings_from_dict(
        {"host": "app1", "companies": [A, B], "database": {}, "sessions_dir": "/s", "state_dir": "/t", "policy": policy}
    )


def report(kind: str, *, answers: bool = True, age: float = 0.0, **problems: str) -> SourceReport:
    offers = {company: Offer(COUNTS, problems.get(f"c{company}", "")) for company in (A, B)}
    problem = "" if answers else f"{kind} is dead"
    return SourceReport(kind, kind, answers, problem, "2026-01-01T03:00:00Z", None, age, offers if answers else {})


PRIMARY, REPLICA, MIRROR = report("primary"), report("replica", age=1), report("mirror", age=8)
DEAD = report("primary", answers=False)


def test_the_freshest_source_that_answers_is_tried_first_and_the_others_after_it() -> None:
    assert choose(settings(), [PRIMARY, REPLICA, MIRROR], [A]) == {A: ["primary", "replica", "mirror"]}
    assert choose(settings(), [DEAD, REPLICA, MIRROR], [A, B]) == {A: ["replica", "mirror"], B: ["replica", "mirror"]}


def test_behind_the_primary_the_youngest_is_tried_first_whatever_its_kind() -> None:
    late = report("replica", age=590)
    assert choose(settings(), [DEAD, late, MIRROR], [A]) == {A: ["mirror", "replica"]}
    assert choose(settings(), [report("primary", age=0), late, MIRROR], [A]) == {A: ["primary", "mirror", "replica"]}


def test_a_primary_that_turned_out_to_be_a_replica_counts_by_its_age() -> None:
    standby = report("primary", age=30)
    standby.problem = "the server is a replica in recovery, not the primary"
    assert choose(settings(), [standby, MIRROR], [A]) == {A: ["mirror", "primary"]}


@pytest.mark.parametrize(
    ("company", "rows", "problem"),
    [
        ("962301", ["962301"], ""),
        ("962301", [], "there is no row of creds"),
        ("962301", ["962301", "962301"], "there are 2 rows of creds"),
        ("7D444840-9DC0-11D1-B245-5FFDCE74FAD2", ["7d444840-9dc0-11d1-b245-5ffdce74fad2"], "writes its id 7d444840-"),
        ("7d4448409dc011d1b2455ffdce74fad2", ["7d444840-9dc0-11d1-b245-5ffdce74fad2"], "writes its id 7d444840-"),
        ("007", ["7"], "the database writes its id 7: write it so in session_companies"),
        ("acme", ["acme-2"], "there is no row of creds"),
    ],
)
def test_what_stands_against_the_creds_of_a_company_is_told(company: str, rows: list[str], problem: str) -> None:
    found = sources._creds_problem(company, Counter(rows))
    assert problem in found
    assert bool(found) == bool(problem)


def test_each_company_is_judged_by_itself() -> None:
    lossy = report("primary", c962302="keys are gone")
    assert choose(settings(), [lossy, MIRROR], [A, B]) == {A: ["primary", "mirror"], B: ["mirror"]}


def test_a_company_that_no_source_has_whole_gets_none_and_the_others_go_on() -> None:
    lossy, stale = report("primary", c962302="gone"), report("mirror", c962302="no good copy")
    assert choose(settings(), [lossy, stale], [A, B]) == {A: ["primary", "mirror"], B: []}
    assert choose(settings(), [PRIMARY], ["7"]) == {"7": []}


def test_no_answer_at_all_says_what_each_source_said() -> None:
    with pytest.raises(StepFailed) as caught:
        choose(settings(), [DEAD, report("mirror", answers=False)], [A])
    assert "primary: primary is dead; mirror: mirror is dead" in caught.value.cause
    assert "backup" in caught.value.hint


def test_a_pinned_source_is_the_only_one_and_is_taken_whatever_is_known_against_it() -> None:
    lossy = report("primary", c962301="keys are gone")
    assert choose(settings(source="primary"), [lossy, MIRROR], [A, B]) == {A: ["primary"], B: ["primary"]}
    assert choose(settings(source="mirror"), [PRIMARY, MIRROR], [A]) == {A: ["mirror"]}


@pytest.mark.parametrize(("pin", "cause"), [("primary", "primary is dead"), ("replica", "it is not configured")])
def test_a_pinned_source_that_does_not_answer_is_an_error_and_no_other_is_taken(pin: str, cause: str) -> None:
    with pytest.raises(Unavailable) as caught:
        choose(settings(source=pin), [DEAD, MIRROR], [A])
    assert (caught.value.subject, caught.value.cause) == (pin, cause)
    assert "failover_source empty" in caught.value.hint


def test_a_source_older_than_allowed_is_refused_with_both_ages_until_the_loss_is_accepted() -> None:
    old = report("mirror", age=754)
    with pytest.raises(SourceTooOld) as caught:
        choose(settings(), [DEAD, old], [A])
    assert "754 s old (allowed: 600 s)" in caught.value.cause
    assert "2026-01-01T03:00:00Z" in caught.value.cause
    assert "failover_accept_data_loss" in caught.value.hint
    assert choose(settings(accept_data_loss=True), [DEAD, old], [A]) == {A: ["mirror"]}
    assert choose(settings(max_source_age_seconds=800), [DEAD, old], [A]) == {A: ["mirror"]}


def test_a_company_whose_only_whole_source_is_too_old_stays_behind_and_the_others_go_on() -> None:
    damaged = report("primary", c962302="half of its keys are gone")
    assert choose(settings(), [damaged, report("mirror", age=9999)], [A, B]) == {A: ["primary"], B: []}


def test_an_old_source_behind_a_fresh_one_is_no_reason_to_refuse_and_nothing_to_fall_back_to() -> None:
    assert choose(settings(), [PRIMARY, report("mirror", age=9999)], [A]) == {A: ["primary"]}


LOSSES: list[tuple[dict[str, int], str]] = [
    ({}, ""),
    ({"pre-key": 812 - 200}, ""),
    ({"pre-key": 812 - 246}, "246 of 1228 keys"),
    ({"pre-key": 0, "session": 0}, "1042 of 1228 keys"),
    ({"lid-mapping": 117}, ""),
    ({"lid-mapping": 116}, "never deletes are gone: 4 lid-mapping"),
    ({"app-state-sync-key": 2}, "4 app-state-sync-key"),
    ({"identity-key": 0}, "60 identity-key"),
    ({"pre-key": 900}, ""),
]


@pytest.mark.parametrize(("now", "problem"), LOSSES)
def test_a_loss_is_told_from_what_baileys_consumes(now: dict[str, int], problem: str) -> None:
    found = loss_problem(COUNTS, {**COUNTS, **now})
    assert problem in found
    assert bool(found) == bool(problem)


def test_a_small_company_may_lose_a_few_keys() -> None:
    assert loss_problem({"pre-key": 12}, {"pre-key": 2}) == ""
    assert loss_problem({"pre-key": 12}, {"pre-key": 1}) != ""
    assert loss_problem({}, {}) == ""


def test_a_database_that_lacks_what_the_mirror_keeps_is_not_whole_for_that_company_only() -> None:
    primary = report("primary")
    primary.offers[B] = Offer({**COUNTS, "session": 0, "pre-key": 500})
    sources._mark_losses([primary, MIRROR])
    assert primary.offers[A].problem == ""
    assert "542 of 1228 keys that the mirror holds are gone" in primary.offers[B].problem


@pytest.mark.parametrize("kept", [None, Offer(COUNTS, "the mirror has no good copy")])
def test_a_mirror_without_a_good_copy_accuses_nobody(kept: Offer | None) -> None:
    primary, mirror = report("primary"), report("mirror")
    primary.offers[A] = Offer({"pre-key": 1})
    mirror.offers = {} if kept is None else {A: kept}
    sources._mark_losses([primary, mirror])
    assert primary.offers[A].problem == ""


ASKED = {"database": {"host": "a", "dbname": "wa"}, "replica": {"host": "b", "dbname": "wa"}}


@pytest.mark.parametrize("back", [False, True])
def test_a_database_that_kept_silent_is_asked_shortly_and_seen_when_it_has_come_back(
    monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    asked: list[str] = []

    def assess(kind: str, *_arguments: Any) -> SourceReport:
        asked.append(kind)
        return report(kind)

    monkeypatch.setattr(sources, "_assess_database", assess)
    monkeypatch.setattr(sources, "answers_within", lambda params, seconds: params.host != "a" or back)
    given = settings_from_dict({"host": "h", "companies": [A], "sessions_dir": "/s", "state_dir": "/t", **ASKED})
    found = sources.assess_sources(given, [A], refresh_mirror=False, silent=["primary"])
    assert asked == (["primary", "replica"] if back else ["replica"])
    assert [(each.kind, each.answers, each.silent) for each in found] == [
        ("primary", back, not back),
        ("replica", True, False),
    ]
    assert back or found[0].problem == "it kept silent a moment ago, and still does after 1 s"


def test_only_silence_counts_as_silence_and_not_a_refusal() -> None:
    given = settings_from_dict(
        {
            "host": "h",
            "companies": [A],
            "sessions_dir": "/s",
            "state_dir": "/t",
            "database": {"host": "127.0.0.1", "port": 1},
        }
    )
    found = sources.assess_sources(given, [A], refresh_mirror=False)
    assert [(each.answers, each.silent) for each in found] == [(False, False)]


def test_a_run_that_would_move_nothing_is_refused() -> None:
    sources.require_any(settings(), {A: ["primary"], B: []}, [PRIMARY])
    with pytest.raises(StepFailed) as caught:
        sources.require_any(settings(), {A: [], B: []}, [report("mirror", c962301="the mirror has never seen it")])
    assert "(company 962301: mirror: the mirror has never seen it)" in caught.value.cause
    assert "restore from a backup" in caught.value.hint


def test_what_makes_the_mirror_useless_is_named_also_while_the_primary_answers() -> None:
    assert sources.mirror_problems(settings(), [PRIMARY, MIRROR]) == []
    assert sources.mirror_problems(settings(), [PRIMARY]) == []
    old = report("mirror", age=754, c962302="the mirror has never seen it")
    age, company = sources.mirror_problems(settings(), [PRIMARY, old])
    assert "754 s old (allowed: 600 s)" in age
    assert "baileys-resilience mirror status" in age
    assert company == "mirror: company 962302: the mirror has never seen it"
    assert sources.mirror_problems(settings(), [PRIMARY, report("mirror", answers=False)]) == ["mirror: mirror is dead"]
