#!/usr/bin/python

# Copyright: (c) 2026, baileys.resilience contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: session_info
short_description: Show WhatsApp (Baileys) sessions in PostgreSQL or in directories
version_added: 0.1.0
description:
  - Shows each company with its WhatsApp user, its keys by type and age, their size, whether its creds are whole, and
    where it lives (its store of record). Changes nothing.
  - A company with bad creds, or with keys and no creds, is shown with what is wrong; it does not make the module fail.
author:
  - baileys.resilience contributors (@baileys-resilience)
options:
  src:
    description:
      - Look at the directories in this sessions' home instead of a database.
    type: path
extends_documentation_fragment:
  - baileys.resilience.postgres
  - baileys.resilience.sessions
  - baileys.resilience.sessions.tables
  - baileys.resilience.sessions.state
  - baileys.resilience.attributes.info
  - baileys.resilience.attributes.group
seealso:
  - module: baileys.resilience.session_verify
"""

EXAMPLES = r"""
- name: Look at all sessions in PostgreSQL
  baileys.resilience.session_info:
    login_host: db.example.net
    login_db: whatsapp
    login_user: wa_app
    login_password: "{{ db_password }}"
    ssl_mode: verify-full
    ca_cert: /etc/ssl/certs/db-root.pem
  register: sessions

- name: Show companies whose creds are not whole
  ansible.builtin.debug:
    msg: "{{ sessions.companies | dict2items | rejectattr('value.creds_valid') | map(attribute='key') }}"

- name: Look at one session in files
  baileys.resilience.session_info:
    src: /srv/whatsapp/baileys_sessions
    companies:
      - "962301"
"""

RETURN = r"""
companies:
  description: The companies.
  returned: success
  type: dict
  contains:
    "<company>":
      description: One company.
      type: dict
      returned: for each company
      contains:
        user:
          description: The WhatsApp user that the session is paired to. Null when there is none.
          type: str
          returned: always
        key_count:
          description: Number of keys.
          type: int
          returned: always
        keys:
          description: By type of key, the number (C(count)), size (C(bytes)), and number by age (C(ages)).
          type: dict
          returned: always
          sample: {"pre-key": {"ages": {"1-7d": 800, "<1d": 12}, "bytes": 129920, "count": 812}}
        ages:
          description:
            - Number of keys by time since their last change, in C(<1d), C(1-7d), C(7-14d), C(14-30d) and C(>30d).
            - Those without a time are C(unknown).
          type: dict
          returned: always
        bytes:
          description: Size of creds and keys, as JSON text.
          type: int
          returned: always
        creds_bytes:
          description: Size of the creds alone.
          type: int
          returned: always
        creds_updated_at:
          description: Time of the last change of the creds. Null when it is not known.
          type: str
          returned: always
        creds_valid:
          description: Whether the creds are whole, belong together, and fit the keys.
          type: bool
          returned: always
        creds_problems:
          description: What is wrong with the creds.
          type: list
          elements: str
          returned: always
        store:
          description: Store of record, V(postgres) or V(files).
          type: str
          returned: always
        epoch:
          description: Number of times that the store of record has changed.
          type: int
          returned: always
        since:
          description: Since when the company lives there. Empty when it was never moved.
          type: str
          returned: always
        published:
          description:
            - What the copy of the store of record in PostgreSQL says of the company, C(store), C(epoch), C(since) and
              the C(host) that wrote it. Null where it says nothing, and for directories.
          type: dict
          returned: always
          sample: {"epoch": 3, "host": "wa-app-1", "since": "2026-01-31T03:00:00.5+00", "store": "files"}
        store_problem:
          description:
            - How that contradicts the store of record of this host. Empty when it does not. A company that lives on
              files elsewhere must not be taken for one that lives in PostgreSQL.
          type: str
          returned: always
source:
  description: What was looked at.
  returned: success
  type: dict
  sample: {"detail": "db.example.net:5432/whatsapp", "kind": "primary"}
snapshot_at:
  description: Time of the snapshot by the server's clock, UTC. For directories, the newest change among them.
  returned: success
  type: str
  sample: "2026-01-31T03:00:00.123456Z"
lsn:
  description: Position of the snapshot in the server's write-ahead log. Null for directories.
  returned: success
  type: str
  sample: 0/1A2B3C8
duration_seconds:
  description: How long it took.
  returned: success
  type: float
error:
  description: The error as data, with its name, cause, hint, and whether the same call can succeed later.
  returned: failure
  type: dict
"""

import time
from dataclasses import asdict
from typing import Any, Dict, List, Optional, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.baileys.resilience.plugins.module_utils._ansible import (
    chosen_companies,
    companies_of,
    companies_spec,
    connect_params,
    errors_reported,
    postgres_spec,
    sessions_home,
    source_results,
    state_spec,
    store_record,
    table_mapping,
    tables_spec,
)
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.sessions.directory_source import (
    DirectorySource,
)
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.sessions.info import (
    CompanyInfo,
    database_info,
    directory_info,
)
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.sessions.model import SourceInfo
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.sessions.postgres_store import (
    open_snapshot,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "src": {"type": "path"},
            **postgres_spec(),
            **companies_spec(),
            **tables_spec(),
            **state_spec(),
        },
        supports_check_mode=True,
    )
    started = time.monotonic()
    with errors_reported(module):
        look = look_at_directories if module.params["src"] else look_at_database
        found, source = look(module.params)
        module.exit_json(
            changed=False,
            companies={each.company: company_results(each) for each in found},
            duration_seconds=round(time.monotonic() - started, 3),
            **source_results(source),
        )


def look_at_directories(params: Dict[str, Any]) -> Tuple[List[CompanyInfo], SourceInfo]:
    source = DirectorySource(sessions_home(params, params["src"]), require_manifest=False)
    companies = companies_of(source, chosen_companies(params))
    return directory_info(source, companies, store_record(params)), source.info


def look_at_database(params: Dict[str, Any]) -> Tuple[List[CompanyInfo], SourceInfo]:
    tables = table_mapping(params)
    companies = chosen_companies(params)
    with open_snapshot(connect_params(params), tables) as snapshot:
        return database_info(snapshot, tables, companies, store_record(params)), snapshot.info


def company_results(each: CompanyInfo) -> Dict[str, Any]:
    return {
        "user": each.user,
        "key_count": each.key_count,
        "keys": {key_type: asdict(numbers) for key_type, numbers in sorted(each.keys.items())},
        "ages": each.ages(),
        "bytes": each.bytes,
        "creds_bytes": each.creds_bytes,
        "creds_updated_at": each.creds_updated_at,
        "creds_valid": not each.creds_problems,
        "creds_problems": each.creds_problems,
        "store": each.store.store,
        "epoch": each.store.epoch,
        "since": each.store.since,
        "published": published_results(each),
        "store_problem": each.store_problem,
    }


def published_results(each: CompanyInfo) -> Optional[Dict[str, Any]]:
    published = each.published
    names = ("store", "epoch", "since", "host")
    return {name: getattr(published, name) for name in names} if published else None


if __name__ == "__main__":
    main()
