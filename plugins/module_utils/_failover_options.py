# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The options of session_failover and the library's settings made of them. Apart from _ansible.py, so that the other
modules do not carry the failover along.
"""

from __future__ import annotations

from typing import Any, Dict

from ._ansible import (
    Spec,
    connect_params,
    dataclass_spec,
    ownership_spec,
    postgres_spec,
    state_spec,
    tables_spec,
)
from ._resilience.errors import UsageError
from ._resilience.failover.settings import (
    ApplicationSettings,
    CodeSettings,
    FailoverSettings,
    HealthSettings,
    LoadCheckSettings,
    ServiceSettings,
    settings_from_dict,
)
from ._resilience.notify.settings import NotifySettings

#: option of the module -> name in the library's policy
_POLICY = {
    "confirm": "confirm",
    "operator": "operator",
    "source": "source",
    "max_source_age": "max_source_age_seconds",
    "accept_data_loss": "accept_data_loss",
    "cooldown": "cooldown_seconds",
    "connect_seconds": "connect_seconds",
    "newer_rows": "newer_rows",
    "mode": "mode",
}


def failover_spec() -> Spec:
    return {
        **_settings_spec(),
        **_policy_spec(),
        **postgres_spec(),
        **tables_spec(),
        **ownership_spec(),
        **state_spec(),
    }


def _settings_spec() -> Spec:
    health = dataclass_spec(HealthSettings)
    application = dataclass_spec(
        ApplicationSettings,
        nested={"service": dataclass_spec(ServiceSettings), "health": health, "files_health": health},
    )
    notify = dataclass_spec(NotifySettings, secrets=["sentry_dsn", "telegram_token"])
    return {
        "host": {"type": "str"},
        "companies": {"type": "list", "elements": "str"},
        "other_hosts": {"type": "dict"},
        "replica": {"type": "dict", "options": postgres_spec()},
        "sessions_dir": {"type": "path", "aliases": ["dest"]},
        "directory_template": {"type": "str", "default": "company_{company_id}"},
        "mirror_dir": {"type": "path"},
        "client_dir": {"type": "path"},
        "application": {"type": "dict", "options": application},
        "code": {"type": "dict", "options": dataclass_spec(CodeSettings)},
        "load_check": {"type": "dict", "options": dataclass_spec(LoadCheckSettings)},
        "notify": {"type": "dict", "options": notify},
    }


def _policy_spec() -> Spec:
    return {
        "confirm": {"type": "str"},
        "operator": {"type": "str"},
        "source": {"type": "str", "choices": ["client", "journal", "primary", "replica", "mirror"]},
        "max_source_age": {"type": "float", "default": 600.0},
        "accept_data_loss": {"type": "bool", "default": False},
        "cooldown": {"type": "float", "default": 300.0},
        "connect_seconds": {"type": "float", "default": 3.0},
        "mode": {"type": "str", "choices": ["auto", "live", "restart"], "default": "auto"},
        "newer_rows": {"type": "str", "choices": ["refuse", "overwrite"], "default": "refuse"},
    }


def failover_settings(params: Dict[str, Any]) -> FailoverSettings:
    """The library's settings; what was left out is left to the library's defaults."""
    missing = [name for name in ("host", "companies", "sessions_dir") if not params[name]]
    if missing:
        raise UsageError(
            f"{', '.join(missing)} has to be set",
            operation="read settings",
            hint="set them once for all steps in module_defaults of baileys.resilience.session_failover",
        )
    names = ("host", "companies", "other_hosts", "sessions_dir", "state_dir", "directory_template", "owner", "group")
    content = {name: params[name] for name in (*names, "mirror_dir", "client_dir", "session_tables")}
    content.update({name: _without_none(params[name]) for name in ("application", "code", "load_check", "notify")})
    content["database"] = connect_params(params)
    if params["replica"]:
        content["replica"] = connect_params(params["replica"])
    content["policy"] = {name: params[option] for option, name in _POLICY.items()}
    return settings_from_dict(_without_none(content))


def _without_none(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _without_none(each) for name, each in value.items() if each is not None}
