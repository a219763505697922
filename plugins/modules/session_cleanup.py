#!/usr/bin/python

# Copyright: (c) 2026, baileys.resilience contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: session_cleanup
short_description: Delete WhatsApp (Baileys) keys in PostgreSQL that may go, archived first
version_added: 0.1.0
description:
  - Deletes what Baileys makes anew when it misses it, once it is old. Everything else stays at any age, since old is
    not expired. The time of a key is when it was last written, and most types are written once and used for years.
  - Every row goes into an archive on this host before its deletion is committed. C(baileys-resilience cleanup restore)
    puts a run back, where nothing newer is.
  - Companies that live on files or have no usable creds are passed over and named. Of one that has no creds at all,
    every key goes when none was written for O(orphan_days).
  - When more than O(max_share) of the keys of one company would go, and more than 10, nothing is deleted at all, and
    the module fails.
  - Ages are judged by the database's clock. Keys that somebody is writing are passed over, and clients do not wait.
author:
  - baileys.resilience contributors (@baileys-resilience)
options:
  companies:
    description:
      - Ids of the companies to clean up. Left out, all that are there.
      - An empty list is refused, so that a variable that came out empty does not mean all.
    type: list
    elements: str
  directory_template:
    description:
      - Name of a company's directory on files. An id that cannot name one is refused.
    type: str
    default: company_{company_id}
  policy:
    description:
      - V(safe) deletes the memory of who holds a group's key (after 30 days) and tokens of contacts (28 days after
        their own time).
      - V(age) deletes whatever was written more than O(older_than) days ago, chats, identities and contacts included.
        It loses messages, and needs O(accept_data_loss=true). Even so it keeps app state keys, the newest 812
        pre-keys, sender keys that others are thought to hold, and types that are not known.
    type: str
    choices: [safe, age]
    default: safe
  older_than:
    description:
      - Days, 1 or more. Left out, 30 for V(age), and those of each type for V(safe).
      - Tokens of contacts are valid for 28 days and stay for that long.
    type: float
  retention:
    description:
      - Days by type of key, instead of O(policy) and O(older_than). Types that are not named stay.
      - Types that V(safe) keeps need O(accept_data_loss=true). C(app-state-sync-key) is refused.
    type: dict
  accept_data_loss:
    description:
      - Delete also what sessions use.
    type: bool
    default: false
  cap:
    description:
      - At most so many keys a run. What is left goes in the next one.
    type: int
    default: 10000
  max_share:
    description:
      - The share of a company's keys above which the run stops. A greater one looks like a loss to the mirror and to a
        failover, which then refuse PostgreSQL as a source of this company.
    type: float
    default: 0.2
  archive_dir:
    description:
      - Directory of the archives. Left out, C(cleanup) in O(state_dir).
    type: path
  archive_key_file:
    description:
      - File on the host with the keys of encrypted archives, root's alone (0600). Each line is a key, 32 random bytes
        as base64 or hex. The first encrypts, all of them decrypt. Left out, archives are in the clear.
      - Without its key nobody can read an archive, so keep a copy of this file elsewhere.
    type: path
  keep_days:
    description:
      - Days after which an archive is removed.
    type: float
    default: 90.0
  orphan_days:
    description:
      - Days after which all keys of a company go that has no creds, if none of them was written since. Other limits
        than O(cap) do not hold for these. V(0) for never, otherwise 30 or more.
      - A company that is not named in O(companies) is not looked at.
    type: float
    default: 90.0
attributes:
  check_mode:
    support: full
    details:
      - Counts what would go, and fails where a run would stop. Works on a replica, too.
  diff_mode:
    support: full
extends_documentation_fragment:
  - baileys.resilience.postgres
  - baileys.resilience.sessions.tables
  - baileys.resilience.sessions.state
  - baileys.resilience.attributes
  - baileys.resilience.attributes.group
seealso:
  - module: baileys.resilience.expired_key_info
  - module: baileys.resilience.session_info
