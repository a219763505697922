# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A move of running sessions in which the client refuses, dies or hangs, or its hold ends before the run comes back:
the run goes on, and every later message decrypts.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from baileys_resilience.errors import ApplicationError, ResilienceError, StepFailed
from baileys_resilience.failover import live, live_steps
from baileys_resilience.failover.client_memory import sessions
from baileys_resilience.failover.context import FailoverContext
from baileys_resilience.failover.live import LIVE, RESTART
from baileys_resilience.sessions.published import reconcile
from baileys_resilience.sessions.record import StoreRecord
from lab import Lab, processes
from tests.integration.client.test_failover_in_an_outage import talk
from tests.integration.client.test_live import health, host, logins, mode_of, run_until
from tests.integration.failover.host import Host
from tests.integration.failover.test_moves import newest_report
from tests.support.faults import places
from tests.support.small_host import CutOff, cut_off

__all__ = ["host"]


def on_files(host: Host, lab: Lab, text: str) -> None:
    """The run is done, and the sessions go on where it says."""
    assert newest_report(host)["outcome"] == "done", newest_report(host)
    lab.wait_open()
    assert health(lab) == {("open", "files")}
    talk(lab, text)
    lab.heal()
    assert host.failback().changed


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("commits", [0, 1])
def test_a_client_that_dies_or_hangs_before_a_commit_goes_on_in_the_new_store(
    host: Host, lab: Lab, monkeypatch: pytest.MonkeyPatch, commits: int, how: signal.Signals
) -> None:
    commit = live_steps.commit
    asked: list[str] = []

    def then_end(context: FailoverContext, company: str) -> None:
        if len(asked) == commits:
            if commits:
                talk_to_first(lab, how)
            os.kill(host.pid(), how)
        asked.append(company)
        commit(context, company)

    lab.break_("postgres-kill")
    talk(lab, f"in the outage before {how.name}")
    with monkeypatch.context() as patched:
        patched.setattr(live_steps, "commit", then_end)
        outcome = host.failover()
    assert mode_of(outcome) == ("done", LIVE)
    assert outcome.report is not None
    assert any("was started anew on files" in each for each in outcome.report["degraded"])
    on_files(host, lab, f"after {how.name} behind {commits} commits")


def test_one_that_went_on_in_the_old_store_before_env_was_switched_stays_there(host: Host, lab: Lab) -> None:
    lab.break_("postgres-kill")
    talk(lab, "in the outage, sealed soon")
    run_until(host, "record_store")
    os.kill(host.pid(), signal.SIGKILL)
    lab.wait_open()
    talk(lab, "in the next process, sealed by nobody")
    for step in ("switch_code", "switch_env"):
        host.operation().step(step)
    with pytest.raises(ApplicationError, match="is not held any more: it runs on postgres"):
        host.operation().step("start")
    host.operation().undo("a test")
    lab.wait_open()
    talk(lab, "taken back")


def talk_to_first(lab: Lab, how: signal.Signals) -> None:
    """Its ratchets have moved in the new store when the process ends."""
    assert lab.message(lab.companies[0].id, f"on files before {how.name}") == "delivered"


def held(lab: Lab) -> bool:
    return any(each.get("hold") for each in sessions(lab.client_dir).values())


