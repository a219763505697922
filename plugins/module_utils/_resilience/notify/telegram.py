# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Telegram, by its Bot API: one POST of JSON."""

from __future__ import annotations

import json
import re
import time
from typing import Any, Dict, Optional, Sequence

from .model import (
    LATER,
    SETTINGS,
    Delivery,
    Notification,
    Pace,
    digest_of,
    failure_of,
    within_budget,
)
from .redact import without_secrets
from .web import Answer, post

SERVICE = "telegram"
MAX_CHARACTERS = 4096
TIMEOUT_SECONDS = 3.0
_CUT = "[cut]"
# What a token looks like; anything else would land in the address, and from there in an error.
_TOKEN = re.compile(r"\d+:[A-Za-z0-9_-]+")
# https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this
_CHAT_PACES = (Pace(1, 1.0),)
_GROUP_PACES = (*_CHAT_PACES, Pace(20, 60.0))
# Telegram says with 400 what is wrong with the chat, and what is wrong with the message.
_ABOUT_THE_CHAT = re.compile(r"chat not found|chat_id is empty|group chat was|peer_id_invalid|not enough rights", re.I)
_SIGNS = {"debug": "·", "info": "ℹ", "warning": "⚠", "error": "✖", "fatal": "✖✖"}


class TelegramNotifier:
    """Sends to one chat. ``api_url`` is another one in tests, or where a Bot API server of one's own runs."""

    service = SERVICE

    def __init__(
        self,
        token: str,
        chat_id: str,
        *,
        api_url: str = "https://api.telegram.org",
        environment: str = "",
        budget_seconds: float = 3.0,
    ) -> None:
        self._token = token
        self._chat_id = chat_id
        self._api_url = api_url.rstrip("/")
        self._environment = environment
        self.budget_seconds = budget_seconds

    def __repr__(self) -> str:
        return f"TelegramNotifier(api_url={without_secrets(self._api_url, self._token)!r})"

    @property
    def paces(self) -> Sequence[Pace]:
        # Ids of groups and channels begin so; a chat with one person has no limit a minute.
        return _GROUP_PACES if self._chat_id.startswith(("-", "@")) else _CHAT_PACES

    @property
    def settings_digest(self) -> str:
        return digest_of(self._token, self._chat_id, self._api_url)

    def send(self, notification: Notification) -> Delivery:
        if not _TOKEN.fullmatch(self._token):
            return Delivery(False, "telegram_token does not look like 123456:letters", SERVICE, SETTINGS)
        if not self._chat_id:
            return Delivery(False, "telegram_chat_id is not set", SERVICE, SETTINGS)
        body = self._body(notification.redacted())
        limit = time.monotonic() + self.budget_seconds
        return within_budget(SERVICE, self.budget_seconds, lambda: self._deliver(body, limit))

    def _body(self, notification: Notification) -> bytes:
        # No parse_mode: an underscore or a "<" in an error would make Telegram refuse the message.
        message = {
            "chat_id": self._chat_id,
            "text": cut_at_line_end(_as_text(notification, self._environment)),
            "link_preview_options": {"is_disabled": True},
        }
        return json.dumps(message).encode()

    def _deliver(self, body: bytes, limit: float) -> Delivery:
        url = f"{self._api_url}/bot{self._token}/sendMessage"
        while True:
            left = limit - time.monotonic()
            answer = post(url, body, {"Content-Type": "application/json"}, min(TIMEOUT_SECONDS, max(left, 0.01)))
            content = _content(answer)
            if answer.status == 200 and content.get("ok") is True:
                return Delivery(True, "sent", SERVICE)
            wait = _wanted_wait(answer, content)
            if wait is None or wait >= limit - time.monotonic():
                return Delivery(False, self._complaint(answer, content, wait), SERVICE, _failure(answer, content), wait)
            time.sleep(wait)

    def _complaint(self, answer: Answer, content: Dict[str, Any], wait: Optional[float]) -> str:
        if answer.status is None:
            return without_secrets(answer.failure, self._token)
        said = without_secrets(str(content.get("description", "")), self._token)[:200]
        if wait is not None:
            return f"HTTP 429: asks to wait {wait:g} s, longer than the budget of {self.budget_seconds:g} s"
        return f"HTTP {answer.status}: {said}" if said else f"HTTP {answer.status}"


def _as_text(notification: Notification, environment: str) -> str:
    head = f"{_SIGNS[notification.level]} {notification.title}"
    tags = dict(notification.tags)
    if environment:
        tags.setdefault("environment", environment)
    lines = [head, *([notification.text] if notification.text else [])]
    if tags:
        lines.append(", ".join(f"{name}: {value}" for name, value in sorted(tags.items())))
    return "\n".join(lines)


def cut_at_line_end(text: str, characters: int = MAX_CHARACTERS) -> str:
    """``text``, or as many of its lines as fit, and a word that says so.

    Telegram counts UTF-16 units (a character beyond the first 65,536 is two). One line that is too long is cut inside.
    """
    if _units(text) <= characters:
        return text
    kept = text.encode("utf-16-le", "replace")[: 2 * (characters - len(_CUT) - 1)].decode("utf-16-le", "ignore")
    whole_lines = kept.rpartition("\n")[0] if "\n" in kept else ""
    # The first line is the title; a text of one endless line is still worth its beginning.
    useful = whole_lines if _units(whole_lines) > characters // 2 else kept
    return f"{useful}\n{_CUT}"


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "replace")) // 2


def _content(answer: Answer) -> Dict[str, Any]:
    try:
        content = json.loads(answer.body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _wanted_wait(answer: Answer, content: Dict[str, Any]) -> Optional[float]:
    """Seconds after which Telegram wants to be asked again; None when asking again is of no use."""
    if answer.status != 429:
        return None
    parameters = content.get("parameters")
    wait = parameters.get("retry_after") if isinstance(parameters, dict) else None
    if isinstance(wait, (int, float)) and wait >= 0:
        return float(wait)
    return answer.retry_after if answer.retry_after is not None else 1.0


def _failure(answer: Answer, content: Dict[str, Any]) -> str:
    if answer.status == 200:  # not what the Bot API answers: a page of a proxy, perhaps
        return LATER
    if answer.status == 400 and _ABOUT_THE_CHAT.search(str(content.get("description", ""))):
        return SETTINGS
    return failure_of(answer.status)
