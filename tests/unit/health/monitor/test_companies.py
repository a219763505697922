# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Companies for the page: those in trouble first, and never more than was asked for."""

from __future__ import annotations

from datetime import UTC, datetime

from baileys_resilience.health.alerts.model import Moment
from baileys_resilience.health.key_ages import CompanyAges, KeyAges, TypeAges
from baileys_resilience.health.monitor.clients import ClientFigure
from baileys_resilience.health.monitor.companies import as_companies
from baileys_resilience.health.monitor.watch import Published

NOW = Moment(0.0, datetime(2026, 1, 31, tzinfo=UTC))


def ages(removable: int, **more: object) -> CompanyAges:
    kinds = {
        "session": TypeAges(10, 4, 0, {"<1d": 6, ">30d": 4}),
        "sender-key": TypeAges(5, 1, removable, {"<1d": 4, ">30d": 1}),
    }
    return CompanyAges(kinds, **more)  # type: ignore[arg-type]


def published(companies: dict[str, CompanyAges], cached: dict[str, float] | None = None) -> Published:
    figures = {
        "keys": (NOW, KeyAges(companies, {}, "2026-01-31T00:00:00Z", True)),
        "client app": (NOW, ClientFigure("app", True, cached=cached)),
    }
    return Published(NOW, figures=figures)


def test_a_company_is_summed_over_its_types() -> None:
    found = as_companies(published({"962301": ages(1, store="files")}), 10)
    assert found["companies"] == [
        {
            "company": "962301", "store": "files", "has_creds": True, "without_database_seconds": None,
            "count": 15, "older": 5, "removable": 1, "ages": {"<1d": 10, ">30d": 5},
        }
    ]  # fmt: skip
    assert found["counted_at"] == "2026-01-31T00:00:00Z"


def test_those_in_trouble_come_first() -> None:
    companies = {"1": ages(0), "2": ages(3), "3": ages(0, has_creds=False), "4": ages(0)}
    found = as_companies(published(companies, {"4": 12.34, "1": 0.0, "5": 99.0}), 10)
    assert [each["company"] for each in found["companies"]] == ["5", "4", "3", "2", "1"]
    assert [each["without_database_seconds"] for each in found["companies"]] == [99.0, 12.3, None, None, 0.0]
    assert found["companies"][0]["count"] is None


def test_more_than_wanted_are_only_counted() -> None:
    found = as_companies(published({str(number): ages(number) for number in range(9)}), 2)
    assert [each["company"] for each in found["companies"]] == ["8", "7"]
    assert (found["total"], found["left_off"]) == (9, 7)


def test_before_the_first_look_there_are_none() -> None:
    assert as_companies(None, 10) == {"counted_at": "", "total": 0, "companies": [], "left_off": 0}
