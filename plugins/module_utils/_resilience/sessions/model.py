# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The session model and the mapping of it to tables that exist already."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Protocol, Tuple

from ..errors import UsageError

#: key types that Baileys 7.0.0-rc14 writes (facts measured on the real library); 6.x has the first six
KNOWN_TYPES: Tuple[str, ...] = (
    "pre-key",
    "session",
    "sender-key",
    "sender-key-memory",
    "app-state-sync-key",
    "app-state-sync-version",
    "lid-mapping",
    "device-list",
    "tctoken",
    "identity-key",
)

DEFAULT_DIRECTORY_TEMPLATE = "company_{company_id}"


class RawKey(NamedTuple):
    """One Signal key as a store holds it: ``value`` is JSON text in any of the encodings, ``updated_at`` ISO 8601 or
    None.
    """

    type: str
    id: str
    value: Optional[bytes]
    updated_at: Optional[str]


class RawCreds(NamedTuple):
    """The creds of one company as a store holds them."""

    value: Optional[bytes]
    updated_at: Optional[str]


@dataclass(frozen=True)
class SourceInfo:
    """Where a snapshot comes from and of when it is. ``kind``: primary, replica, mirror, directory, client, backup.

    ``epoch`` is that of one company's copy (:meth:`SessionSource.info_of`); a source as a whole has none.
    """

    kind: str
    detail: str
    snapshot_at: str
    lsn: Optional[str] = None
    epoch: int = 0


KeySink = Callable[[RawKey], None]


class SessionSource(Protocol):
    """One consistent state of sessions that can be read: a PostgreSQL snapshot, the mirror, a directory."""

    @property
    def info(self) -> SourceInfo: ...

    def info_of(self, company: str) -> SourceInfo:
        """The same with the epoch that the company's copy belongs to: what a manifest made of it says."""

    def companies(self) -> List[str]: ...

    def creds(self, company: str) -> Optional[RawCreds]:
        """The creds, or None when the company has no row. An error of the store is raised, never None."""

    def stream_keys(self, company: str, sink: KeySink) -> None:
        """Call ``sink`` once for each key; memory stays flat."""


@dataclass(frozen=True)
class AuthTable:
    table: str = "whatsapp_auth"
    company: str = "company_id"
    creds: str = "creds"
    updated_at: Optional[str] = "updated_at"


@dataclass(frozen=True)
class KeysTable:
    table: str = "whatsapp_keys"
    company: str = "company_id"
    type: str = "key_type"
    id: str = "key_id"
    value: str = "value"
    updated_at: Optional[str] = "updated_at"


@dataclass(frozen=True)
class TableMapping:
    """Which tables and columns hold the sessions (option ``session_tables``). A table name may carry its schema."""

    auth: AuthTable = field(default_factory=AuthTable)
    keys: KeysTable = field(default_factory=KeysTable)

    @staticmethod
    def from_option(option: Optional[Mapping[str, Any]]) -> TableMapping:
        """Read the option; raises UsageError for a name that the mapping does not have."""
        mapping = TableMapping()
        given = dict(option or {})
        auth = _overlay(mapping.auth, given.pop("auth", None), "session_tables.auth")
        keys = _overlay(mapping.keys, given.pop("keys", None), "session_tables.keys")
        if given:
            raise _unknown("session_tables", given, ["auth", "keys"])
        return TableMapping(auth=auth, keys=keys)


def _overlay(default: Any, option: Optional[Mapping[str, Any]], path: str) -> Any:
    names = [each.name for each in fields(default)]
    values: Dict[str, Any] = {
        name: value for name, value in dict(option or {}).items() if value is not None or name == "updated_at"
    }
    unknown = {name: value for name, value in values.items() if name not in names}
    if unknown:
        raise _unknown(path, unknown, names)
    for name, value in values.items():
        if name != "updated_at" and (not isinstance(value, str) or not value):
            raise UsageError(
                "must be a non-empty name",
                operation="read",
                subject=f"{path}.{name}",
                hint="give the name of a table or column",
            )
        if name == "updated_at" and value == "":
            values[name] = None
    return replace(default, **values)


def _unknown(path: str, unknown: Mapping[str, Any], names: List[str]) -> UsageError:
    return UsageError(
        f"unknown name {', '.join(sorted(unknown))}",
        operation="read",
        subject=path,
        hint=f"the names are {', '.join(names)}",
    )


def directory_name(template: str, company: str) -> str:
    """The name of a company's directory. Raises UsageError when the id cannot be one path component."""
    try:
        name = template.format(company_id=company)
    except (KeyError, IndexError, ValueError) as exc:
        raise UsageError(
            f"directory_template is not usable: {exc}",
            operation="name directory of company",
            subject=company,
            hint="use {company_id} once, as in company_{company_id}",
        ) from exc
    if "{company_id}" not in template:
        raise UsageError(
            "directory_template has no {company_id}",
            operation="name directory of company",
            subject=company,
            hint="without it, companies would share one directory",
        )
    if (
        not company
        or "/" in name
        or "\0" in name
        or ".." in company
        or name.startswith(".")
        or len(name.encode()) > 255
    ):
        raise UsageError(
            "the company id cannot be a directory name",
            operation="name directory of company",
            subject=repr(company),
            hint="ids with /, .., a leading dot, no characters or more than 255 bytes are refused",
        )
    return name
