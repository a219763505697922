# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The only file that knows Ansible: shared argument specs, what the library wants made of parameters, and typed errors
turned into results.

A module is thin: documentation, argument spec, one call into the library, one exit.
"""

from __future__ import annotations

import contextlib
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NoReturn, Optional, Sequence

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ._resilience._thirdparty import PACKAGES
from ._resilience.errors import ResilienceError, StoreError, ToolMissing, UsageError
from ._resilience.files import resolve_owner
from ._resilience.postgres import ConnectParams
from ._resilience.sessions.directory_store import SessionsHome
from ._resilience.sessions.manifest import Manifest
from ._resilience.sessions.model import (
    DEFAULT_DIRECTORY_TEMPLATE,
    AuthTable,
    KeysTable,
    SessionSource,
    SourceInfo,
    TableMapping,
    directory_name,
)
from ._resilience.sessions.record import StoreRecord

Spec = Dict[str, Any]

DEFAULT_STATE_DIR = "/var/lib/baileys-resilience"

#: refused in connect_params: Ansible writes every option that is not marked as secret to the host's log
_SECRET_CONNECT_PARAMS = ("password", "sslpassword", "oauth_client_secret")


def postgres_spec() -> Spec:
    """The options of one database, named as community.postgresql names them."""
    return {
        "login_host": {"type": "str", "default": "localhost"},
        "login_port": {"type": "int", "default": 5432},
        "login_user": {"type": "str", "default": "postgres"},
        "login_password": {"type": "str", "default": "", "no_log": True},
        "login_db": {"type": "str", "default": "postgres"},
        "ssl_mode": {
            "type": "str",
            "default": "prefer",
            "choices": ["allow", "disable", "prefer", "require", "verify-ca", "verify-full"],
        },
        "ca_cert": {"type": "path", "aliases": ["ssl_rootcert"]},
        "connect_params": {"type": "dict", "default": {}},
    }


def tables_spec() -> Spec:
    """Which tables and columns hold the sessions; the defaults are the library's."""
    auth, keys = AuthTable(), KeysTable()
    names = {
        "auth": {name: {"type": "str", "default": default} for name, default in vars(auth).items()},
        "keys": {name: {"type": "str", "default": default} for name, default in vars(keys).items()},
    }
    return {
        "session_tables": {
            "type": "dict",
            "options": {
                "auth": {"type": "dict", "options": names["auth"]},
                "keys": {"type": "dict", "options": names["keys"], "no_log": False},
            },
        }
    }


def companies_spec() -> Spec:
    return {
        "companies": {"type": "list", "elements": "str"},
        "directory_template": {"type": "str", "default": DEFAULT_DIRECTORY_TEMPLATE},
    }


def ownership_spec() -> Spec:
    return {"owner": {"type": "str"}, "group": {"type": "str"}}


def state_spec() -> Spec:
    return {"state_dir": {"type": "path", "default": DEFAULT_STATE_DIR}}


def dataclass_spec(kind: Any, *, secrets: Sequence[str] = (), nested: Optional[Mapping[str, Spec]] = None) -> Spec:
    """Suboptions for a settings class of the library, so that names and defaults have one home. An empty text or list
    is no default here: the option is simply left out.
    """
    spec: Spec = {}
    for each in fields(kind):
        if nested and each.name in nested:
            spec[each.name] = {"type": "dict", "options": nested[each.name]}
            continue
        default = each.default_factory() if each.default_factory is not MISSING else each.default
        option: Spec = {"type": _OPTION_TYPES[type(default)]}
        if isinstance(default, tuple):
            option["elements"] = "str"
        if default not in ("", ()):
            option["default"] = list(default) if isinstance(default, tuple) else default
        if each.name in secrets:
            option["no_log"] = True
        spec[each.name] = option
    return spec


_OPTION_TYPES = {str: "str", int: "int", float: "float", bool: "bool", tuple: "list", dict: "dict"}


def connect_params(params: Mapping[str, Any]) -> ConnectParams:
    """Where to connect. Raises UsageError for a secret in connect_params."""
    extra = {name: str(value) for name, value in (params["connect_params"] or {}).items()}
    for name in _SECRET_CONNECT_PARAMS:
        if name in extra:
            raise UsageError(
                f"{name} must not be in connect_params, which may be logged",
                operation="read",
                subject="connect_params",
                hint="set login_password, or name a passfile in connect_params",
            )
    return ConnectParams(
        host=params["login_host"],
        port=params["login_port"],
        dbname=params["login_db"],
        user=params["login_user"],
        password=params["login_password"] or "",
        ssl_mode=params["ssl_mode"],
        ca_cert=params["ca_cert"] or "",
        extra=extra,
    )


