# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory that lets the playbooks run against a lab. Change `variables()` when a role's variables change."""

from __future__ import annotations

import sys
from typing import Any

import yaml

from .state import PROJECT, LabState, write_private

HOST = "lab-app"


def variables(state: LabState) -> dict[str, Any]:
    """What an operator knows once, for this lab. No toolkit is installed here: the project's own Python has all."""
    server, receivers = state.need_postgres(), state.need_receivers()
    known: dict[str, Any] = {
        "session_companies": [company.id for company in state.companies],
        "baileys_resilience_login_host": server.host,
        "baileys_resilience_login_port": server.proxy_port,
        "baileys_resilience_login_db": server.database,
        "baileys_resilience_login_user": server.user,
        "baileys_resilience_login_password": server.password,
        "baileys_resilience_ssl_mode": "disable",
        "baileys_resilience_mirror_dir": state.mirror_dir,
        "baileys_resilience_state_dir": state.state_dir,
        "baileys_resilience_config_file": str(state.path / "failover.json"),
        "baileys_resilience_python": _python(),
        "baileys_resilience_command": [_python(), "-m", "baileys_resilience.cli"],
        "baileys_resilience_load_check_script": str(PROJECT / "roles" / "toolkit" / "files" / "load_check.mjs"),
        "baileys_resilience_sentry_dsn": receivers.sentry_dsn,
        "baileys_resilience_telegram_api_url": receivers.telegram_api_url,
        "baileys_resilience_telegram_token": receivers.telegram_token,
        "baileys_resilience_telegram_chat_id": receivers.telegram_chat_id,
        "baileys_resilience_environment": "lab",
        # A lab puts no job into the cron or systemd of its machine; its tests run the check themselves.
        "failover_prepare_schedule": "",
    }
    if state.client_dir:
        known["baileys_resilience_client_dir"] = state.client_dir
    if state.app is not None:
        known.update(_application(state))
    return known


def _application(state: LabState) -> dict[str, Any]:
    app = state.need_app()
    return {
        "baileys_resilience_app_dir": app.dir,
        "baileys_resilience_app_env_file": app.env_file,
        "baileys_resilience_app_sessions_dir": app.sessions_dir,
        "baileys_resilience_app_health_url": app.health_url,
        "baileys_resilience_app_name": app.pm2_name,
        "baileys_resilience_app_pm2": [state.node, app.pm2_bin],
        "baileys_resilience_app_pm2_home": app.pm2_home,
        "baileys_resilience_node": state.node,
        # What runs on the session client runs on both stores.
        "baileys_resilience_code_source": "none" if state.client_dir else "archive",
        "baileys_resilience_code_install": [state.node, state.npm_cli, "ci", "--omit=dev", "--prefer-offline"],
        "baileys_resilience_code_tag": app.tag,
    }


def _python() -> str:
    python = PROJECT / ".venv" / "bin" / "python"
    return str(python if python.exists() else sys.executable)


def write(state: LabState, host_name: str = HOST, **more: Any) -> None:
    """Write `<lab>/inventory.yml`: one host, reached locally as the user that started the lab. `more` are variables
    that differ from `variables()` or are not among them.
    """
    host = {
        "ansible_connection": "local",
        "ansible_become": False,
        "ansible_python_interpreter": _python(),
        **{name: _unsafe(value) for name, value in {**variables(state), **more}.items()},
    }
    text = yaml.dump({"all": {"hosts": {host_name: host}}}, Dumper=_Dumper, sort_keys=False, default_flow_style=False)
    write_private(state.path / "inventory.yml", "# Made by `lab up`; holds the lab's passwords.\n" + text)


class _Unsafe(str):
    """A value that Ansible must not read as a template, such as a password with braces."""


class _Dumper(yaml.SafeDumper):  # type: ignore[misc,unused-ignore]  # PyYAML may come without stubs
    pass


_Dumper.add_representer(_Unsafe, lambda dumper, value: dumper.represent_scalar("!unsafe", str(value), style="'"))


def _unsafe(value: Any) -> Any:
    return _Unsafe(value) if isinstance(value, str) and ("{" in value or "}" in value) else value