@pytest.mark.parametrize("last", places(["stop", "export", "verify"], ["export"]))
def test_a_hold_that_ended_before_the_run_came_back_is_made_again(
    host: Host, lab: Lab, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    """What was copied under the first one is not the session any more: it has written since."""
    before, pid = logins(lab), host.pid()
    with monkeypatch.context() as patched:
        patched.setattr(live, "_HOLD_SECONDS", 2.0)
        run_until(host, last)
    processes.wait_until(lambda: not held(lab), "the hold ends by itself", 20)
    talk(lab, f"behind the first hold, {last}")
    outcome = host.operation().resume()
    assert mode_of(outcome) == ("done", LIVE)
    assert (logins(lab), host.pid()) == (before, pid)
    on_files(host, lab, f"behind the second hold, {last}")
    assert not host.place.exists()


@pytest.mark.parametrize("last", places(["stop", "import", "verify"], ["import"]))
def test_one_that_ended_on_the_way_back_is_made_again_too(
    host: Host, lab: Lab, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    """What was imported under the first one was no second writer."""
    before, pid = logins(lab), host.pid()
    host.failover()
    with monkeypatch.context() as patched:
        patched.setattr(live, "_HOLD_SECONDS", 3.0)
        run_until(host, last, "failback")
    processes.wait_until(lambda: not held(lab), "the hold ends by itself", 20)
    talk(lab, f"on files behind the first hold, {last}")
    assert mode_of(host.operation("failback").resume()) == ("done", LIVE)
    assert (logins(lab), host.pid(), health(lab)) == (before, pid, {("open", "postgres")})
    assert not host.place.exists()


@pytest.mark.parametrize("last", places(["stop", "export"], ["export"]))
def test_one_that_ended_with_its_process_is_made_again(host: Host, lab: Lab, last: str) -> None:
    lab.break_("postgres-kill")
    talk(lab, f"in the outage before {last}")
    run_until(host, last)
    os.kill(host.pid(), signal.SIGKILL)
    lab.wait_open()
    talk(lab, f"in the next process, {last}")
    assert mode_of(host.operation().resume()) == ("done", LIVE)
    on_files(host, lab, f"behind the second hold, {last}")


def test_an_undo_behind_a_second_hold_leaves_nothing_in_the_files(
    host: Host, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(live, "_HOLD_SECONDS", 2.0)
        run_until(host, "export")
    processes.wait_until(lambda: not held(lab), "the hold ends by itself", 20)
    with cut_off(monkeypatch, "step_done", "export"):
        host.operation().resume()
    host.operation().undo("a test")
    assert health(lab) == {("open", "postgres")}
    assert not host.place.exists()


@pytest.mark.parametrize("operation", ["failover", "failback"])
def test_a_hold_that_ends_before_it_is_sealed_lets_the_application_be_restarted(
    host: Host, lab: Lab, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    if operation == "failback":
        host.failover()
    with monkeypatch.context() as patched:
        patched.setattr(live, "_HOLD_SECONDS", 0.001)
        outcome = host.operation(operation).run()
    assert mode_of(outcome) == ("done", RESTART)
    assert outcome.report is not None
    assert "expired" in outcome.report["why_not_live"]
    assert "the application was restarted: " in outcome.markdown
    if operation == "failover":
        on_files(host, lab, "restarted instead")


def test_it_is_restarted_by_the_process_that_goes_on_by_itself_too(
    host: Host, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under the role, where each step is a task: those behind the stop are done in a process of their own."""
    with monkeypatch.context() as patched:
        patched.setattr(live, "_HOLD_SECONDS", 0.001)
        host.operation().begin()
        for step in host.operation().step_names:
            host.operation().step(step, detached=True)
    assert mode_of(host.operation().finish()) == ("done", RESTART)
    on_files(host, lab, "restarted instead, by task")


def test_a_hold_that_is_refused_does_too_unless_the_operator_asked_for_nothing_else(
    host: Host, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = live_steps.hold

    def second_refused(context: FailoverContext, company: str) -> Any:
        if company == lab.companies[1].id:
            raise ApplicationError("its socket is congested")
        return hold(context, company)

    before, pid = logins(lab), host.pid()
    lab.break_("postgres-kill")
    talk(lab, "in the outage")
    with monkeypatch.context() as patched:
        patched.setattr(live_steps, "hold", second_refused)
        with pytest.raises(ResilienceError, match="Everything was taken back"):
            host.failover(policy={"mode": "live"})
        assert (logins(lab), host.pid(), host.place.exists()) == (before, pid, False)
        talk(lab, "taken back")
        outcome = host.failover()
    assert mode_of(outcome) == ("done", RESTART)
    on_files(host, lab, "restarted instead")


def test_an_undo_sees_that_a_session_went_over_although_nobody_wrote_it_down(
    host: Host, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cut_off(monkeypatch, "no_return", "start", before=True):
        host.failover()
    assert lab.message(lab.companies[0].id, "on files, and no line says so") == "delivered"
    with pytest.raises(StepFailed, match="has written to files since"):
        host.operation().undo("a test")
    host.operation().resume()
    on_files(host, lab, "resumed")


def test_an_undo_sees_that_what_was_written_in_the_outage_is_nowhere_else(
    host: Host, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was written to the files yet. But the journal went when the session did."""
    lab.break_("postgres-kill")
    talk(lab, "in the outage, then nothing")
    with cut_off(monkeypatch, "no_return", "start", before=True):
        host.failover()
    with pytest.raises(StepFailed, match="has in files alone what it wrote while the database was away"):
        host.operation().undo("a test")
    host.operation().resume()
    on_files(host, lab, "resumed with all of it")


def test_an_undo_goes_back_to_a_journal_that_is_still_there(
    host: Host, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_context: FailoverContext, _company: str) -> None:
        raise CutOff

    lab.break_("postgres-kill")
    talk(lab, "in the outage, and no commit")
    with monkeypatch.context() as patched:
        patched.setattr(live_steps, "commit", die)
        with pytest.raises(CutOff):
            host.failover()
    back_on_postgres(host, lab)


def test_an_undo_goes_back_to_a_database_that_was_never_away(
    host: Host, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cut_off(monkeypatch, "no_return", "start", before=True):
        host.failover()
    back_on_postgres(host, lab)


def back_on_postgres(host: Host, lab: Lab) -> None:
    host.operation().undo("a test")
    lab.wait_open()
    assert health(lab) == {("open", "postgres")}
    talk(lab, "taken back")


@pytest.mark.parametrize("mode", ["auto", "restart"])
def test_what_was_written_in_an_outage_outlives_a_move_that_was_told_and_taken_back(
    host: Host, lab: Lab, mode: str
) -> None:
    """Only the application is cut off from its database: epochs grow there, and the journal is of before."""
    connected = Host(
        lab,
        mirror_dir=lab.mirror_dir,
        code={"source": "none"},
        database={"port": lab.need_postgres().direct_port},
        policy={"mode": mode},
    )
    lab.break_("network-reset")
    talk(lab, f"in the outage of the application alone, {mode}")
    run_until(connected, "record_store")
    connected.operation().undo("a test")
    os.kill(host.pid(), signal.SIGKILL)
    lab.wait_open()
    lab.heal()
    processes.wait_until(lambda: states(lab) == {"online"}, "the outage is over", 20)
    talk(lab, f"taken back, {mode}")


def states(lab: Lab) -> set[str]:
    return {str(each["state"]) for each in sessions(lab.client_dir).values()}


def test_what_was_taken_back_while_the_database_was_away_again_is_told_there_later(host: Host, lab: Lab) -> None:
    """Until the mirror's service has told it, PostgreSQL says files: the client must not lose its journal by that."""
    settings = host.settings()
    run_until(Host(lab, mirror_dir=lab.mirror_dir, code={"source": "none"}, policy={"mode": "restart"}), "record_store")
    lab.break_("postgres-kill")
    host.operation().undo("a test")
    lab.wait_open()
    talk(lab, "taken back, and the database is away")
    lab.heal()
    processes.wait_until(lambda: not states(lab), "its client has seen what PostgreSQL says", 20)
    reconcile(StoreRecord(settings.state), settings.database, settings.host, settings.companies)
    processes.wait_until(lambda: states(lab) == {"online"}, "the sessions are open again", 20)
    lab.wait_open()
    talk(lab, "told")