"""

EXAMPLES = r"""
- name: Say what would go
  baileys.resilience.session_cleanup:
    login_host: db.example.net
    login_db: whatsapp
    login_user: wa_app
    login_password: "{{ db_password }}"
    ssl_mode: verify-full
    ca_cert: /etc/ssl/certs/db-root.pem
  check_mode: true

- name: Delete it
  baileys.resilience.session_cleanup:
    login_host: db.example.net
    login_db: whatsapp
    login_user: wa_app
    login_password: "{{ db_password }}"
    state_dir: /var/lib/baileys-resilience
  register: cleanup

- name: Keep who holds a group's key for a year, and touch nothing else
  baileys.resilience.session_cleanup:
    login_host: db.example.net
    login_db: whatsapp
    login_user: wa_app
    login_password: "{{ db_password }}"
    state_dir: /var/lib/baileys-resilience
    retention:
      sender-key-memory: 365
"""

RETURN = r"""
run:
  description: The run, for C(baileys-resilience cleanup restore). Empty when nothing was deleted.
  returned: success
  type: str
  sample: cleanup-20260131T030000Z-1a2b
archive:
  description: The archive of what was deleted. Empty when nothing was.
  returned: success
  type: str
  sample: /var/lib/baileys-resilience/cleanup/cleanup-20260131T030000Z-1a2b.jsonl.gz
deleted:
  description: Number of keys that were deleted, or would be.
  returned: success
  type: int
left:
  description: Number of keys that may go and are still there, since a run has a cap, or somebody was writing them.
  returned: success
  type: int
key_count:
  description: Number of keys that were there before.
  returned: success
  type: int
types:
  description: Number of keys that may go by type.
  returned: success
  type: dict
  sample: {"sender-key-memory": 31, "tctoken": 4}
companies:
  description: Each company.
  returned: success
  type: dict
  contains:
    "<company>":
      description: One company.
      type: dict
      returned: for each company
      contains:
        keys:
          description: Number of its keys before.
          type: int
          returned: always
        types:
          description: Number of its keys that may go, by type.
          type: dict
          returned: always
        deleted:
          description: Number of keys that were deleted by type. In check mode empty.
          type: dict
          returned: always
        share:
          description: Share of its keys that may go.
          type: float
          returned: always
        orphan:
          description: Whether it has no creds and none of its keys was written for O(orphan_days), so that all go.
          type: bool
          returned: always
        passed_over:
          description: Why none of its keys goes. Empty where that is not so.
          type: str
          returned: always
ages:
  description: Number of keys by the time since they were written, before the run. Those without a time are C(unknown).
  returned: success
  type: dict
  sample: {"<1d": 212, "1-7d": 400, "7-14d": 180, "14-30d": 290, ">30d": 231}
sizes:
  description: Bytes on disk of both tables and of their indexes. PostgreSQL keeps the room of what went for new rows.
  returned: success
  type: dict
  contains:
    before:
      description: Before the run, by table.
      type: dict
      returned: always
      sample: {"whatsapp_keys": {"index_bytes": 155648, "table_bytes": 491520}}
    after:
      description: Behind it. Null in check mode, and where the connection was lost then.
      type: dict
      returned: always
      sample: {"whatsapp_keys": {"index_bytes": 155648, "table_bytes": 491520}}
vacuum_advice:
  description: What to run so that new rows can have the room now, where much went or autovacuum is off. Else empty.
  returned: success
  type: str
  sample: ""
expired_archives:
  description: Runs whose archives were removed, as they had expired.
  returned: success
  type: list
  elements: str
reconciled:
  description: Runs that were cut off, whose archives were brought to their end.
  returned: success
  type: list
  elements: str
at:
  description: When it was counted, by the server's clock, UTC.
  returned: success
  type: str
  sample: "2026-01-31T03:00:00.123456Z"
error:
  description: The error as data.
  returned: failure
  type: dict
