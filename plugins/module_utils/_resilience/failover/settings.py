# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What a failover needs to know of one application host: one form for module, command and mirror service."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Dict, Iterable, Mapping, Optional, Tuple, Type, TypeVar

from ..errors import UsageError
from ..notify.settings import NotifySettings
from ..postgres import ConnectParams
from ..sessions.directory_store import SessionsHome
from ..sessions.model import DEFAULT_DIRECTORY_TEMPLATE, TableMapping
from .contacts import Contact, contacts_from_option

T = TypeVar("T")

POSTGRES_FLAGS = {"USE_REPOSITORY_PATTERN": "true", "USE_DATABASE_AUTH_STATE": "true", "USE_LEGACY_SUPABASE": "false"}
FILES_FLAGS = {"USE_REPOSITORY_PATTERN": "false", "USE_DATABASE_AUTH_STATE": "false", "USE_LEGACY_SUPABASE": "false"}


@dataclass(frozen=True)
class ServiceSettings:
    """Who starts and stops the application: ``pm2``, ``systemd`` or ``argv`` (lists of words, never a shell line).

    ``stop_seconds`` is how long a stop may take: longer than its manager gives the application to end by itself.
    """

    manager: str = "pm2"
    name: str = "baileys-whatsapp-service"
    pm2: Tuple[str, ...] = ("pm2",)
    pm2_home: str = ""
    start: Tuple[str, ...] = ()
    stop: Tuple[str, ...] = ()
    status: Tuple[str, ...] = ()
    stop_seconds: float = 30.0


@dataclass(frozen=True)
class HealthSettings:
    """How the application is asked whether sessions are connected: ``url``, ``command`` or ``log``.

    ``log_pattern`` holds ``{company_id}``; it is looked for in what the application writes after its start.
    """

    kind: str = "url"
    url: str = "http://127.0.0.1:3000/health"
    command: Tuple[str, ...] = ()
    log_file: str = ""
    log_pattern: str = "company {company_id} connection open"
    deadline_seconds: float = 30.0


@dataclass(frozen=True)
class ApplicationSettings:
    """The application: its directory, its ``.env``, the flags of both modes, its owner and how it runs."""

    dir: str = "/opt/baileys-whatsapp-service"
    env_file: str = ""
    user: str = ""
    postgres_env: Mapping[str, str] = field(default_factory=lambda: dict(POSTGRES_FLAGS))
    files_env: Mapping[str, str] = field(default_factory=lambda: dict(FILES_FLAGS))
    service: ServiceSettings = field(default_factory=ServiceSettings)
    health: HealthSettings = field(default_factory=HealthSettings)
    files_health: Optional[HealthSettings] = None

    @property
    def directory(self) -> Path:
        return Path(self.dir)

    @property
    def env_path(self) -> Path:
        return Path(self.env_file or f"{self.dir}/.env")

    def health_on(self, store: str) -> HealthSettings:
        return (self.files_health or self.health) if store == "files" else self.health


@dataclass(frozen=True)
class CodeSettings:
    """Where the code that runs from files comes from: ``tag``, ``archive`` or ``none`` (the deployed code can do both).

    ``commit`` pins the tag; without it the commit found by the preparation is the pin. ``shared`` are paths of the
    application's directory that the prepared worktree links to.
    """

    source: str = "none"
    tag: str = "emergency-file-fallback-v1"
    commit: str = ""
    archive_path: str = "archive/baileys-file-sessions-scripts"
    archive_target: str = "src"
    worktree: str = ""
    install: Tuple[str, ...] = ("npm", "ci", "--omit=dev")
    shared: Tuple[str, ...] = (".env", "baileys_sessions")


@dataclass(frozen=True)
class LoadCheckSettings:
    """How the real Baileys proves that it loads every key. ``script`` empty turns the proof off, which every report
    then says.
    """

    node: str = "node"
    script: str = ""
    module_dir: str = ""
    deadline_seconds: float = 60.0


@dataclass(frozen=True)
class Policy:
    """What an operator decides. ``source`` pins one source; empty takes the freshest whole one. ``mode`` is live (the
    sessions move while they run), restart, or auto: live where the application's client can.

    ``connect_seconds`` bounds connecting (libpq: whole seconds, 2 at least, for each address of the host) and each
    silence while a source is looked at.
    """

    confirm: str = ""
    operator: str = ""
    source: str = ""
    max_source_age_seconds: float = 600.0
    accept_data_loss: bool = False
    cooldown_seconds: float = 300.0
    connect_seconds: float = 3.0
    newer_rows: str = "refuse"
    mode: str = "auto"


