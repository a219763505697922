# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""One way to connect to PostgreSQL: parameters, TLS, client-side deadlines, typed errors.

Two things psycopg2 does not give and this file adds: an error class for what a failed *connect* means (it carries no
SQLSTATE), and a deadline that holds against a frozen server (``statement_timeout`` is the frozen server's own clock,
and TCP keepalives are answered by its kernel).
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple, Type

from ._thirdparty import require
from .errors import (
    Conflict,
    DatabaseError,
    DeadlineExceeded,
    Misconfigured,
    ReadOnly,
    Refused,
    ResilienceError,
    SchemaMismatch,
    Unavailable,
    UsageError,
)

APPLICATION_NAME = "baileys-resilience"

#: What libpq says when it cannot connect -> what it means and what to do. Order matters: the first match wins.
#: what a server says that has no connection left to give, to anybody or to this role
NO_SLOT = re.compile(r"too many clients|remaining connection slots|too many connections", re.IGNORECASE)

_CONNECT_MESSAGES: List[Tuple[str, Type[ResilienceError], str]] = [
    # PostgreSQL does not tell a wrong password from a role that does not exist.
    (
        r"password authentication failed|no password supplied",
        Refused,
        "check login_user and login_password; a new, empty server that lacks the role says the same",
    ),
    (r"no pg_hba\.conf entry", Refused, "allow this host, user, database and TLS mode in the server's pg_hba.conf"),
    (r"role .* does not exist|is not permitted to log in", Refused, "check login_user, or let the role log in"),
    (r"database .* does not exist", Misconfigured, "check login_db"),
    (r"root certificate file .* does not exist", Misconfigured, "set ca_cert to the file with the root certificate"),
    (
        r"could not (open|read|load) .*(certificate|key) ",
        Misconfigured,
        "ca_cert (and sslcert, sslkey in connect_params) must name PEM files that this user can read",
    ),
    (
        # "signature failure" is what a root of the same name with another key gives: a CA that was made anew.
        r"certificate verify failed|signature failure|SSL error.*certificate|server certificate for",
        Refused,
        "ca_cert must be the root that signed the server's certificate, login_host a name in it, and neither of the two"
        " expired",
    ),
    (r"server does not support SSL", Misconfigured, "set ssl_mode to prefer or disable, or turn TLS on in the server"),
    (
        r"sslmode value .* invalid|SSL support is not compiled",
        Misconfigured,
        "this libpq cannot do the ssl_mode asked for",
    ),
    (
        r"could not translate host name|Name or service not known",
        Unavailable,
        "check login_host and the resolver of this host",
    ),
    (r"invalid \w+ value:", Misconfigured, "check ssl_mode and connect_params"),
    (
        r"invalid (connection option|dsn|integer value|port)|invalid channel_binding",
        Misconfigured,
        "check connect_params and login_port",
    ),
    (
        NO_SLOT.pattern,
        Unavailable,
        "all connection slots are used: end idle sessions or raise max_connections",
    ),
    (r"timeout expired|timed out", DeadlineExceeded, "the server or the network does not answer"),
    (
        r"the database system is (starting up|shutting down|in recovery)|not yet accepting",
        Unavailable,
        "the server is starting or stopping; wait for it",
    ),
    (r".*", Unavailable, "check that PostgreSQL runs and that this host reaches it"),
]

#: between two attempts at a server that has said why not
_AGAIN_SECONDS = 0.05
# An attempt that had less and came to nothing is no silence of the server.
_FAIR_SECONDS = 1.0

_STATUS_ACTIVE = 1  # psycopg2.extensions.TRANSACTION_STATUS_ACTIVE
HINT_ROW_SECURITY = (
    "what it hides would be taken for keys that are gone; use a login_user that sees every row (the table's owner, or a"
    " role with BYPASSRLS)"
)
#: SQL: the server's clock, ISO 8601 UTC with microseconds
SERVER_NOW = "to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
_CONFLICT_STATES = ("40001", "40P01", "55P03", "23505")
_SCHEMA_STATES = {"42P01": "table", "42703": "column", "3F000": "schema"}


@dataclass(frozen=True)
class ConnectParams:
    """How to reach one database. ``repr`` never shows the password."""

    host: str = "localhost"
    port: int = 5432
    dbname: str = "postgres"
    user: str = "postgres"
    password: str = field(default="", repr=False)
    ssl_mode: str = "prefer"
    ca_cert: str = ""
    connect_timeout_seconds: float = 5.0
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def where(self) -> str:
        """The place, fit for messages and reports."""
        return f"{self.host}:{self.port}/{self.dbname}"

    def libpq(self) -> Dict[str, Any]:
        """Keyword arguments for psycopg2.connect."""
        # libpq rounds a connect_timeout of 1 up to 2 and takes whole seconds.
        arguments: Dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "dbname": self.dbname,
            "user": self.user,
            "sslmode": self.ssl_mode,
            "connect_timeout": max(2, int(self.connect_timeout_seconds + 0.999)),
            "application_name": APPLICATION_NAME,
            # Of a connection that stands: a moment without the network is no reason to give up an import.
            "tcp_user_timeout": int(max(5.0, self.connect_timeout_seconds) * 1000),
            "client_encoding": "UTF8",
        }
        if self.password:
            arguments["password"] = self.password
        if self.ca_cert:
            arguments["sslrootcert"] = self.ca_cert
        arguments.update(self.extra)
        return arguments