"""

from pathlib import Path
from typing import Any, Dict, List, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.baileys.resilience.plugins.module_utils._ansible import (
    changes_diff,
    chosen_companies,
    companies_spec,
    connect_params,
    errors_reported,
    postgres_spec,
    state_spec,
    table_mapping,
    tables_spec,
)
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.cleanup.choosing import NAMES, choose
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.cleanup.orphans import ORPHAN_DAYS
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.cleanup.plan import (
    CAP,
    MAX_SHARE,
    CleanupSettings,
    Plan,
)
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.cleanup.run import (
    Cleaned,
    clean_up,
    dry_run,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "policy": {"type": "str", "choices": list(NAMES), "default": "safe"},
            "older_than": {"type": "float"},
            "retention": {"type": "dict"},
            "accept_data_loss": {"type": "bool", "default": False},
            "cap": {"type": "int", "default": CAP},
            "max_share": {"type": "float", "default": MAX_SHARE},
            "archive_dir": {"type": "path"},
            # a path, no secret
            "archive_key_file": {"type": "path", "no_log": False},
            "keep_days": {"type": "float", "default": 90.0},
            "orphan_days": {"type": "float", "default": ORPHAN_DAYS},
            **postgres_spec(),
            **companies_spec(),
            **tables_spec(),
            **state_spec(),
        },
        supports_check_mode=True,
    )
    with errors_reported(module):
        settings = cleanup_settings(module.params)
        if module.check_mode:
            plan = dry_run(settings)
            plan.refuse_too_much()
            results = results_of(Cleaned(plan))
            results["deleted"], results["left"] = plan.number, plan.may_go - plan.number
            shown = {each.company: dict(each.counts) for each in plan.companies if not each.passed_over}
        else:
            done = clean_up(settings)
            results, shown = results_of(done), done.deleted
        results["changed"] = bool(results["deleted"] or results["expired_archives"] or results["reconciled"])
        if module._diff:
            results["diff"] = changes_diff({company: {"deleted": kinds} for company, kinds in shown.items()})
        module.exit_json(**results)


def cleanup_settings(params: Dict[str, Any]) -> CleanupSettings:
    archive_dir: Optional[str] = params["archive_dir"]
    key_file: Optional[str] = params["archive_key_file"]
    policy = choose(
        params["policy"],
        older_than_days=params["older_than"],
        retention=days_of(params["retention"]),
        accept_data_loss=params["accept_data_loss"],
    )
    return CleanupSettings(
        connect_params(params),
        table_mapping(params),
        Path(params["state_dir"]),
        policy,
        chosen_companies(params),
        params["cap"],
        params["max_share"],
        params["keep_days"],
        Path(archive_dir) if archive_dir else None,
        params["orphan_days"],
        Path(key_file) if key_file else None,
    )


def days_of(retention: Optional[Dict[str, Any]]) -> Optional[Dict[str, Any]]:
    """Numbers that a template made texts of; the library refuses what is none."""
    if retention is None:
        return None
    days: Dict[str, Any] = {}
    for name, value in retention.items():
        try:
            days[name] = value if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            days[name] = value
    return days


def results_of(done: Cleaned) -> Dict[str, Any]:
    plan: Plan = done.plan
    companies: Dict[str, Any] = plan.as_dict()["companies"]
    fields: List[str] = ["keys", "types", "share", "orphan", "passed_over"]
    return {
        "run": done.run,
        "archive": done.archive,
        "deleted": done.number,
        "left": done.left,
        "key_count": plan.total,
        "types": plan.by_type,
        "companies": {
            name: {**{field: each[field] for field in fields}, "deleted": done.deleted.get(name, {})}
            for name, each in companies.items()
        },
        "ages": plan.ages,
        "sizes": done.as_dict()["sizes"],
        "vacuum_advice": done.advice,
        "expired_archives": done.expired,
        "reconciled": done.reconciled,
        "at": plan.at,
    }


if __name__ == "__main__":
    main()
