# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that was cut off, and what happened on the host before somebody came back to it: nothing that a session did
meanwhile is lost, and no step is taken twice.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from baileys_resilience.errors import Busy, ResilienceError, StepFailed, VerificationFailed
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.manifest import MANIFEST_FILE
from tests.support.faults import places
from tests.support.small_host import CutOff, SmallHost, cut_off

MEANWHILE = "met-meanwhile.0"


def old_directory(host: SmallHost, number: int) -> None:
    """Files of an earlier stay, as they lie in the place of whoever has failed over before."""
    host.place(number).mkdir(parents=True)
    (host.place(number) / "creds.json").write_text(f'{{"of": "long ago {number}"}}')


def test_an_undo_behind_the_record_puts_back_the_store_that_was_before_the_first_attempt(
    host: SmallHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_directory(host, 0)
    with cut_off(monkeypatch, "step_done", "record_store", before=True):
        host.operation().run()
    assert host.recorded == {"files"}
    host.say_connection("close")
    with pytest.raises(ResilienceError):
        host.operation().resume()
    assert (host.recorded, host.store) == ({"postgres"}, "postgres")
    assert (host.place(0) / "creds.json").read_text() == '{"of": "long ago 0"}'
    assert not host.place(1).exists()


@pytest.mark.parametrize("step", places(["stop", "export", "verify", "record_store"], ["export", "record_store"]))
def test_what_a_session_did_on_postgres_after_a_reboot_is_not_lost_by_a_resume(
    host: SmallHost, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with cut_off(monkeypatch, "step_done", step):
        host.operation().run()
    host.reboot()
    assert host.store == "postgres"
    host.write_session(0, MEANWHILE)
    with pytest.raises(StepFailed) as caught:
        host.operation().resume()
    assert "was started again after it was stopped, and ran on postgres since" in caught.value.cause
    assert (host.store, host.recorded) == ("postgres", {"postgres"})
    assert host.journal()[-1]["outcome"] == "undone"
    assert host.operation().run().changed
    assert host.store == "files"
    assert host.has_session(0, MEANWHILE, "files")


def test_what_a_session_did_on_files_after_a_reboot_is_not_lost_by_the_resume_of_a_failback(
    host: SmallHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.operation().run()
    with cut_off(monkeypatch, "step_done", "verify"):
        host.operation("failback").run()
    host.reboot()
    assert host.store == "files"
    host.write_session(0, MEANWHILE)
    with pytest.raises(StepFailed, match="ran on files since"):
        host.operation("failback").resume()
    assert (host.store, host.recorded) == ("files", {"files"})
    assert host.has_session(0, MEANWHILE, "files")


def test_a_run_cut_off_before_the_stop_copies_anew_what_was_written_since(
    host: SmallHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cut_off(monkeypatch, "step_done", "stage"):
        host.operation().run()
    host.write_session(0, MEANWHILE)
    host.operation().resume()
    assert host.has_session(0, MEANWHILE, "files")
    steps = [event["step"] for event in host.journal() if event["event"] == "step_done"]
    assert steps[:6] == ["preflight", "choose_source", "stage", "choose_source", "stage", "stop"]


@pytest.mark.parametrize("ending", ["resume", "undo"])
def test_a_death_between_the_swaps_of_two_companies_is_completed_or_taken_back(
    host: SmallHost, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    for number in (0, 1):
        old_directory(host, number)
    swapped: list[str] = []
    swap_in = SessionsHome.swap_in

    def swap_one(self: SessionsHome, company: str, staged: Path, keep_as: Path | None = None) -> Path | None:
        if swapped:
            raise CutOff
        swapped.append(company)
        return swap_in(self, company, staged, keep_as)

    with monkeypatch.context() as patched:
        patched.setattr(SessionsHome, "swap_in", swap_one)
        with pytest.raises(CutOff):
            host.operation().run()
    # Nobody can make the copies again: a resume has to find them where they are.
    host.database.run("UPDATE whatsapp_auth SET creds = 'null'")
    if ending == "resume":
        outcome = host.operation().resume()
        assert outcome.report is not None
        assert all(each["connected"] for each in outcome.report["companies"].values())
        assert host.store == "files"
        assert all((host.place(number) / MANIFEST_FILE).exists() for number in (0, 1))
        return
    host.operation().undo("by a test")
    assert host.store == "postgres"
    for number in (0, 1):
        assert (host.place(number) / "creds.json").read_text() == f'{{"of": "long ago {number}"}}'


def test_an_undo_asks_whether_a_reboot_has_let_the_session_go_on_in_the_files(
    host: SmallHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of a start is in the journal, and of what the manifest knows nothing has changed: a new chat is new."""
    with cut_off(monkeypatch, "step_done", "switch_env"):
        host.operation().run()
    host.reboot()
    assert host.store == "files"
    host.write_session(0, MEANWHILE)
    with pytest.raises(StepFailed, match="has written to files since") as caught:
        host.operation().undo("by a test")
    assert "complete the run with resume" in caught.value.hint
    assert host.store == "files"
    host.operation().resume()
    assert host.has_session(0, MEANWHILE, "files")


def test_an_undo_of_a_reboot_on_files_in_which_nothing_was_written_is_done(
    host: SmallHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cut_off(monkeypatch, "step_done", "switch_env"):
        host.operation().run()
    host.reboot()
    host.operation().undo("by a test")
    assert (host.store, host.recorded) == ("postgres", {"postgres"})
    assert not host.place(0).exists()


def test_a_reboot_in_the_middle_of_an_undo_lets_no_session_lose_what_it_did_in_the_files(
    host: SmallHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flags are not put back yet, so the boot starts the application in the new store once more."""
    with cut_off(monkeypatch, "step_done", "start"):
        host.operation().run()
    with cut_off(monkeypatch, "step_undone", "start"):
        host.operation().undo("by a test")
    assert host.store == "down"
    host.reboot()
    assert host.store == "files"
    host.write_session(0, MEANWHILE)
    with pytest.raises(StepFailed, match="has written to files since"):
        host.operation().undo("by a test")
    assert host.operation().resume().changed
    assert (host.store, host.recorded) == ("files", {"files"})
    assert host.has_session(0, MEANWHILE, "files")


@pytest.mark.parametrize("step", places(["start", "switch_env", "record_store", "export"], ["switch_env", "export"]))
@pytest.mark.parametrize("before", [True, False])
def test_an_undo_that_a_reboot_cut_off_is_completed_where_nothing_was_written_to_the_files(
    host: SmallHost, monkeypatch: pytest.MonkeyPatch, step: str, before: bool
) -> None:
    with cut_off(monkeypatch, "step_done", "start"):
        host.operation().run()
    with cut_off(monkeypatch, "step_undone", step, before=before):
        host.operation().undo("by a test")
    host.reboot()
    on_postgres = host.store == "postgres"
    if on_postgres:  # the flags are put back
        host.write_session(0, MEANWHILE)
    assert host.operation().undo("by a test").changed
    assert (host.store, host.recorded) == ("postgres", {"postgres"})
    assert host.has_session(0, MEANWHILE, "postgres") == on_postgres
    assert not host.place(0).exists()


@pytest.mark.parametrize("accept_data_loss", [False, True])
def test_an_undo_that_cannot_be_judged_leaves_the_application_running(
    host: SmallHost, monkeypatch: pytest.MonkeyPatch, accept_data_loss: bool
) -> None:
    host.operation().run()
    with cut_off(monkeypatch, "step_done", "start"):
        host.operation("failback").run()
    (host.place(0) / MANIFEST_FILE).unlink()
    operation = host.operation("failback", accept_data_loss=accept_data_loss)
    if accept_data_loss:
        assert operation.undo("by a test").changed
        assert host.store == "files"
        return
    with pytest.raises(VerificationFailed) as caught:
        operation.undo("by a test")
    assert "nobody can say whether a session has gone on there" in caught.value.hint
    assert host.store == "postgres"


def test_an_undo_again_says_that_it_is_done_and_changes_nothing(
    host: SmallHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cut_off(monkeypatch, "step_done", "stop"):
        host.operation().run()
    first = host.operation().undo("by a test")
    events = host.journal()
    again = host.operation().undo("by a test")
    assert (first.changed, again.changed) == (True, False)
    assert again.message == first.message.replace("undone:", "undone before:")
    assert again.run == first.run
    assert host.journal() == events


@pytest.mark.parametrize("connection", ["open", "close"])
def test_a_stop_that_is_not_obeyed_ends_in_one_process_and_not_in_two(host: SmallHost, connection: str) -> None:
    (host.folder / "deaf").touch()
    host.stop_seconds = 2.0
    pid = (host.folder / "app.pid").read_text()
    host.say_connection(connection)
    with pytest.raises(ResilienceError) as caught:
        host.operation().run()
    assert (host.folder / "app.pid").read_text() == pid
    if connection == "open":  # the stop had no effect at all
        assert "still runs" in caught.value.cause or "still lives" in caught.value.cause
        assert host.journal()[-1]["outcome"] == "undone"
        return
    assert "was told to stop and still lives" in caught.value.cause
    (host.folder / "deaf").unlink()
    host.end()
    assert host.operation().undo("it has ended").changed
    assert host.store == "postgres"


def test_a_lease_that_a_power_loss_emptied_still_guards_the_open_run(
    host: SmallHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cut_off(monkeypatch, "step_done", "stop"):
        host.operation().run()
    (host.folder / "state" / "active.json").write_text("")
    with pytest.raises(Busy) as caught:
        host.operation().begin()
    assert "failover by test is open since" in str(caught.value).replace(f"{caught.value.subject} ", "")
    assert host.store == "down"
    host.operation().undo("by a test")
    assert host.store == "postgres"


def test_a_journal_whose_last_line_was_torn_can_be_read_after_a_refused_undo(
    host: SmallHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cut_off(monkeypatch, "step_done", "start"):
        host.operation().run()
    host.write_session(0, MEANWHILE)
    newest = max((host.folder / "state" / "runs").iterdir())
    with (newest / "journal.jsonl").open("ab") as stream:
        stream.write(b'{"at": "2026-')
    with pytest.raises(StepFailed, match="has written to files since"):
        host.operation().undo("by a test")
    assert json.loads((newest / "journal.jsonl").read_text().splitlines()[-1])["event"] == "no_return"
    assert host.operation().resume().changed
