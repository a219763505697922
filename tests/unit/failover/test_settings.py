# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings: every wrong name, type and choice is one sentence with the path of what is wrong; secrets stay unseen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from baileys_resilience.errors import ResilienceError, UsageError
from baileys_resilience.failover.settings import settings_from_dict

SECRET = "}X|o<7n?0 '\"$"


def content(**overrides: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "host": "app1",
        "companies": ["962301", "962302"],
        "database": {"host": "db", "password": SECRET},
        "sessions_dir": "/srv/app/baileys_sessions",
        "state_dir": "/var/lib/baileys-resilience",
    }
    return {**plain, **overrides}


def test_what_a_role_writes_is_read_with_all_defaults() -> None:
    settings = settings_from_dict(content(replica={}, notify=None, session_tables=None))
    assert settings.companies == ("962301", "962302")
    assert settings.replica is None
    assert settings.policy.max_source_age_seconds == 600
    assert settings.policy.cooldown_seconds == 300
    assert settings.application.files_env["USE_DATABASE_AUTH_STATE"] == "false"


def test_numbers_and_booleans_of_yaml_become_the_words_that_are_meant() -> None:
    settings = settings_from_dict(
        content(
            companies=[962301],
            other_hosts={"app2": [962302], "app3": None},
            policy={"cooldown_seconds": "7", "accept_data_loss": True},
            application={"postgres_env": {"USE_REPOSITORY_PATTERN": True, "POOL": 5}, "service": {"pm2": ["node", 7]}},
        )
    )
    assert settings.companies == ("962301",)
    assert settings.other_hosts == {"app2": ("962302",), "app3": ()}
    assert (settings.policy.cooldown_seconds, settings.policy.accept_data_loss) == (7.0, True)
    assert settings.application.postgres_env == {"USE_REPOSITORY_PATTERN": "true", "POOL": "5"}
    assert settings.application.service.pm2 == ("node", "7")


def test_files_mode_is_asked_in_its_own_way_where_one_is_given() -> None:
    log = {"kind": "log", "log_file": "/var/log/app.log"}
    application = settings_from_dict(content(application={"files_health": log})).application
    assert application.health_on("files").kind == "log"
    assert application.health_on("postgres").kind == "url"
    assert settings_from_dict(content()).application.health_on("files").kind == "url"


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"hots": "x"}, "settings", "unknown name hots"),
    ({"database": {"hostname": "x"}}, "database", "unknown name hostname"),
    ({"replica": {"prot": 1}}, "replica", "unknown name prot"),
    ({"application": {"servcie": {}}}, "settings.application", "unknown name servcie"),
    ({"application": {"service": {"nmae": 1}}}, "settings.application.service", "unknown name nmae"),
    ({"application": {"files_health": {"knd": 1}}}, "settings.application.files_health", "unknown name knd"),
    ({"session_tables": {"kyes": {}}}, "session_tables", "kyes"),
    ({"database": {"port": "many"}}, "database.port", "many"),
    ({"database": "db:5432"}, "database", "names with values expected"),
    ({"replica": ["db"]}, "replica", "names with values expected"),
    ({"application": "/srv/app"}, "settings.application", "names with values expected"),
    ({"application": {"health": 7}}, "settings.application.health", "names with values expected"),
    ({"application": {"postgres_env": ["A=1"]}}, "settings.application.postgres_env", "names with values expected"),
    ({"session_tables": "whatsapp"}, "session_tables", "names with values expected"),
    ({"session_tables": {"keys": "whatsapp_keys"}}, "session_tables.keys", "names with values expected"),
    ({"companies": "962301"}, "settings.companies", "a list of words expected"),
    ({"companies": 962301}, "settings.companies", "a list of words expected"),
    ({"other_hosts": {"app2": "962301"}}, "settings.other_hosts.app2", "a list of words expected"),
    ({"other_hosts": ["app2"]}, "settings.other_hosts", "names with values expected"),
    ({"code": {"install": "npm ci"}}, "settings.code.install", "a list of words expected"),
    ({"application": {"service": {"stop": "kill 1"}}}, "settings.application.service.stop", "a list of words"),
    ({"application": {"dir": ["/srv"]}}, "settings.application.dir", "a single word expected"),
    ({"policy": {"max_source_age_seconds": "soon"}}, "settings.policy.max_source_age_seconds", "soon"),
    ({"policy": {"accept_data_loss": "yes"}}, "settings.policy.accept_data_loss", "true or false expected"),
    ({"policy": {"newer_rows": "merge"}}, "policy.newer_rows", "'merge' is not possible"),
    ({"policy": {"source": "backup"}}, "policy.source", "'backup' is not possible"),
    ({"code": {"source": "git"}}, "code.source", "'git' is not possible"),
    ({"application": {"service": {"manager": "upstart"}}}, "application.service.manager", "'upstart' is not possible"),
    ({"application": {"health": {"kind": "ping"}}}, "application.health.kind", "'ping' is not possible"),
    ({"application": {"files_health": {"kind": "ping"}}}, "application.files_health.kind", "'ping' is not possible"),
    ({"companies": []}, "session_companies of app1", "no companies are named"),
    ({"other_hosts": {"app2": ["962302"]}}, "session_companies of app1", "company 962302 is also on the list of app2"),
]


