# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The live mirror: a copy of every session, a few seconds behind PostgreSQL, that survives the database.

:class:`Mirror` writes it, :func:`open_mirror` reads it. The format and its guarantees: docs/formats/mirror.md.
"""

from __future__ import annotations

from .change_log import install_change_log, remove_change_log
from .loop import Mirror, MirrorTuning, ScanReport
from .reader import CompanyState, Incident, MirrorReader, open_mirror
from .status import MirrorStatus, mirror_status

__all__ = [
    "CompanyState",
    "Incident",
    "Mirror",
    "MirrorReader",
    "MirrorStatus",
    "MirrorTuning",
    "ScanReport",
    "install_change_log",
    "mirror_status",
    "open_mirror",
    "remove_change_log",
]
