# Copyright: (c) 2026, baileys.resilience contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What every module can do."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and say what would change without changing it.
  diff_mode:
    description: Says in diff mode what changed, as numbers by type of key, never values or ids.
"""

    GROUP = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/baileys.resilience.resilience) in C(module_defaults) to set options for all modules.
    support: full
    membership:
      - baileys.resilience.resilience
"""

    INFO = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode). This module never changes anything.
    support: full
  diff_mode:
    description: Nothing changes, so there is no difference to show.
    support: N/A
"""