@dataclass(frozen=True)
class FailoverSettings:
    """Everything about one host. ``other_hosts`` maps inventory names to the companies that are theirs."""

    host: str
    companies: Tuple[str, ...]
    database: ConnectParams
    sessions_dir: str
    state_dir: str
    replica: Optional[ConnectParams] = None
    tables: TableMapping = field(default_factory=TableMapping)
    directory_template: str = DEFAULT_DIRECTORY_TEMPLATE
    owner: str = ""
    group: str = ""
    mirror_dir: str = ""
    client_dir: str = ""
    archive_key_file: str = ""
    application: ApplicationSettings = field(default_factory=ApplicationSettings)
    code: CodeSettings = field(default_factory=CodeSettings)
    load_check: LoadCheckSettings = field(default_factory=LoadCheckSettings)
    policy: Policy = field(default_factory=Policy)
    notify: NotifySettings = field(default_factory=NotifySettings)
    other_hosts: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)
    contacts: Tuple[Contact, ...] = ()

    def __post_init__(self) -> None:
        # One patience for all who connect, however these settings were made or replaced.
        for name in ("database", "replica"):
            params = getattr(self, name)
            if params is not None:
                patient = replace(params, connect_timeout_seconds=self.policy.connect_seconds)
                object.__setattr__(self, name, patient)

    @property
    def state(self) -> Path:
        return Path(self.state_dir)

    def home(self) -> SessionsHome:
        from ..files import owner_of_directory, resolve_owner

        owner = resolve_owner(self.owner or self.application.user or None, self.group or None)
        # Nobody is named (systemd and argv need no user): whoever owns the home reads what is in it.
        owner = owner or owner_of_directory(self.sessions_dir)
        return SessionsHome(Path(self.sessions_dir), self.directory_template, owner)


def settings_from_dict(content: Mapping[str, Any]) -> FailoverSettings:
    """Read the settings (of the module's parameters or of the configuration file). Raises UsageError naming the path
    of what is wrong.
    """
    values = dict(_mapping(content, "settings"))
    values["database"] = _connect_params(values.get("database"), "database")
    if values.get("replica"):
        values["replica"] = _connect_params(values["replica"], "replica")
    else:
        values.pop("replica", None)
    tables = _mapping(values.pop("session_tables", None) or values.pop("tables", None) or {}, "session_tables")
    for name, columns in tables.items():
        _mapping(columns or {}, f"session_tables.{name}")
    values["tables"] = TableMapping.from_option(tables)
    values["other_hosts"] = {
        str(host): _words(companies or (), f"settings.other_hosts.{host}")
        for host, companies in _mapping(values.get("other_hosts") or {}, "settings.other_hosts").items()
    }
    values["contacts"] = contacts_from_option(values.get("contacts"))
    values["companies"] = _words(values.get("companies") or (), "settings.companies")
    settings = _build(FailoverSettings, values, "settings")
    check_settings(settings)
    return settings


_CHOICES = {
    "application.service.manager": ("pm2", "systemd", "argv"),
    "code.source": ("tag", "archive", "none"),
    "policy.source": ("", "client", "journal", "primary", "replica", "mirror"),
    "policy.newer_rows": ("refuse", "overwrite"),
    "policy.mode": ("auto", "live", "restart"),
    "application.health.kind": ("url", "command", "log"),
    "application.files_health.kind": ("url", "command", "log"),
}
#: what the design names and nobody can choose yet
_TO_COME = {"policy.source": "; backups of ours are no source yet"}


def check_settings(settings: FailoverSettings) -> None:
    """Contradictions that no single value shows."""
    for path, allowed in _CHOICES.items():
        value: Any = settings
        for name in path.split("."):
            value = getattr(value, name, None)
        if value is not None and value not in allowed:
            raise UsageError(
                f"{value!r} is not possible",
                operation="read settings",
                subject=path,
                hint=f"choose one of {', '.join(filter(None, allowed))}{_TO_COME.get(path, '')}",
            )
    _check_health(settings.application)
    _check_who_tells_the_store(settings.application)
    for company in settings.companies:
        for host, others in settings.other_hosts.items():
            if host != settings.host and company in others:
                raise UsageError(
                    f"company {company} is also on the list of {host}",
                    operation="read settings",
                    subject=f"session_companies of {settings.host}",
                    hint="a session has one writer: name each company on one host only",
                )
    if not settings.companies:
        raise UsageError(
            "no companies are named",
            operation="read settings",
            subject=f"session_companies of {settings.host}",
            hint="list the companies that this host runs",
        )


