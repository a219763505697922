# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What the monitor is told: one JSON file of its own, read strictly, since a name with a typing error would be a
default that nobody wanted.
"""

from __future__ import annotations

import json
import math
import os
import re
import socket
import stat
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Type, TypeVar

from ...errors import Misconfigured, ResilienceError, UsageError
from ...files import translate_os_error
from ...notify import NotifySettings
from ...postgres import ConnectParams
from ...sessions.model import TableMapping
from ..alerts.settings import AlertSettings
from ..pgbouncer import console_params
from ..thresholds import check
from .requesting import AutoFailoverSettings

T = TypeVar("T")
_HINT = "see docs/monitor.md for the settings; the role health_monitor writes this file"
_LARGEST_PORT = 65535.0
#: so many intervals are shorter than the time after which nothing is known, jitter included
_LOOKS = 2.5
#: in the runtime directory of the unit
CA_NAME = "ca.crt"
_NAME = re.compile(r"[\w.-][\w .:@-]{0,99}")


@dataclass(frozen=True)
class ClientSettings:
    """An application on this host: the ``directory`` of its session client, or its ``port`` with a token."""

    name: str
    directory: str = ""
    port: int = 0
    token: str = field(default="", repr=False)
    token_file: str = ""

    def __post_init__(self) -> None:
        if bool(self.directory) == bool(self.port):
            raise _wrong("give it either a directory or a port", f"clients.{self.name}")
        if self.port and not (self.token or self.token_file):
            raise _wrong("a port needs a token or a token_file", f"clients.{self.name}")
        check(f"clients.{self.name}.port", self.port, 0.0, _LARGEST_PORT)


@dataclass(frozen=True)
class ListenSettings:
    """``port`` 0 listens nowhere. Beyond the loopback address a token is needed."""

    host: str = "127.0.0.1"
    port: int = 9787
    token: str = field(default="", repr=False)
    token_file: str = ""

    def __post_init__(self) -> None:
        check("listen.port", self.port, 0.0, _LARGEST_PORT)


@dataclass(frozen=True)
class MonitorSettings:
    """``name`` is that of this monitor among others of the same database. ``write`` is off for a role that may only
    read. ``data_dirs`` are directories of PostgreSQL, where it runs on this host. ``heartbeat`` names a monitor of
    Sentry Crons that hears of this one. ``page_file`` holds the page. Empty paths turn a look off, or the
    page, and so do 0 days the history. Without ``auto_failover`` nothing is ever asked for.
    """

    database: ConnectParams
    state_dir: str = "/var/lib/baileys-resilience-monitor"
    name: str = field(default_factory=socket.gethostname)
    tables: TableMapping = field(default_factory=TableMapping)
    write: bool = True
    replicas: Tuple[str, ...] = ()
    clients: Tuple[ClientSettings, ...] = ()
    data_dirs: Tuple[str, ...] = ()
    mirror_age_file: str = ""
    backup_age_file: str = ""
    pgbouncer_dsn: str = field(default="", repr=False)
    interval_seconds: float = 5.0
    deadline_seconds: float = 2.0
    keys_interval_seconds: float = 3600.0
    older_than_days: float = 30.0
    most_companies: int = 100
    history_days: int = 30
    page_file: str = ""
    heartbeat: str = ""
    alerts: AlertSettings = field(default_factory=AlertSettings)
    notify: NotifySettings = field(default_factory=NotifySettings)
    listen: ListenSettings = field(default_factory=ListenSettings)
    auto_failover: Optional[AutoFailoverSettings] = None

    def __post_init__(self) -> None:
        if self.pgbouncer_dsn:
            console_params(self.pgbouncer_dsn)
        if self.auto_failover and not self.clients:
            raise _wrong("it needs two signals, and there is no application that could be one", "auto_failover")
        # One look that fails must not yet be a lack of data.
        most, most_slow = (
            each / _LOOKS for each in (self.alerts.unknown_after_seconds, self.alerts.unknown_after_slow_seconds)
        )
        check("interval_seconds", self.interval_seconds, 1.0, most)
        check("deadline_seconds", self.deadline_seconds, 0.2, 30.0)
        check("keys_interval_seconds", self.keys_interval_seconds, 60.0, most_slow)
        check("older_than_days", self.older_than_days, 0.0, 36500.0)
        check("most_companies", self.most_companies, 1, 10000)
        check("history_days", self.history_days, 0, 366)
        names = [each.name for each in self.clients]
        for name in names:
            if names.count(name) > 1:
                raise _wrong("there are two of that name", f"clients.{name}")
            if not _NAME.fullmatch(name):
                raise _wrong(f"{name!r} is no name", "clients")


def load_monitor_settings(path: Path) -> MonitorSettings:
    """Raises Misconfigured for a file that cannot be read, UsageError with the name of a setting that is wrong."""
    content = _content(path)
    try:
        return _with_root_certificate(monitor_settings(content))
    except UsageError as exc:
        raise Misconfigured(exc.cause, operation=f"read {path}:", subject=exc.subject, hint=exc.hint) from exc


def _with_root_certificate(settings: MonitorSettings) -> MonitorSettings:
    """The unit of the role hands over the root certificate, too: the monitor's user may not enter where it lies."""
    directory = os.environ.get("RUNTIME_DIRECTORY", "")
    given = Path(directory) / CA_NAME
    if not directory or not given.exists():
        return settings
    return replace(settings, database=replace(settings.database, ca_cert=str(given)))


