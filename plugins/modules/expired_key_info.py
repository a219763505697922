#!/usr/bin/python

# Copyright: (c) 2026, baileys.resilience contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: expired_key_info
short_description: Show how old WhatsApp (Baileys) keys in PostgreSQL are, and how many of them may go
version_added: 0.1.0
description:
  - Counts keys by company, type and age, those older than a number of days, and those that may go; shows the size of
    both tables, and how it grew. Changes nothing; M(baileys.resilience.session_cleanup) deletes what may go.
  - Old is not expired. The time of a key is when it was last written, not when it was last used, and most types are
    written once and used for years. Only keys that Baileys makes anew when it misses them count as removable. Where
    that takes a proof which the database cannot give, none counts, and RV(policy) says so.
  - Keys of a company that lives on files, or that has no creds, never count as removable.
author:
  - baileys.resilience contributors (@baileys-resilience)
options:
  companies:
    description:
      - Ids of the companies to look at. Left out, all that are there.
      - An empty list is refused, so that a variable that came out empty does not mean all.
    type: list
    elements: str
  directory_template:
    description:
      - Name of a company's directory on files. An id that cannot name one is refused.
    type: str
    default: company_{company_id}
  older_than:
    description:
      - Days. Keys that were written longer ago are counted as C(older).
    type: float
    default: 30.0
  previous:
    description:
      - Figures that an earlier run of this module returned. Given them, it says how fast keys grow.
    type: dict
    suboptions:
      snapshot_at:
        description:
          - Its RV(snapshot_at).
        type: str
        required: true
      key_count:
        description:
          - Its RV(key_count).
        type: int
        required: true
      total_bytes:
        description:
          - Its RV(total_bytes).
        type: int
        required: true
  deadline:
    description:
      - Seconds of silence after which the server counts as not answering, by the clock of the host the module runs on.
    type: float
    default: 30.0
  thresholds:
    description:
      - What counts as too many.
    type: dict
    suboptions:
      removable_keys:
        description:
          - More removable keys than this are a warning.
        type: int
        default: 500
      old_keys:
        description:
          - More keys older than O(older_than) than this are a warning. V(0) means that their number does not matter, as
            keys that have to stay grow old too.
        type: int
        default: 0
extends_documentation_fragment:
  - baileys.resilience.postgres
  - baileys.resilience.sessions.tables
  - baileys.resilience.sessions.state
  - baileys.resilience.health
  - baileys.resilience.attributes.info
  - baileys.resilience.attributes.group
seealso:
  - module: baileys.resilience.session_cleanup
  - module: baileys.resilience.session_info
  - module: baileys.resilience.query_latency_info
  - module: baileys.resilience.connection_pool_info
"""

EXAMPLES = r"""
- name: Look at the ages of all keys
  baileys.resilience.expired_key_info:
    login_host: db.example.net
    login_db: whatsapp
    login_user: wa_app
    login_password: "{{ db_password }}"
    ssl_mode: verify-full
    ca_cert: /etc/ssl/certs/db-root.pem
  register: keys

- name: Show what may go, and why the rest stays
  ansible.builtin.debug:
    msg: "{{ keys.removable }} of {{ keys.key_count }} keys may go. {{ keys.policy }}"

- name: Look again, with growth since then
  baileys.resilience.expired_key_info:
    login_host: db.example.net
    login_db: whatsapp
    login_user: wa_app
    login_password: "{{ db_password }}"
    previous:
      snapshot_at: "{{ keys.snapshot_at }}"
      key_count: "{{ keys.key_count }}"
      total_bytes: "{{ keys.total_bytes }}"

- name: Count keys older than 90 days of one company, and fail when it has more than 5000
  baileys.resilience.expired_key_info:
    login_host: db.example.net
    login_db: whatsapp
    login_user: wa_app
    login_password: "{{ db_password }}"
    companies:
      - "962301"
    older_than: 90
    thresholds:
      old_keys: 5000
    fail_on: warning
"""

RETURN = r"""
msg:
  description: The status in a sentence, with what to do.
  returned: always
  type: str
status:
  description: The gravest of the findings, V(ok), V(warning), V(unknown) or V(critical).
  returned: always
  type: str
findings:
  description: What was looked at, with its C(status), and where that is not V(ok) the C(cause) and C(advice).
  returned: always
  type: list
  elements: dict
  sample: [{"advice": "", "cause": "", "figure": "removable keys", "status": "ok"}]
advice:
  description: What to run, most urgent first. Empty when all is well.
  returned: always
  type: list
  elements: str
thresholds:
  description: The thresholds that were used.
  returned: always
  type: dict
  sample: {"old_keys": 0, "removable_keys": 500}
key_count:
  description: Number of keys. Null, like all figures, when the database could not be read.
  returned: always
  type: int
older:
  description: Number of keys that were written more than O(older_than) days ago.
  returned: always
  type: int
removable:
  description: Number of keys that may go.
  returned: always
  type: int
ages:
  description: >-
    Number of keys by time since they were written, in C(<1d), C(1-7d), C(7-14d), C(14-30d) and C(>30d). Those without a
    time are C(unknown), and never removable.
  returned: always
  type: dict
  sample: {"1-7d": 800, "<1d": 533}