def _check_health(application: ApplicationSettings) -> None:
    """A way of asking that can never answer would be found out only with the application stopped."""
    for name, health in (("health", application.health), ("files_health", application.files_health)):
        wrong = ""
        if health is not None and health.kind == "command" and not health.command:
            wrong = "command"
        elif health is not None and health.kind == "log":
            if "{company_id}" not in health.log_pattern:
                wrong = "log_pattern"
            elif not health.log_file and application.service.manager != "pm2":
                wrong = "log_file"
        if wrong:
            raise UsageError(
                "without it nobody can tell whether a session is connected",
                operation="read settings",
                subject=f"application.{name}.{wrong}",
                hint="a pattern holds {company_id}; only PM2 tells by itself where the log is",
            )


def _check_who_tells_the_store(application: ApplicationSettings) -> None:
    """Commands of one's own name no process, so nobody can look at the flags that it runs with. A log that says the
    same on both stores would then take an application that is still on the old one for moved.
    """
    files, postgres = application.health_on("files"), application.health_on("postgres")
    by_log = "log" in (files.kind, postgres.kind)
    if application.service.manager == "argv" and by_log and files.log_pattern == postgres.log_pattern:
        raise UsageError(
            "with the service manager argv nobody can tell which store the application uses",
            operation="read settings",
            subject="application.files_health.log_pattern",
            hint="set health.kind to url or command, or give files_health a pattern of kind log that only the code on"
            " files writes",
        )


def _connect_params(option: Any, path: str) -> ConnectParams:
    if isinstance(option, ConnectParams):
        return option
    return _build(ConnectParams, _mapping(option or {}, path), path)


def _mapping(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong("names with values expected", path)
    return value


def _words(value: Any, path: str) -> Tuple[str, ...]:
    # A single word would fall apart into its letters.
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise _wrong("a list of words expected, not a line", path)
    return tuple(str(each) for each in value)


def _wrong(cause: str, path: str) -> UsageError:
    return UsageError(cause, operation="read settings", subject=path, hint="see the documentation of the setting")


def _build(kind: Type[T], values: Mapping[str, Any], path: str) -> T:
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UsageError(
            f"unknown name {', '.join(unknown)}",
            operation="read settings",
            subject=path,
            hint=f"the names are {', '.join(known)}",
        )
    arguments: Dict[str, Any] = {}
    for name, value in values.items():
        if value is None:
            continue
        nested = _NESTED.get((kind.__name__, name))
        if nested is not None and not is_dataclass(value):
            arguments[name] = _build(nested, _mapping(value, f"{path}.{name}"), f"{path}.{name}")
        else:
            arguments[name] = _convert(value, known[name].type, f"{path}.{name}")
    try:
        return kind(**arguments)
    except TypeError as exc:
        raise UsageError(
            str(exc), operation="read settings", subject=path, hint="give the values that are missing"
        ) from exc


_NESTED: Dict[Tuple[str, str], Any] = {
    ("FailoverSettings", "application"): ApplicationSettings,
    ("FailoverSettings", "code"): CodeSettings,
    ("FailoverSettings", "load_check"): LoadCheckSettings,
    ("FailoverSettings", "policy"): Policy,
    ("FailoverSettings", "notify"): NotifySettings,
    ("ApplicationSettings", "service"): ServiceSettings,
    ("ApplicationSettings", "health"): HealthSettings,
    ("ApplicationSettings", "files_health"): HealthSettings,
}


def _convert(value: Any, kind: Any, path: str) -> Any:
    """Gentle conversion to the annotated type (annotations are text here): YAML gives numbers for words."""
    text = str(kind)
    try:
        if text == "str":
            if isinstance(value, (dict, list, tuple)):
                raise ValueError("a single word expected")
            return str(value)
        if text == "int":
            return int(value)
        if text == "float":
            return float(value)
        if text == "bool" and not isinstance(value, bool):
            raise ValueError("true or false expected")
        if text.startswith("Tuple[str"):
            return _words(value, path)
        if text.startswith("Mapping[str, str]"):
            return {str(name): _word(each) for name, each in _mapping(value, path).items()}
    except (TypeError, ValueError) as exc:
        raise _wrong(str(exc), path) from exc
    return value


def _word(value: Any) -> str:
    """YAML reads true and false as booleans; applications compare with these very words."""
    return str(value).lower() if isinstance(value, bool) else str(value)
