# Copyright: (c) 2026, baileys.resilience contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Which sessions, in which tables, directories and states."""

    DOCUMENTATION = r"""
options:
  companies:
    description:
      - Ids of the companies to work on. Left out, all that are there.
      - An empty list is refused, so that a variable that came out empty does not mean all.
    type: list
    elements: str
  directory_template:
    description:
      - Name of a company's directory in the sessions' home. C({company_id}) stands for the company.
    type: str
    default: company_{company_id}
"""

    TABLES = r"""
options:
  session_tables:
    description:
      - The tables and columns that hold the sessions. A table may carry its schema (C(schema.table)).
      - Columns that are not named here are left alone.
    type: dict
    suboptions:
      auth:
        description:
          - The table with one row of creds per company.
        type: dict
        suboptions:
          table:
            description:
              - Name of the table.
            type: str
            default: whatsapp_auth
          company:
            description:
              - Column with the company's id.
            type: str
            default: company_id
          creds:
            description:
              - Column with the creds.
            type: str
            default: creds
          updated_at:
            description:
              - Column with the time of the last change. Empty where there is none.
              - Without it a way back from files cannot tell what a second writer wrote from the application's last
                writes before the switch. Creds that are neither what was exported nor what the files hold are then
                refused until C(newer_rows) says V(overwrite). Creds as they were exported are no obstacle.
            type: str
            default: updated_at
      keys:
        description:
          - The table with the Signal keys.
        type: dict
        suboptions:
          table:
            description:
              - Name of the table.
            type: str
            default: whatsapp_keys
          company:
            description:
              - Column with the company's id.
            type: str
            default: company_id
          type:
            description:
              - Column with the type of the key.
            type: str
            default: key_type
          id:
            description:
              - Column with the id of the key, as Baileys gives it.
            type: str
            default: key_id
          value:
            description:
              - Column that holds the key.
            type: str
            default: value
          updated_at:
            description:
              - Column with the time of the last change. Empty where there is none.
              - Without it a key that is neither what was exported nor what the files hold is refused like newer creds,
                see C(auth.updated_at).
            type: str
            default: updated_at
"""

    OWNERSHIP = r"""
options:
  owner:
    description:
      - User that owns the directories and files. Left out, the user the module runs as.
    type: str
  group:
    description:
      - Group of the directories and files.
    type: str
"""

    STATE = r"""
options:
  state_dir:
    description:
      - Directory of the store of record on this host. A company without an entry there lives in PostgreSQL.
    type: path
    default: /var/lib/baileys-resilience
"""
