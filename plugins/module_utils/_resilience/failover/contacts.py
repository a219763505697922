# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Whom to call: read from the inventory, kept on the host, where it can be read when nothing else answers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, List, Mapping, Tuple

from ..errors import Misconfigured, UsageError

VARIABLE = "baileys_resilience_contacts"


@dataclass(frozen=True)
class Contact:
    """One person or desk. ``reach`` is how: a number, an address, a channel; ``when``: for what, or at which hours."""

    name: str
    reach: str
    role: str = ""
    when: str = ""
    note: str = ""

    def lines(self) -> List[str]:
        who = f"{self.name} ({self.role})" if self.role else self.name
        more = [f"  {label}: {value}" for label, value in (("when", self.when), ("note", self.note)) if value]
        return [f"{who}: {self.reach}", *more]


def contacts_from_option(option: Any) -> Tuple[Contact, ...]:
    """Read the list of the configuration. Raises UsageError naming the entry that is wrong."""
    if option is None:
        return ()
    if not isinstance(option, (list, tuple)):
        raise _wrong("a list of contacts expected", "contacts", "begin each contact with a dash")
    return tuple(_contact(each, f"contacts[{position}]") for position, each in enumerate(option))


def _contact(entry: Any, path: str) -> Contact:
    names = [each.name for each in fields(Contact)]
    if not isinstance(entry, Mapping):
        raise _wrong("names with values expected", path, f"the names are {', '.join(names)}")
    unknown = sorted(str(name) for name in set(entry) - set(names))
    if unknown:
        raise _wrong(f"unknown name {', '.join(unknown)}", path, f"the names are {', '.join(names)}")
    given = {name: value for name, value in entry.items() if value is not None}
    for name, value in given.items():
        # YAML reads +4930123 and 0049123 as numbers, and what would be written down is another telephone number.
        if not isinstance(value, str):
            raise _wrong("this is no text", f"{path}.{name}", "put quotes around it, telephone numbers above all")
    words = {name: " ".join(value.split()) for name, value in given.items()}
    for name in ("name", "reach"):
        if not words.get(name):
            raise _wrong("this is not given", f"{path}.{name}", "a contact needs a name and a way to reach it")
    return Contact(**words)


def _wrong(cause: str, path: str, hint: str) -> UsageError:
    return UsageError(cause, operation="read settings", subject=path, hint=f"{VARIABLE}: {hint}")


def need_contacts(contacts: Tuple[Contact, ...], host: str) -> Tuple[Contact, ...]:
    """Raises Misconfigured when nobody is named: a list that is empty must not look like one that was printed."""
    if not contacts:
        raise Misconfigured(
            "none are set, so this host knows nobody to call",
            operation="print contacts",
            subject=host,
            hint=f"set {VARIABLE} in the inventory and run failover_prepare.yml",
        )
    return contacts
