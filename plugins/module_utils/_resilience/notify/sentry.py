# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Sentry: the SDK makes the event and the envelope, in a client of its own; we carry it there ourselves.

The application that runs the library may have a Sentry of its own: nothing global is read or set. The SDK's transport
sends in the background and tells nobody what came of it, and its ``flush`` blocks on an endpoint that hangs; so the
envelope is posted here, once, within the budget, and the answer is the delivery.
"""

from __future__ import annotations

import gzip
import io
import uuid
from typing import Any, Dict, List, Optional, Sequence, Tuple

from .. import __version__
from .._thirdparty import require
from ..errors import ToolMissing
from .model import SETTINGS, Delivery, Notification, Pace, digest_of, failure_of, within_budget
from .redact import without_secrets
from .web import Answer, post

SERVICE = "sentry"
#: statuses of a check-in
CRONS_IN_PROGRESS, CRONS_OK, CRONS_ERROR = "in_progress", "ok", "error"
TIMEOUT_SECONDS = 3.0
#: where Sentry refuses for now and does not say for how long
_DEFAULT_WAIT_SECONDS = 60.0
_MAX_MESSAGE_CHARACTERS = 8000
_MAX_TAG_CHARACTERS = 200


class SentryNotifier:
    """Sends events to one project. ``server_name`` empty: the host's own name."""

    service = SERVICE

    def __init__(
        self, dsn: str, *, environment: str = "production", server_name: str = "", budget_seconds: float = 3.0
    ) -> None:
        self._dsn = dsn
        self._environment = environment
        self._server_name = server_name
        self.budget_seconds = budget_seconds

    def __repr__(self) -> str:
        return f"SentryNotifier(environment={self._environment!r})"

    @property
    def paces(self) -> Sequence[Pace]:
        return ()

    @property
    def settings_digest(self) -> str:
        return digest_of(self._dsn)

    def send(self, notification: Notification) -> Delivery:
        return self._send(as_event(notification.redacted()))

    def check_in(
        self,
        slug: str,
        status: str,
        config: Optional[Dict[str, Any]],
        *,
        check_in_id: str = "",
        seconds: Optional[float] = None,
    ) -> Delivery:
        """Tell Sentry Crons that a monitor is at work (``ok``) or not (``error``). ``config`` makes or changes it.

        A job that ends is told twice under one ``check_in_id`` (32 hex digits): as ``in_progress``, and how it ended,
        after how many ``seconds``.
        """
        event: Dict[str, Any] = {
            "type": "check_in",
            "check_in_id": check_in_id or uuid.uuid4().hex,
            "monitor_slug": slug,
            "status": status,
            "environment": self._environment,
        }
        if config is not None:
            event["monitor_config"] = config
        if seconds is not None:
            event["duration"] = round(seconds, 3)
        return self._send(event)

    def _send(self, event: Dict[str, Any]) -> Delivery:
        # All of it inside: the first import of the SDK takes a moment as well.
        return within_budget(SERVICE, self.budget_seconds, lambda: self._deliver(event))

    def _deliver(self, event: Dict[str, Any]) -> Delivery:
        try:
            url, headers, body = self._envelope(event)
        except ToolMissing as exc:
            return Delivery(False, str(exc), SERVICE, SETTINGS)
        except ValueError as exc:  # BadDsn, or a port that is no number
            return Delivery(
                False, f"sentry_dsn is not usable: {without_secrets(str(exc), self._dsn)}", SERVICE, SETTINGS
            )
        answer = post(url, body, headers, min(TIMEOUT_SECONDS, self.budget_seconds))
        if answer.status is not None and 200 <= answer.status < 300:
            return Delivery(True, f"sent as {event['event_id']}", SERVICE)
        detail = without_secrets(_complaint(answer), self._dsn)
        wait = (answer.retry_after or _DEFAULT_WAIT_SECONDS) if answer.status == 429 else None
        return Delivery(False, detail, SERVICE, failure_of(answer.status), wait)

    def _envelope(self, event: Dict[str, Any]) -> Tuple[str, Dict[str, str], bytes]:
        sdk, transport, utils = require("sentry_sdk"), require("sentry_sdk.transport"), require("sentry_sdk.utils")
        caught: List[Any] = []
        keep = type(
            "KeepEnvelope", (transport.Transport,), {"capture_envelope": lambda _self, each: caught.append(each)}
        )
        client = sdk.Client(dsn=self._dsn, transport=keep, **self._options())
        # No scope: that of the thread would bring the tags, user and breadcrumbs of whoever calls us.
        event["event_id"] = client.capture_event(event)
        client.close(timeout=0)
        if not caught:
            raise ValueError("the SDK dropped the event")
        auth = utils.Dsn(self._dsn).to_auth(f"sentry.python/{sdk.VERSION}")
        headers = {
            "X-Sentry-Auth": str(auth.to_header()),
            "Content-Type": "application/x-sentry-envelope",
            "Content-Encoding": "gzip",
            "User-Agent": str(auth.client),
        }
        content = io.BytesIO()
        with gzip.GzipFile(fileobj=content, mode="wb", mtime=0) as stream:
            caught[0].serialize_into(stream)
        return str(auth.get_api_url()), headers, content.getvalue()

    def _options(self) -> Dict[str, Any]:
        return {
            "environment": self._environment,
            "server_name": self._server_name or None,
            # Set, because the SDK would otherwise look in the environment, and ask git for the commit of the directory
            # that the operator happens to stand in.
            "release": f"baileys.resilience@{__version__}",
            "debug": False,
            "spotlight": False,
            "default_integrations": False,
            "auto_enabling_integrations": False,
            "include_local_variables": False,
            "include_source_context": False,
            "attach_stacktrace": False,
            "max_breadcrumbs": 0,
            "auto_session_tracking": False,
            "send_client_reports": False,
            "shutdown_timeout": 0,
        }


def as_event(notification: Notification) -> Dict[str, Any]:
    """The event of a notification. Sentry shows the first line of the message as its title."""
    message = f"{notification.title}\n\n{notification.text}" if notification.text else notification.title
    event: Dict[str, Any] = {
        "message": message[:_MAX_MESSAGE_CHARACTERS],
        "level": notification.level,
        "logger": "baileys_resilience",
        # Sentry drops a tag with a line break in it, and one that is too long.
        "tags": {name: " ".join(value.split())[:_MAX_TAG_CHARACTERS] for name, value in notification.tags.items()},
    }
    if notification.fingerprint:
        event["fingerprint"] = [notification.fingerprint]
    return event


def _complaint(answer: Answer) -> str:
    if answer.status is None:
        return answer.failure
    if answer.status == 429:
        return f"HTTP 429: Sentry takes nothing for {answer.retry_after or _DEFAULT_WAIT_SECONDS:g} s"
    return f"HTTP {answer.status}"
