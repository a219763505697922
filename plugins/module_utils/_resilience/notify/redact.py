# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Nothing that names a customer leaves the host: JIDs and phone numbers become a prefix of their hash."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Collection, Mapping, Match

# In this order: ids of Sentry, git commits and SHA256 are left alone though they hold runs of digits; a JID is hashed
# whole; then numbers written the international way; then bare runs. No phone number has fewer than 9 digits with its
# country, and 8 digits are a date.
_NAMES = re.compile(
    r"(?P<hash>\b(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64})\b)"
    r"|(?P<jid>\d{7,}(?:[-_.:]\d+)*@(?:s\.whatsapp\.net|c\.us|g\.us|lid|hosted(?:\.lid)?|newsletter|broadcast)\b)"
    r"|(?P<written>\+\d{1,3}(?:[ ()./-]{1,2}\d{1,6}){2,})"
    r"|(?P<run>\d{9,})",
    re.IGNORECASE,
)


def redact(text: str, keep: Collection[str] = ()) -> str:
    """``text`` with everything that looks like a JID or a phone number as ``#`` and ten digits of its SHA256.

    ``keep`` are company ids: a bare number that is one of them stays readable. The hash of a JID is the one that
    reports of the same key show.
    """

    def replacement(match: Match[str]) -> str:
        found = match.group()
        if match.lastgroup == "hash" or (match.lastgroup == "run" and found in keep):
            return found
        return "#" + hashlib.sha256(found.encode()).hexdigest()[:10]

    return _NAMES.sub(replacement, text)


def redacted(value: Any, keep: Collection[str] = ()) -> Any:
    """A copy of ``value`` in which every text is redacted, at any depth. Names in mappings stay as they are: they are
    our own, or company ids.
    """
    if isinstance(value, str):
        return redact(value, keep)
    if isinstance(value, Mapping):
        return {name: redacted(each, keep) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(each, keep) for each in value]
    return value


def without_secrets(text: str, *secrets: str) -> str:
    """``text`` with each secret replaced: messages of libraries quote the address they called."""
    for secret in sorted(secrets, key=len, reverse=True):
        if secret:
            text = text.replace(secret, "<secret>")
    return text