types:
  description: The same by type of key.
  returned: always
  type: dict
  sample: {"pre-key": {"ages": {"1-7d": 800, "<1d": 12}, "count": 812, "older": 0, "removable": 0}}
companies:
  description: The same by company.
  returned: always
  type: dict
  contains:
    "<company>":
      description: One company.
      type: dict
      returned: for each company
      contains:
        types:
          description: By type of key, like C(types) of all.
          type: dict
          returned: always
        has_creds:
          description: Whether it has creds.
          type: bool
          returned: always
        store:
          description: Where it lives, V(postgres) or V(files), by this host's record or PostgreSQL's copy of another's.
          type: str
          returned: always
policy:
  description: >-
    By type of key that is there, what the policy says: days and clock after which a key may go (C(retention_days) is
    null where age alone is never enough), whether any are C(counted), guards that are C(not_judged), reason and
    source.
  returned: always
  type: dict
sizes:
  description: Bytes on disk of both tables and of their indexes.
  returned: always
  type: dict
  sample: {"whatsapp_keys": {"index_bytes": 155648, "table_bytes": 491520}}
total_bytes:
  description: The sum of these.
  returned: always
  type: int
growth:
  description: >-
    How much was added since O(previous), in C(seconds), as C(keys) and C(bytes), and of each a day. Null without
    O(previous).
  returned: always
  type: dict
  sample: {"bytes": 8192, "bytes_per_day": 8192.0, "keys": 10, "keys_per_day": 10.0, "seconds": 86400.0}
snapshot_at:
  description: Time of the snapshot by the server's clock, UTC.
  returned: always
  type: str
  sample: "2026-01-31T03:00:00.123456Z"
source:
  description: What was looked at.
  returned: always
  type: str
  sample: db.example.net:5432/whatsapp
error:
  description: The error as data, for options that cannot be meant and missing packages.
  returned: failure
  type: dict
"""

from dataclasses import asdict
from typing import Any, Dict, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.baileys.resilience.plugins.module_utils._ansible import (
    chosen_companies,
    companies_spec,
    connect_params,
    errors_reported,
    postgres_spec,
    state_spec,
    store_record,
    table_mapping,
    tables_spec,
)
from ansible_collections.baileys.resilience.plugins.module_utils._health_results import end, health_spec
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.errors import (
    DatabaseError,
    Misconfigured,
)
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.health.findings import from_error
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.health.key_ages import (
    AGES_FIGURE,
    CompanyAges,
    KeyAges,
    Previous,
    growth,
    judge_key_ages,
    policy_of,
    read_key_ages,
)
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.health.thresholds import KeyThresholds

DEADLINE_SECONDS = 30.0
FIGURES = (
    "key_count",
    "older",
    "removable",
    "ages",
    "types",
    "companies",
    "policy",
    "sizes",
    "total_bytes",
    "growth",
    "snapshot_at",
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "older_than": {"type": "float", "default": 30.0},
            "previous": {
                "type": "dict",
                "options": {
                    "snapshot_at": {"type": "str", "required": True},
                    "key_count": {"type": "int", "required": True, "no_log": False},
                    "total_bytes": {"type": "int", "required": True},
                },
            },
            **health_spec(KeyThresholds, deadline_seconds=DEADLINE_SECONDS),
            **postgres_spec(),
            **companies_spec(),
            **tables_spec(),
            **state_spec(),
        },
        supports_check_mode=True,
    )
    params = module.params
    with errors_reported(module):
        thresholds = KeyThresholds(**(params["thresholds"] or {}))
        previous = Previous(**params["previous"]) if params["previous"] else None
        source = {"source": connect_params(params).where}
        try:
            found = look(params)
        except (DatabaseError, Misconfigured) as error:
            end(module, [from_error(AGES_FIGURE, error)], thresholds, {**dict.fromkeys(FIGURES), **source})
        findings = judge_key_ages(found, thresholds, params["older_than"])
        end(module, findings, thresholds, {**figures(found, previous), **source})


def look(params: Dict[str, Any]) -> KeyAges:
    return read_key_ages(
        connect_params(params),
        table_mapping(params),
        store_record(params),
        companies=chosen_companies(params),
        older_than_days=params["older_than"],
        seconds=params["deadline"],
    )


def figures(found: KeyAges, previous: Optional[Previous]) -> Dict[str, Any]:
    return {
        "key_count": found.total("count"),
        "older": found.total("older"),
        "removable": found.total("removable"),
        "ages": found.ages,
        "types": {name: asdict(each) for name, each in found.by_type.items()},
        "companies": {name: company_results(each) for name, each in found.companies.items()},
        "policy": policy_of(found),
        "sizes": {name: asdict(each) for name, each in found.sizes.items()},
        "total_bytes": found.total_bytes,
        "growth": growth(found, previous) if previous else None,
        "snapshot_at": found.snapshot_at,
    }


def company_results(each: CompanyAges) -> Dict[str, Any]:
    return {
        "types": {name: asdict(kind) for name, kind in sorted(each.keys.items())},
        "has_creds": each.has_creds,
        "store": each.store,
    }


if __name__ == "__main__":
    main()
