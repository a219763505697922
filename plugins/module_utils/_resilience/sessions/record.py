# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The store of record: where each company lives, ``postgres`` or ``files``, with an epoch that grows at each change.

It is written on the application's host before a writer moves; published.py keeps a copy of it in PostgreSQL. Every job
asks it first. A company without an entry lives in PostgreSQL, epoch 0.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Dict, Iterator, Mapping, Optional, Sequence, Tuple

from ..clock import now_iso
from ..errors import StoreError, UsageError
from ..files import FILE_MODE, make_private_directory, translate_os_error, write_json

POSTGRES = "postgres"
FILES = "files"
#: archives of what a cleanup deleted, beside the record
CLEANUP_ARCHIVES = "cleanup"
FORMAT = "baileys-resilience/stores"
VERSION = 1


@dataclass(frozen=True)
class StoreOfRecord:
    """``since`` (ISO 8601, this host's clock) and ``by`` (a run's id) say when and why the company came here;
    ``place`` is the directory.

    ``lineage`` is the epoch from which copies are still of this session. In PostgreSQL it trails ``epoch`` after a
    move that was taken back: the data never left, so a mirror of before is as good as it was. On files it is the epoch
    of the copy that they were made from, which their manifest names.
    """

    store: str = POSTGRES
    epoch: int = 0
    since: str = ""
    by: str = ""
    place: str = ""
    lineage: int = 0


class StoreRecord:
    """The record on this host: one small file, replaced durably."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "stores.json"

    def version(self) -> Optional[Tuple[int, int]]:
        """What changes whenever the record is replaced; None while there is none."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    def all(self) -> Dict[str, StoreOfRecord]:
        try:
            content = json.loads(self.path.read_text("utf-8"))
            if content["format"] != FORMAT or content["version"] != VERSION:
                raise ValueError(f"not {FORMAT} of version {VERSION}")
            return {company: StoreOfRecord(**entry) for company, entry in content["companies"].items()}
        except FileNotFoundError:
            return {}
        except OSError as exc:
            raise translate_os_error(exc, "read store of record", self.path) from exc
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise StoreError(
                f"cannot be read: {exc}",
                operation="read store of record",
                subject=str(self.path),
                hint="find out where the sessions live (creds newest in PostgreSQL or in the files?) and write it with "
                "baileys-resilience store set",
            ) from exc

    def get(self, company: str) -> StoreOfRecord:
        return self.all().get(company, StoreOfRecord())

    def epochs_of_rows(self) -> Dict[str, int]:
        """The epoch that the rows in PostgreSQL belong to, by company; one that is not named has 0. While a company
        lives on files its rows are what the files were made from.
        """
        return {
            company: entry.epoch if entry.store == POSTGRES else entry.lineage for company, entry in self.all().items()
        }

    def move(
        self,
        companies: Sequence[str],
        store: str,
        *,
        by: str,
        places: Mapping[str, str],
        copied_from: Optional[Mapping[str, int]] = None,
    ) -> Dict[str, StoreOfRecord]:
        """Record that ``companies`` live in ``store`` from now on; a company that already does keeps its epoch.
        ``copied_from`` names the epoch of the copy that a company's files were made from, where it is known. Returns
        the new entries.
        """
        if store not in (POSTGRES, FILES):
            raise UsageError(
                "no such store", operation="record store", subject=store, hint="the stores are postgres and files"
            )
        moved: Dict[str, StoreOfRecord] = {}
        with self._changing() as entries:
            for company in companies:
                before = entries.get(company, StoreOfRecord())
                if before.store != store:
                    epoch = before.epoch + 1
                    lineage = epoch if store == POSTGRES else (copied_from or {}).get(company, before.lineage)
                    before = StoreOfRecord(store, epoch, now_iso(), by, places.get(company, ""), lineage)
                moved[company] = entries[company] = before
        return moved

    def restore(self, earlier: Mapping[str, StoreOfRecord], *, by: str, told: bool = True) -> None:
        """Take back a move that no writer has followed. The epoch still grows: what was written under the taken-back
        one stays void. A move that nobody was ``told`` of leaves no trace: the application's client, which goes on in
        the epoch that it knows, would be taken for one of before.
        """
        with self._changing() as entries:
            for company, entry in earlier.items():
                current = entries.get(company, StoreOfRecord())
                if current.store != entry.store:
                    epoch = current.epoch + 1 if told else entry.epoch
                    entries[company] = StoreOfRecord(entry.store, epoch, now_iso(), by, entry.place, entry.lineage)

    def replace(self, company: str, seen: StoreOfRecord, entry: StoreOfRecord) -> bool:
        """Write another entry for a company that is still as it was ``seen``; False when it has moved meanwhile."""
        with self._changing() as entries:
            if entries.get(company, StoreOfRecord()) != seen:
                return False
            entries[company] = entry
        return True

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Dict[str, StoreOfRecord]]:
        """The entries, written back at the end. Under a lock: a failover and the mirror's service both write here, and
        a move that is lost between the reading and the writing of the other would leave a session with two stores.
        """
        make_private_directory(self.path.parent)
        try:
            descriptor = os.open(self.path.with_name("stores.lock"), os.O_RDWR | os.O_CREAT, FILE_MODE)
        except OSError as exc:
            raise translate_os_error(exc, "lock store of record", self.path) from exc
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            entries = self.all()
            yield entries
            self._write(entries)
        finally:
            os.close(descriptor)

    def _write(self, entries: Mapping[str, StoreOfRecord]) -> None:
        content = {
            "format": FORMAT,
            "version": VERSION,
            "companies": {name: asdict(entry) for name, entry in entries.items()},
        }
        write_json(self.path, content)