@pytest.mark.parametrize(("wrong", "path", "cause"), WRONG, ids=[str(each[0])[:60] for each in WRONG])
def test_a_wrong_setting_is_one_sentence_with_its_path_and_a_hint(wrong: dict[str, Any], path: str, cause: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings_from_dict(content(**wrong))
    assert caught.value.subject == path
    assert cause in caught.value.cause
    assert caught.value.hint
    assert SECRET not in str(caught.value)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("name", ["host", "sessions_dir", "state_dir"])
def test_a_missing_setting_is_named(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings_from_dict({key: value for key, value in content().items() if key != name})
    assert name in caught.value.cause


@pytest.mark.parametrize("whole", [["host"], "host", 7])
def test_settings_that_are_no_settings_are_refused(whole: Any) -> None:
    with pytest.raises(ResilienceError) as caught:
        settings_from_dict(whole)
    assert "names with values expected" in caught.value.cause


def test_the_own_name_on_the_list_of_hosts_is_no_contradiction() -> None:
    assert settings_from_dict(content(other_hosts={"app1": ["962301"], "app2": ["1"]})).companies[0] == "962301"


def test_no_secret_is_in_the_repr_of_settings() -> None:
    notify = {"sentry_dsn": "https://geheim@sentry.io/1", "telegram_token": "123:geheim", "telegram_chat_id": "9"}
    settings = settings_from_dict(content(notify=notify, replica={"host": "r", "password": SECRET}))
    shown = repr(settings)
    assert SECRET not in shown
    assert repr(SECRET)[1:-1] not in shown
    assert "geheim" not in shown


@pytest.mark.parametrize(
    ("health", "missing"),
    [
        ({"kind": "command"}, "command"),
        ({"kind": "log", "log_file": "/var/log/app.log", "log_pattern": "open"}, "log_pattern"),
        ({"kind": "log"}, "log_file"),
    ],
)
def test_a_way_of_asking_that_can_never_answer_is_refused_before_anything_is_stopped(
    health: dict[str, str], missing: str
) -> None:
    content = {"host": "a", "companies": ["1"], "database": {}, "sessions_dir": "/s", "state_dir": "/t"}
    application = {"service": {"manager": "systemd"}, "files_health": health}
    with pytest.raises(UsageError) as caught:
        settings_from_dict({**content, "application": application})
    assert caught.value.subject == f"application.files_health.{missing}"


LOG = {"kind": "log", "log_file": "/var/log/app.log"}


@pytest.mark.parametrize(
    ("health", "refused"),
    [
        ({"health": LOG}, True),
        ({"health": {"kind": "url"}, "files_health": LOG}, True),
        (
            {"health": LOG, "files_health": {**LOG, "log_pattern": "company {company_id} connection open (files)"}},
            False,
        ),
        ({"health": {"kind": "url"}, "files_health": {"kind": "command", "command": ["ask"]}}, False),
    ],
)
@pytest.mark.parametrize("manager", ["argv", "pm2"])
def test_commands_of_ones_own_and_a_log_that_says_the_same_on_both_stores_are_refused(
    health: dict[str, Any], refused: bool, manager: str
) -> None:
    """Nobody could tell an application that is still on PostgreSQL from one that has moved."""
    application = {"service": {"manager": manager}, **health}
    if not refused or manager == "pm2":
        settings_from_dict(content(application=application))
        return
    with pytest.raises(UsageError) as caught:
        settings_from_dict(content(application=application))
    assert "nobody can tell which store the application uses" in caught.value.cause
    assert "set health.kind to url or command" in caught.value.hint


def test_one_patience_bounds_connecting_to_every_database() -> None:
    given = {"policy": {"connect_seconds": 7}, "database": {"connect_timeout_seconds": 30}, "replica": {"host": "r"}}
    made = settings_from_dict(content(**given))
    assert made.replica is not None
    assert (made.database.libpq()["connect_timeout"], made.replica.libpq()["connect_timeout"]) == (7, 7)
    hurried = replace(made, policy=replace(made.policy, connect_seconds=3.0))
    assert hurried.database.libpq()["connect_timeout"] == 3


@pytest.mark.parametrize("kind", ["backup", "newest"])
def test_a_source_that_is_not_built_yet_cannot_be_pinned_and_the_hint_says_so(kind: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings_from_dict(content(policy={"source": kind}))
    assert "choose one of client, journal, primary, replica, mirror; " in caught.value.hint
    assert "backups of ours are no source yet" in caught.value.hint
