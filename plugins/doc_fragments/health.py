# Copyright: (c) 2026, baileys.resilience contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What the health modules share."""

    DOCUMENTATION = r"""
options:
  fail_on:
    description:
      - From which status on the module fails. Its results are the same either way.
      - The order is C(ok), V(warning), V(unknown), V(critical). What is unknown may hide something critical, so
        V(warning) includes V(unknown), and V(unknown) includes V(critical).
    type: str
    default: never
    choices: [never, warning, unknown, critical]
notes:
  - A database that does not answer, refuses, or lacks its tables is a result with the status C(critical), not an error.
    The module fails by itself only for options that cannot be meant and for missing Python packages.
"""

    CLIENT = r"""
options:
  client_dir:
    description:
      - Directory in which the application's session client keeps its journals and caches, C(WA_SESSION_DIR). The
        running client is asked for its figures over the admin socket in it, which only its user and root may open.
      - Left out, it is not asked.
    type: path
"""
