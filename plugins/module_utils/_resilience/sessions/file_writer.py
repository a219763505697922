# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Making the files of one company in a process of its own: half of an export's time goes into making files, and while
the kernel does that for the process, the next keys are decoded here.

Where an export is shared among processes, the cores are busy already: each of those makes its files itself.

Nothing is decided in it. It takes batches of names and contents, makes them in the directory that it inherits, and ends
with one answer: done, or the error. It lives for one company, dies with whoever started it, and never touches what else
it inherits (the database's connection, the home's lock).
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
from multiprocessing import Pipe, parent_process
from multiprocessing.connection import Connection
from typing import List, Optional, Tuple

from .. import files
from ..errors import StoreError
from ..processes import end_with_parent

#: files that are handed over together; a company with fewer new ones is not worth a process (about 1 ms)
FILES_TOGETHER = 64

Batch = List[Tuple[str, bytes]]
#: None after the last
Order = Optional[Batch]
#: what went wrong; None when all files are made
Answer = Optional[Exception]


class FileWriter:
    """Takes the files of ``directory`` (a descriptor). An OSError carries the file's name; that of a file made by the
    process is raised by a later call. Raises StoreError when the process was killed.
    """

    def __init__(self, company: str, directory: int, owner: Optional[Tuple[int, int]]) -> None:
        self._company = company
        self._directory = directory
        self._owner = owner
        self._batch: Batch = []
        self._process: Optional[_Process] = None

    def add(self, name: str, content: bytes) -> None:
        self._batch.append((name, content))
        if len(self._batch) >= FILES_TOGETHER:
            if self._process is None and parent_process() is None:
                self._process = _Process(self._company, self._directory, self._owner)
            self._make_batch()

    def finish(self) -> None:
        """Return when every file is made."""
        self._make_batch()
        if self._process:
            self._process.finish()

    def _make_batch(self) -> None:
        if self._process:
            self._process.hand_over(self._batch)
        else:
            _make_files(self._directory, self._owner, self._batch)
        self._batch.clear()

    def close(self) -> None:
        """No file is made any more, whether all were or not."""
        process, self._process = self._process, None  # once: its id may be somebody else's afterwards
        if process:
            process.end()


class _Process:
    """The process, seen from the one that decodes."""

    def __init__(self, company: str, directory: int, owner: Optional[Tuple[int, int]]) -> None:
        self._company = company
        orders, self._orders = Pipe(duplex=False)
        self._answer, answer = Pipe(duplex=False)
        parent = os.getpid()
        self._pid = os.fork()
        if not self._pid:
            try:
                # Held by us too, they would keep the pipes open when the parent is gone.
                self._orders.close()
                self._answer.close()
                _begin(parent)
                answer.send(_work(orders, directory, owner))
            finally:
                os._exit(0)  # no exit handler and no destructor of the parent's may run here
        orders.close()
        answer.close()

    def finish(self) -> None:
        """Wait for the end of the work."""
        self.hand_over(None)
        self._read_answer()

    def hand_over(self, order: Order) -> None:
        try:
            self._orders.send(order)
        except BrokenPipeError:  # it has ended before its time, and says why
            self._read_answer()

    def _read_answer(self) -> None:
        try:
            answer: Answer = self._answer.recv()
        except EOFError:
            raise StoreError(
                "the process that makes the files was killed",
                operation="export company",
                subject=self._company,
                hint="look for the out-of-memory killer in the kernel's log, then run again",
                retryable=True,
            ) from None
        if answer:
            raise answer

    def end(self) -> None:
        self._orders.close()
        self._answer.close()
        with contextlib.suppress(ProcessLookupError, ChildProcessError):  # where somebody ignores SIGCHLD
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


def _begin(parent: int) -> None:
    gc.disable()  # a copy of the connection that it found unused would say goodbye to the server in the parent's name
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, to all: the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(parent)


def _work(orders: Connection, directory: int, owner: Optional[Tuple[int, int]]) -> Answer:
    try:
        while True:
            order: Order = orders.recv()
            if order is None:
                return None
            _make_files(directory, owner, order)
    except Exception as exc:  # noqa: BLE001 - raised by the parent
        return exc


def _make_files(directory: int, owner: Optional[Tuple[int, int]], batch: Batch) -> None:
    for name, content in batch:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, files.FILE_MODE, dir_fd=directory)
        try:
            if os.write(descriptor, content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if owner:
                os.fchown(descriptor, *owner)
        finally:
            os.close(descriptor)
