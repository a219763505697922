# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded lab: everything that the collection meets, real, on one machine, from PyPI and npm, without root."""

from .api import Lab
from .errors import LabError, LabStateError, LabTimeout

__all__ = ["Lab", "LabError", "LabStateError", "LabTimeout"]