def connect(params: ConnectParams, *, operation: str = "connect") -> Any:
    """Open a psycopg2 connection. Raises the typed error of the connect table above."""
    psycopg2 = require("psycopg2")
    if params.ca_cert and not os.path.exists(params.ca_cert):
        raise Misconfigured(
            "root certificate file does not exist",
            operation=operation,
            subject=params.ca_cert,
            hint="set ca_cert to the file with the root certificate",
        )
    try:
        connection = psycopg2.connect(**params.libpq())
    except psycopg2.Error as exc:
        raise _connect_error(exc, params, operation) from exc
    except (TypeError, ValueError) as exc:
        raise UsageError(
            str(exc), operation=operation, subject=params.where, hint="check the login_* options and connect_params"
        ) from exc
    return connection


def answers_within(params: ConnectParams, seconds: float) -> bool:
    """Whether anybody answers at all, be it with a refusal. Shorter than libpq's own limit can be, which is 2 s."""
    try:
        connect_within(params, seconds).close()
    except DeadlineExceeded:
        return False
    except ResilienceError:
        return True  # connect says what it is
    return True


def connect_within(params: ConnectParams, seconds: float, *, operation: str = "connect") -> Any:
    """:func:`connect`, but never longer than ``seconds``: libpq takes no time-out below two, and its resolver none.

    An answer that can be another in a moment (slots that whoever was just stopped still holds, a server that starts) is
    asked for again until then.
    """
    limit = time.monotonic() + seconds
    said: List[Unavailable] = []
    while True:
        left = limit - time.monotonic()
        try:
            return connect_once_within(params, left, operation=operation)
        except DeadlineExceeded:
            if not said or left >= _FAIR_SECONDS:
                raise
            raise said[-1] from None  # that there was no time left for another answer says nothing
        except Unavailable as exc:
            # FATAL is the server's own word; a refused connection has none, and nothing to wait for.
            if "FATAL" not in exc.cause or time.monotonic() + _AGAIN_SECONDS >= limit:
                raise
            said.append(exc)
            time.sleep(_AGAIN_SECONDS)


def connect_once_within(params: ConnectParams, seconds: float, *, operation: str = "connect") -> Any:
    """One attempt, never longer than ``seconds``. Raises DeadlineExceeded, or the error of :func:`connect`."""
    results: queue.Queue[Any] = queue.Queue()
    given_up = threading.Event()

    def run() -> None:
        try:
            results.put(connect(params, operation=operation))
        except Exception as exc:  # noqa: BLE001 - raised by the caller
            results.put(exc)
        if given_up.is_set():
            _close_late(results)

    threading.Thread(target=run, name="postgres-connect", daemon=True).start()
    try:
        result = results.get(timeout=max(seconds, 0.0))
    except queue.Empty:
        given_up.set()
        _close_late(results)
        raise DeadlineExceeded(
            f"no connection within {max(seconds, 0.0):.1f} s",
            operation=operation,
            subject=params.where,
            hint="the server or the network does not answer",
        ) from None
    if isinstance(result, Exception):
        raise result
    return result


def _close_late(results: queue.Queue[Any]) -> None:
    """Close a connection that came when nobody waited for it any more, whichever of the two threads sees it."""
    with contextlib.suppress(queue.Empty):
        result = results.get_nowait()
        if not isinstance(result, Exception):
            result.close()


def _connect_error(exc: Exception, params: ConnectParams, operation: str) -> ResilienceError:
    message = " ".join(str(exc).split()) or type(exc).__name__
    for pattern, kind, hint in _CONNECT_MESSAGES:
        if re.search(pattern, message, re.IGNORECASE):
            return kind(_without_secret(message, params), operation=operation, subject=params.where, hint=hint)
    raise AssertionError("the last pattern matches everything")


def _without_secret(message: str, params: ConnectParams) -> str:
    return message.replace(params.password, "***") if params.password else message


