#!/usr/bin/python

# Copyright: (c) 2026, baileys.resilience contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: session_verify
short_description: Verify WhatsApp (Baileys) sessions in a database or in directories
version_added: 0.1.0
description:
  - Reads every key of every company and checks that it can be decoded and has the shape that Baileys needs, that the
    creds belong together cryptographically, and that they fit the keys.
  - On request it also compares the sessions, key by key, with their manifests or with the other store.
  - Changes nothing.
author:
  - baileys.resilience contributors (@baileys-resilience)
options:
  src:
    description:
      - The sessions' home, the directory that holds the companies' directories and their manifests.
    type: path
  subject:
    description:
      - What is verified, the directories in O(src) or the database.
      - Left out, V(directory) when O(src) is set, else V(database).
    type: str
    choices: [directory, database]
  against:
    description:
      - What the subject is compared with.
      - V(manifest) is the manifest of each company in O(src), which says what was exported. Files on which Baileys has
        run since then differ from it.
      - V(database) and V(directory) are the other store.
      - V(nothing) compares with nothing; keys and creds are still checked.
      - Left out, V(manifest) when O(src) is set, else V(nothing).
    type: str
    choices: [manifest, database, directory, nothing]
  fail:
    description:
      - Whether the module fails when anything is wrong.
    type: bool
    default: true
extends_documentation_fragment:
  - baileys.resilience.postgres
  - baileys.resilience.sessions
  - baileys.resilience.sessions.tables
  - baileys.resilience.attributes.info
  - baileys.resilience.attributes.group
seealso:
  - module: baileys.resilience.session_info
"""

EXAMPLES = r"""
- name: Verify that the files are what was exported
  baileys.resilience.session_verify:
    src: /srv/whatsapp/baileys_sessions

- name: Verify that the database holds the same sessions as the files
  baileys.resilience.session_verify:
    login_host: db.example.net
    login_db: whatsapp
    login_user: wa_app
    login_password: "{{ db_password }}"
    src: /srv/whatsapp/baileys_sessions
    subject: database
    against: directory

- name: Look for broken sessions in the database
  baileys.resilience.session_verify:
    login_host: db.example.net
    login_db: whatsapp
    login_user: wa_app
    login_password: "{{ db_password }}"
    fail: false
  register: sessions
"""

RETURN = r"""
verified:
  description: Whether nothing is wrong with any company.
  returned: success, and failure after the stores were read
  type: bool
companies:
  description: What was found of each company.
  returned: success, and failure after the stores were read
  type: dict
  contains:
    "<company>":
      description: One company.
      type: dict
      returned: for each company
      contains:
        verified:
          description: Whether nothing is wrong.
          type: bool
          returned: always
        problems:
          description: What is wrong. Ids of keys are hashed.
          type: list
          elements: str
          returned: always
        user:
          description: The WhatsApp user that the session is paired to. Null when there is none.
          type: str
          returned: always
        keys:
          description: Number of keys.
          type: int
          returned: always
        missing:
          description: Number of keys that the subject lacks, by type.
          type: dict
          returned: when there was something to compare with
        extra:
          description: Number of keys that only the subject has, by type.
          type: dict
          returned: when there was something to compare with
        different:
          description: Number of keys that the subject holds differently, by type.
          type: dict
          returned: when there was something to compare with
counts:
  description: Number of keys of the subject, by company and type.
  returned: success, and failure after the stores were read
  type: dict
  sample: {"962301": {"pre-key": 812, "session": 301}}
manifest:
  description: Path and SHA256 of each company's manifest.
  returned: when O(against=manifest)
  type: dict
source:
  description: The subject.
  returned: success, and failure after the stores were read
  type: dict
  sample: {"detail": "db.example.net:5432/whatsapp", "kind": "primary"}
snapshot_at:
  description: Time of the snapshot by the server's clock, UTC. For directories, the newest change among them.
  returned: success, and failure after the stores were read
  type: str
  sample: "2026-01-31T03:00:00.123456Z"
lsn:
  description: Position of the snapshot in the server's write-ahead log. Null for directories.
  returned: success, and failure after the stores were read
  type: str
  sample: 0/1A2B3C8
duration_seconds:
  description: How long it took.
  returned: success, and failure after the stores were read
  type: float
error:
  description: The error as data, with its name, cause, hint, and whether the same call can succeed later.
  returned: failure
  type: dict
"""

import time
from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.baileys.resilience.plugins.module_utils._ansible import (
    chosen_companies,
    companies_spec,
    connect_params,
    errors_reported,
    fail,
    manifest_results,
    postgres_spec,
    sessions_home,
    source_results,
    table_mapping,
    tables_spec,
)
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.sessions.audit import (
    Audit,
    AuditRequest,
    Verdict,
    run_audit,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "src": {"type": "path"},
            "subject": {"type": "str", "choices": ["directory", "database"]},
            "against": {"type": "str", "choices": ["manifest", "database", "directory", "nothing"]},
            "fail": {"type": "bool", "default": True},
            **postgres_spec(),
            **companies_spec(),
            **tables_spec(),
        },
        supports_check_mode=True,
    )
    params = module.params
    started = time.monotonic()
    with errors_reported(module):
        audit = run_audit(
            AuditRequest(
                subject=params["subject"] or ("directory" if params["src"] else "database"),
                against=params["against"] or ("manifest" if params["src"] else "nothing"),
                params=connect_params(params),
                tables=table_mapping(params),
                home=sessions_home(params, params["src"]) if params["src"] else None,
                companies=chosen_companies(params),
            )
        )
        results = results_of(audit)
        results["duration_seconds"] = round(time.monotonic() - started, 3)
        error = audit.error()
        if error and params["fail"]:
            fail(module, error, **results)
        module.exit_json(**results)


def results_of(audit: Audit) -> Dict[str, Any]:
    results: Dict[str, Any] = {
        "changed": False,
        "verified": not audit.bad,
        "companies": {each.company: company_results(each) for each in audit.verdicts},
        "counts": {each.company: each.state.counts for each in audit.verdicts},
        **source_results(audit.source),
    }
    if audit.manifests is not None:
        results["manifest"] = manifest_results(audit.manifests)
    return results


def company_results(verdict: Verdict) -> Dict[str, Any]:
    results: Dict[str, Any] = {
        "verified": verdict.good,
        "problems": verdict.problems,
        "user": verdict.state.user,
        "keys": verdict.state.keys,
    }
    if verdict.difference is not None:
        for kind in ("missing", "extra", "different"):
            results[kind] = by_type([key_type for key_type, _id in getattr(verdict.difference, kind)])
    return results


def by_type(types: List[str]) -> Dict[str, int]:
    return {key_type: types.count(key_type) for key_type in sorted(set(types))}


if __name__ == "__main__":
    main()