def _content(path: Path) -> Any:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text("utf-8")
    except FileNotFoundError as exc:
        raise Misconfigured(
            "there is no configuration",
            operation="read configuration",
            subject=str(path),
            hint="run the role health_monitor on this host, or name a file with --config",
        ) from exc
    except UnicodeDecodeError as exc:
        raise _unreadable(path, "it is no text") from exc
    except OSError as exc:
        raise translate_os_error(exc, "read configuration", path) from exc
    # A group may read it, that of the monitor.
    if mode & 0o027:
        raise Misconfigured(
            f"others may read it (mode {mode:04o}), and it holds passwords",
            operation="read configuration",
            subject=str(path),
            hint=f"chmod 0600 {path}",
        )
    try:
        return json.loads(text)
    except ValueError as exc:
        raise _unreadable(path, str(exc)) from exc


def _unreadable(path: Path, why: str) -> Misconfigured:
    return Misconfigured(f"cannot be read: {why}", operation="read configuration", subject=str(path), hint=_HINT)


def monitor_settings(content: Any) -> MonitorSettings:
    """Raises UsageError naming the setting that is wrong."""
    values = dict(_mapping(content, "the configuration"))
    if "database" not in values:
        raise _wrong("it is missing", "database")
    tables = values.pop("session_tables", {})
    found: Dict[str, Any] = {
        "database": _build(ConnectParams, values.pop("database"), "database"),
        "tables": TableMapping.from_option(_mapping(tables or {}, "session_tables")),
        "alerts": AlertSettings.from_mapping(_mapping(values.pop("alerts", {}), "alerts")),
        "notify": _build(NotifySettings, values.pop("notify", {}), "notify"),
        "listen": _build(ListenSettings, values.pop("listen", {}), "listen"),
        "clients": tuple(
            _build(ClientSettings, each, f"clients[{number}]")
            for number, each in enumerate(_list(values.pop("clients", []), "clients"))
        ),
        "auto_failover": _optional(AutoFailoverSettings, values.pop("auto_failover", None), "auto_failover"),
    }
    if "tables" in values:
        raise _wrong("there is no such setting", "tables")
    return _build(MonitorSettings, {**found, **values}, "")


def _optional(kind: Type[T], content: Any, path: str) -> Optional[T]:
    return None if content is None else _build(kind, content, path)


def _build(kind: Type[T], content: Any, path: str) -> T:
    values = _mapping(content, path)
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise UsageError(
                "there is no such setting",
                operation="read",
                subject=_joined(path, str(name)),
                hint=f"choose among {', '.join(sorted(known))}",
            )
    for name, each in known.items():
        if name not in values and each.default is MISSING and each.default_factory is MISSING:
            raise _wrong("it is missing", _joined(path, name))
    converted = {name: _converted(str(known[name].type), value, _joined(path, name)) for name, value in values.items()}
    return kind(**converted)


def _converted(kind: str, value: Any, path: str) -> Any:
    """Annotations are texts here. What is an object already was made above."""
    convert = _KINDS.get(kind)
    return value if convert is None else convert(value, path)


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise _wrong(f"{value!r} is no text", path)
    return value


def _flag(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(f"{value!r} is neither true nor false", path)
    return value


def _number(value: Any, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _wrong(f"{value!r} is no number", path)
    return float(value)


def _whole(value: Any, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(f"{value!r} is no whole number", path)
    return int(value)


def _texts(value: Any, path: str) -> Tuple[str, ...]:
    return tuple(_text(each, path) for each in _list(value, path))


def _pairs(value: Any, path: str) -> Mapping[str, str]:
    return {
        str(name): str(each).lower() if isinstance(each, bool) else str(each)
        for name, each in _mapping(value, path).items()
    }


_KINDS: Mapping[str, Callable[[Any, str], Any]] = {
    "str": _text,
    "bool": _flag,
    "float": _number,
    "int": _whole,
    "Tuple[str, ...]": _texts,
    "Mapping[str, str]": _pairs,
}


def _mapping(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong("names with values are needed", path)
    return value


def _list(value: Any, path: str) -> List[Any]:
    if not isinstance(value, (list, tuple)):
        raise _wrong("a list is needed", path)
    return list(value)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _wrong(cause: str, path: str) -> ResilienceError:
    return UsageError(cause, operation="read", subject=path, hint=_HINT)
