# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role session_client in an application's directory, without root: check, apply, check, apply, and away again."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import nodejs
from tests.support.playbooks import Ansible, Played

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "session_client"
DOTENV = "# of the application\nPOSTGRES_PASSWORD='}X|o<7n?0'\nUSE_DATABASE_AUTH_STATE=true\n"


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, Any]:
    node, npm = nodejs.find()
    app = tmp_path / "app"
    baileys = app / "node_modules" / "baileys"
    baileys.mkdir(parents=True)
    (baileys / "package.json").write_text(json.dumps({"name": "baileys", "version": "7.0.0-rc14"}))
    (app / ".env").write_text(DOTENV)
    (app / ".env").chmod(0o600)
    return {
        "baileys_resilience_app_dir": str(app),
        "baileys_resilience_client_dir": str(tmp_path / "data"),
        "baileys_resilience_node": node,
        "session_client_npm": [node, npm],
        "session_client_logrotate_file": str(tmp_path / "rotation"),
    }


def play(ansible: Ansible, variables: dict[str, Any], *arguments: str) -> Played:
    return ansible.playbook([{"roles": ["baileys.resilience.session_client"]}], *arguments, variables=variables)


def changed(played: Played) -> int:
    assert played.returncode == 0, played.output
    found = re.search(r"changed=(\d+)", played.output)
    assert found, played.output
    return int(found[1])


def settings(app: Path) -> dict[str, str]:
    lines = (app / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line.startswith("WA_SESSION"))


def refused(played: Played) -> str:
    assert played.returncode != 0, played.output
    return " ".join(played.output.split())


def test_every_default_has_a_typed_and_described_option_with_the_same_default() -> None:
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    options = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert list(options) == list(defaults)
    for name, option in options.items():
        assert {"type", "description"} <= set(option), name
        assert option["default"] == defaults[name], name


# Each file of the package is a transfer of its own, so one test plays the whole life of an installation.
@pytest.mark.timeout(900)
def test_check_apply_check_apply_and_away_again(ansible: Ansible, variables: dict[str, Any], tmp_path: Path) -> None:
    app, package = tmp_path / "app", tmp_path / "app" / "vendor" / "session-client"
    assert changed(play(ansible, variables, "--check")) > 0
    assert not package.exists()
    assert (app / ".env").read_text() == DOTENV
    assert changed(play(ansible, variables)) > 0
    expect_installed(variables, package, app, tmp_path / "data")
    assert changed(play(ansible, variables, "--check")) == 0

    # Of an older version: its packages go only when npm has the new ones.
    (package / "node_modules" / ".installed-lock.json").write_text("older\n")
    (package / "src" / "session.js").unlink()
    (package / "src" / "of-older.js").write_text("")
    (package / "bin" / "health-check.js").chmod(0o600)
    assert "npm error" in refused(
        play(
            ansible,
            {
                **variables,
                "session_client_npm_extra_args": [
                    "--registry=http://[::1]:9",
                    "--fetch-retries=0",
                    f"--cache={tmp_path}",
                ],
            },
        )
    )
    assert (package / "node_modules" / "pg" / "package.json").exists()
    assert changed(play(ansible, variables)) > 0
    assert not (package / "src" / "of-older.js").exists()
    assert not (package / ".staged").exists()
    expect_installed(variables, package, app, tmp_path / "data")
    assert changed(play(ansible, variables)) == 0

    more = {"session_client_admin_port": 9464, "session_client_admin_token": "a-token-of-this-test"}
    played = play(ansible, {**variables, **more, "session_client_log_files": [str(tmp_path / "out put.log")]}, "-v")
    assert changed(played) > 0
    assert "a-token-of-this-test" not in played.output
    assert settings(app)["WA_SESSION_ADMIN_PORT"] == "9464"
    assert settings(app)["WA_SESSION_ADMIN_TOKEN"] == "a-token-of-this-test"
    rotation = Path(variables["session_client_logrotate_file"])
    assert f'"{tmp_path}/out put.log" {{' in rotation.read_text()
    assert changed(play(ansible, variables)) > 0
    assert not rotation.exists()
    assert not {name for name in settings(app) if name.startswith("WA_SESSION_ADMIN")}

    journal = tmp_path / "data" / "962301.journal"
    journal.write_text("kept\n")
    away = {**variables, "session_client_state": "absent"}
    assert "962301.journal" in refused(play(ansible, {**away, "session_client_purge": True}))
    assert changed(play(ansible, away)) > 0
    assert changed(play(ansible, away)) == 0
    assert (app / ".env").read_text() == DOTENV
    assert not package.exists()
    assert journal.exists()
    journal.unlink()
    assert changed(play(ansible, {**away, "session_client_purge": True})) > 0
    assert not (tmp_path / "data").exists()
    assert not package.parent.exists()