def table_mapping(params: Mapping[str, Any]) -> TableMapping:
    return TableMapping.from_option(params["session_tables"])


def sessions_home(params: Mapping[str, Any], path: str) -> SessionsHome:
    """The sessions' home at ``path``. Raises UsageError for an unknown owner or group, or an unusable template."""
    directory_name(params["directory_template"], "1")
    owner = resolve_owner(params.get("owner"), params.get("group"))
    return SessionsHome(Path(path).absolute(), template=params["directory_template"], owner=owner)


def chosen_companies(params: Mapping[str, Any]) -> Optional[List[str]]:
    """The companies asked for, each once and each fit to name a directory; None means all."""
    asked: Optional[List[str]] = params["companies"]
    if asked is None:
        return None
    if not asked:
        raise UsageError(
            "the list is empty",
            operation="read",
            subject="companies",
            hint="name at least one company, or leave the option out to mean all",
        )
    for company in asked:
        directory_name(params["directory_template"], company)
    return list(dict.fromkeys(asked))


def store_record(params: Mapping[str, Any]) -> StoreRecord:
    return StoreRecord(Path(params["state_dir"]))


def failed_results(failed: Mapping[str, ResilienceError]) -> Dict[str, Dict[str, object]]:
    return {company: {**error.as_dict(), "msg": str(error)} for company, error in sorted(failed.items())}


def failed_sentence(failed: Mapping[str, ResilienceError], total: int, verb: str) -> str:
    """One sentence for several companies: how many, and the first of them in full."""
    names = sorted(failed)
    others = "" if len(names) == 1 else f" (see failed_companies for the others: {', '.join(names[1:6])})"
    return f"{len(names)} of {total} companies {verb}: {failed[names[0]]}{others}"


def source_results(source: SourceInfo) -> Dict[str, Any]:
    return {
        "source": {"kind": source.kind, "detail": source.detail},
        "snapshot_at": source.snapshot_at,
        "lsn": source.lsn,
    }


def manifest_results(manifests: Mapping[str, Manifest]) -> Dict[str, Dict[str, Any]]:
    return {
        name: {"path": str(each.path), "sha256": each.sha256, "epoch": each.header.source.epoch}
        for name, each in sorted(manifests.items())
    }


def companies_of(source: SessionSource, chosen: Optional[List[str]]) -> List[str]:
    """The chosen companies, or all of the source; an empty home is an error, since nobody means to work on nothing."""
    companies = source.companies() if chosen is None else chosen
    if not companies:
        raise StoreError(
            "there is no company's directory here",
            operation="look into sessions' home",
            subject=source.info.detail,
            hint="check src and directory_template",
        )
    return companies


def changes_diff(changes: Mapping[str, Mapping[str, Mapping[str, int]]]) -> Dict[str, str]:
    """Lines such as "company 962301: updated session 4, creds 1": numbers only, since a diff ends up in logs."""
    lines: List[str] = []
    for company, kinds in sorted(changes.items()):
        parts = [
            f"{kind} " + ", ".join(f"{key_type} {number}" for key_type, number in sorted(counts.items()))
            for kind, counts in kinds.items()
            if counts
        ]
        if parts:
            lines.append(f"company {company}: {'; '.join(parts)}\n")
    return {"prepared": "".join(lines)}


def fail(module: AnsibleModule, error: ResilienceError, message: str = "", **results: Any) -> NoReturn:
    """End the module with the typed error: a sentence with its hint, and the same as data."""
    message = message or str(error)
    if isinstance(error, ToolMissing) and error.operation == "import":
        package = PACKAGES.get(error.subject.split(".", 1)[0], error.subject)
        message = f"{missing_required_lib(package)} HINT: {error.hint}"
    module.fail_json(msg=message, error=error.as_dict(), **results)


def finish(
    module: AnsibleModule, results: Dict[str, Any], failed: Mapping[str, ResilienceError], total: int, verb: str
) -> NoReturn:
    """End the module with its results; as a failure when a company failed, the others being done."""
    if failed:
        fail(module, failed[sorted(failed)[0]], failed_sentence(failed, total, verb), **results)
    module.exit_json(**results)


@contextlib.contextmanager
def errors_reported(module: AnsibleModule) -> Iterator[None]:
    try:
        yield
    except ResilienceError as error:
        fail(module, error)