def translate(exc: Exception, *, operation: str, subject: str) -> ResilienceError:
    """The typed error for a psycopg2 error met on an open connection."""
    state = getattr(exc, "pgcode", None) or ""
    diagnosis = getattr(exc, "diag", None)
    message = (getattr(diagnosis, "message_primary", None) or " ".join(str(exc).split()) or type(exc).__name__).strip()
    where = {"operation": operation, "subject": subject}  # type: Dict[str, Any]
    if state == "25006":
        return ReadOnly(message, hint="connect to the primary, or end its read-only mode", **where)
    if state in _SCHEMA_STATES:
        return SchemaMismatch(
            message, hint="set session_tables to the tables and columns that hold the sessions", **where
        )
    if state == "42501" and "row-level security" in message:
        return Refused(message, hint=HINT_ROW_SECURITY, **where)
    if state.startswith("28") or state == "42501":
        return Refused(message, hint="grant the login user what is missing", **where)
    if state in _CONFLICT_STATES:
        return Conflict(
            message,
            hint="somebody else writes the same rows: stop the second writer, then run again",
            retryable=True,
            **where,
        )
    if state == "22P02":
        return UsageError(message, hint="a company id must have the type of its column (session_tables)", **where)
    if state.startswith(("08", "57P", "53")) or not state:
        return Unavailable(
            message, hint="the connection was lost; check that PostgreSQL runs and that this host reaches it", **where
        )
    if state == "57014":
        return DeadlineExceeded(message, hint="the statement was cancelled by its time limit", **where)
    return DatabaseError(f"{message} (SQLSTATE {state})", hint="see the server's log for the statement", **where)


@contextlib.contextmanager
def translated(operation: str, subject: str) -> Iterator[None]:
    """Turn driver errors inside the block into typed ones."""
    psycopg2 = require("psycopg2")
    try:
        yield
    except psycopg2.Error as exc:
        raise translate(exc, operation=operation, subject=subject) from exc


class Deadline:
    """Bounds the silence of a server that owes an answer: without :meth:`progress` for ``seconds``, the socket is shut
    down and the block raises. Time that we spend ourselves between two statements (syncing a slow disk) does not count.

    A thread of ours holds the clock, since a frozen server never fires its own time-outs. psycopg2 waits without the
    GIL, so it can.
    """

    def __init__(self, connection: Any, seconds: float, *, operation: str, subject: str) -> None:
        self._connection = connection
        self._seconds = seconds
        self._operation = operation
        self._subject = subject
        self._progress_count = 0
        self._done = threading.Event()
        self.expired = False
        self._thread = threading.Thread(target=self._watch, name="postgres-deadline", daemon=True)

    def progress(self) -> None:
        self._progress_count += 1  # called for each of millions of rows: a counter costs nothing, an event would

    def __enter__(self) -> Deadline:
        self._thread.start()
        return self

    def _watch(self) -> None:
        seen, since = -1, time.monotonic()
        while not self._done.wait(min(self._seconds / 10, 0.25)):
            if self._progress_count != seen or not self._waiting():
                seen, since = self._progress_count, time.monotonic()
            elif time.monotonic() - since >= self._seconds:
                self.expired = True
                self._shut_down()
                return

    def _waiting(self) -> bool:
        """Whether a statement is under way. libpq answers from its own memory, so this never blocks."""
        try:
            return bool(self._connection.get_transaction_status() == _STATUS_ACTIVE)
        except Exception:  # noqa: BLE001 - closed under us: nobody waits
            return False

    def _shut_down(self) -> None:
        with contextlib.suppress(Exception):  # the connection may have gone by itself meanwhile
            duplicate = socket.socket(fileno=os.dup(self._connection.fileno()))
            with duplicate:
                duplicate.shutdown(socket.SHUT_RDWR)

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Any) -> None:
        self._done.set()
        self._thread.join()
        if self.expired:
            raise DeadlineExceeded(
                f"no answer for {self._seconds:g} s",
                operation=self._operation,
                subject=self._subject,
                hint="the server or the network is frozen; use another source",
            ) from value


@contextlib.contextmanager
def session(
    params: ConnectParams, *, operation: str, deadline_seconds: float = 30.0, connect_seconds: Optional[float] = None
) -> Iterator[Tuple[Any, Deadline]]:
    """A connection (time zone UTC) with a deadline and translated errors, closed at the end; what was not committed is
    rolled back. ``connect_seconds`` bounds the connecting more tightly than libpq can.
    """
    if connect_seconds is None:
        connection = connect(params, operation=operation)
    else:
        connection = connect_within(params, connect_seconds, operation=operation)
    try:
        deadline = Deadline(connection, deadline_seconds, operation=operation, subject=params.where)
        with deadline, translated(operation, params.where):
            _speak_utc(connection)
            yield connection, deadline
    finally:
        connection.close()


def _speak_utc(connection: Any) -> None:
    """Times in UTC and ISO 8601. Set here and not by the startup packet's ``options``, which PgBouncer refuses before
    1.20; these two it hands on to whatever server connection a transaction gets.
    """
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SET TimeZone TO 'UTC'; SET DateStyle TO 'ISO'")
    connection.autocommit = False


def server_now(cursor: Any) -> str:
    """The server's clock, ISO 8601 UTC with microseconds."""
    cursor.execute(f"SELECT {SERVER_NOW}")
    return str(cursor.fetchone()[0])