def expect_installed(variables: dict[str, Any], package: Path, app: Path, data: Path) -> None:
    assert (app / ".env").read_text().startswith(DOTENV)
    assert f"WA_SESSION_DIR={data}\n" in (app / ".env").read_text()
    assert (app / ".env").stat().st_mode & 0o777 == 0o600
    assert data.stat().st_mode & 0o777 == 0o700
    sources = ROLE / "files" / "client"
    for folder in ("bin", "src"):
        wanted = {path.relative_to(sources): path.read_bytes() for path in (sources / folder).rglob("*.js")}
        assert {path.relative_to(package): path.read_bytes() for path in (package / folder).rglob("*")} == wanted
    assert {path.stat().st_mode & 0o777 for path in (package / "src").iterdir()} == {0o644}
    program = "const m = await import('./src/index.js'); console.log(typeof m.usePostgresAuthState)"
    run = subprocess.run(
        [variables["baileys_resilience_node"], "--input-type=module", "-e", program],
        cwd=package, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (run.stdout, run.stderr) == ("function\n", "")
    assert {"pg", "prom-client"} <= {path.name for path in (package / "node_modules").iterdir()}


@pytest.mark.parametrize(
    ("version", "sentence"),
    [("6.6.0", "The application has Baileys 6.6.0"), ("", "node_modules holds no Baileys")],
)
def test_an_application_that_it_does_not_know_is_refused(
    ansible: Ansible, variables: dict[str, Any], tmp_path: Path, version: str, sentence: str
) -> None:
    package = tmp_path / "app" / "node_modules" / "baileys" / "package.json"
    if version:
        package.write_text(json.dumps({"version": version}))
    else:
        package.unlink()
    assert sentence in refused(play(ansible, variables))
    assert not (tmp_path / "app" / "vendor").exists()


def test_a_port_without_a_token_is_refused(ansible: Ansible, variables: dict[str, Any], tmp_path: Path) -> None:
    for token in ({}, {"session_client_admin_token": "short"}):
        said = refused(play(ansible, {**variables, "session_client_admin_port": 9464, **token}))
        assert "session_client_admin_port needs session_client_admin_token" in said
    assert not (tmp_path / "app" / "vendor").exists()


def test_a_user_or_an_npm_that_is_not_there_is_refused(
    ansible: Ansible, variables: dict[str, Any], tmp_path: Path
) -> None:
    said = refused(play(ansible, {**variables, "baileys_resilience_app_user": "nobody-here"}))
    assert "This host has no user nobody-here. HINT: set baileys_resilience_app_user" in said
    said = refused(play(ansible, {**variables, "session_client_npm": ["/no/such/npm"]}))
    assert "/no/such/npm cannot be run by" in said
    assert "HINT: set session_client_npm" in said
    assert not (tmp_path / "app" / "vendor").exists()
    assert not (tmp_path / "data").exists()


def test_an_application_without_dotenv_or_with_an_old_node_is_refused(
    ansible: Ansible, variables: dict[str, Any], tmp_path: Path
) -> None:
    old = tmp_path / "node"
    old.write_text("#!/bin/sh\necho v18.19.0\n")  # stands for an old Node.js, which no registry here has
    old.chmod(0o755)
    assert "needs 20 or newer" in refused(play(ansible, {**variables, "baileys_resilience_node": str(old)}))
    (tmp_path / "app" / ".env").unlink()
    assert ".env does not exist. HINT" in refused(play(ansible, variables))
