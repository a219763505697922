#!/usr/bin/python

# Copyright: (c) 2026, baileys.resilience contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: session_export
short_description: Export WhatsApp (Baileys) sessions from PostgreSQL to directories
version_added: 0.1.0
description:
  - Writes the session of each company as the directory of files that Baileys' C(useMultiFileAuthState) reads.
  - All companies are read in one snapshot of the database. A company is staged, synced to disk, read back against its
    manifest, and only then swapped into its place in one step; what it replaces is kept for seven days.
  - Creds are checked cryptographically, and every key by its shape. A company that cannot be exported whole is left as
    it was and reported; the others are exported, and then the module fails.
  - A company that lives on files on this host (see O(state_dir)) is not overwritten.
author:
  - baileys.resilience contributors (@baileys-resilience)
options:
  dest:
    description:
      - The sessions' home, the directory that holds the companies' directories. Made with mode 0700 if it is missing.
    type: path
    required: true
  jobs:
    description:
      - Number of processes that export at the same time, all from the same snapshot.
    type: int
    default: 1
attributes:
  check_mode:
    support: full
    details:
      - Reads and compares everything that would be written; only the free space is not known before writing.
  diff_mode:
    support: full
extends_documentation_fragment:
  - baileys.resilience.postgres
  - baileys.resilience.sessions
  - baileys.resilience.sessions.tables
  - baileys.resilience.sessions.ownership
  - baileys.resilience.sessions.state
  - baileys.resilience.attributes
  - baileys.resilience.attributes.group
seealso:
  - module: baileys.resilience.session_import
  - module: baileys.resilience.session_verify
"""

EXAMPLES = r"""
- name: Export all sessions
  baileys.resilience.session_export:
    login_host: db.example.net
    login_db: whatsapp
    login_user: wa_app
    login_password: "{{ db_password }}"
    ssl_mode: verify-full
    ca_cert: /etc/ssl/certs/db-root.pem
    dest: /srv/whatsapp/baileys_sessions
    owner: whatsapp
    group: whatsapp

- name: Say what an export of two companies would change
  baileys.resilience.session_export:
    login_host: db.example.net
    login_db: whatsapp
    login_user: wa_app
    login_password: "{{ db_password }}"
    dest: /srv/whatsapp/baileys_sessions
    companies:
      - "962301"
      - "962302"
  check_mode: true
  diff: true

- name: Export from tables with names of their own, with two processes
  baileys.resilience.session_export:
    login_host: db.example.net
    login_db: whatsapp
    login_user: wa_app
    login_password: "{{ db_password }}"
    dest: /srv/whatsapp/copy
    directory_template: session-{company_id}
    jobs: 2
    session_tables:
      auth:
        table: public.whatsapp_auth
      keys:
        table: public.whatsapp_keys
        value: value
        updated_at: ""
"""

RETURN = r"""
companies:
  description: What came of each company that was exported, or would be.
  returned: success, and failure after the database was reached
  type: dict
  contains:
    "<company>":
      description: One company.
      type: dict
      returned: for each company
      contains:
        directory:
          description: The company's directory.
          type: str
          returned: always
        user:
          description: The WhatsApp user that the session is paired to.
          type: str
          returned: always
        keys:
          description: Number of keys.
          type: int
          returned: always
        bytes:
          description: Size of all files.
          type: int
          returned: always
        changed:
          description: Whether the files differ from what was there.
          type: bool
          returned: always
        previous:
          description: Where the replaced directory is kept.
          type: str
          returned: when a directory was replaced
counts:
  description: Number of keys by company and type.
  returned: success, and failure after the database was reached
  type: dict
  sample: {"962301": {"pre-key": 812, "session": 301}}
manifest:
  description: Path and SHA256 of each company's manifest, and the epoch of the store of record that it names.
  returned: success, and failure after the database was reached, not in check mode
  type: dict
  sample:
    "962301":
      path: /srv/whatsapp/baileys_sessions/company_962301/.resilience-manifest.jsonl
      sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      epoch: 0
changes:
  description: Numbers of files added, updated and removed, by company and type.
  returned: in check mode and in diff mode
  type: dict
  sample: {"962301": {"added": {"pre-key": 2}, "updated": {"creds": 1, "session": 4}, "removed": {}}}
source:
  description: Where the snapshot comes from.
  returned: success, and failure after the database was reached
  type: dict
  sample: {"detail": "db.example.net:5432/whatsapp", "kind": "primary"}
snapshot_at:
  description: Time of the snapshot by the server's clock, UTC.
  returned: success, and failure after the database was reached
  type: str
  sample: "2026-01-31T03:00:00.123456Z"
lsn:
  description: Position of the snapshot in the server's write-ahead log.
  returned: success, and failure after the database was reached
  type: str
  sample: 0/1A2B3C8
duration_seconds:
  description: How long it took.
  returned: success, and failure after the database was reached
  type: float
failed_companies:
  description: The error of each company that was left as it was.
  returned: success, and failure after the database was reached
  type: dict
error:
  description: The error as data, with its name, cause, hint, and whether the same call can succeed later.
  returned: failure
  type: dict
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.baileys.resilience.plugins.module_utils._ansible import (
    changes_diff,
    chosen_companies,
    companies_spec,
    connect_params,
    errors_reported,
    failed_results,
    finish,
    ownership_spec,
    postgres_spec,
    sessions_home,
    source_results,
    state_spec,
    store_record,
    table_mapping,
    tables_spec,
)
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.sessions.manifest import MANIFEST_FILE
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.sessions.transfer import (
    ExportOutcome,
    ExportRequest,
    plan_export,
    run_export,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "jobs": {"type": "int", "default": 1},
            **postgres_spec(),
            **companies_spec(),
            **tables_spec(),
            **ownership_spec(),
            **state_spec(),
        },
        supports_check_mode=True,
    )
    with errors_reported(module):
        request = request_from(module.params)
        if module.check_mode:
            outcome = plan_export(request)
        else:
            outcome = run_export(request, with_changes=module._diff)
        results = results_of(outcome, with_changes=module.check_mode or module._diff)
        if module._diff:
            results["diff"] = changes_diff(results["changes"])
        total = len(outcome.report.failed) + len(outcome.report.exported)
        finish(module, results, outcome.report.failed, total, "were not exported")


def request_from(params: Dict[str, Any]) -> ExportRequest:
    return ExportRequest(
        params=connect_params(params),
        tables=table_mapping(params),
        home=sessions_home(params, params["dest"]),
        companies=chosen_companies(params),
        jobs=max(1, params["jobs"]),
        record=store_record(params),
    )


def results_of(outcome: ExportOutcome, *, with_changes: bool) -> Dict[str, Any]:
    report = outcome.report
    results: Dict[str, Any] = {
        "changed": report.changed,
        "companies": {
            each.company: {
                "directory": str(each.directory),
                "user": each.user,
                "keys": each.keys,
                "bytes": each.bytes,
                "changed": each.changed,
                **({"previous": str(each.previous)} if each.previous else {}),
            }
            for each in report.exported
        },
        "counts": report.counts(),
        "manifest": {
            each.company: {
                "path": str(each.directory / MANIFEST_FILE),
                "sha256": each.manifest_sha256,
                "epoch": each.epoch,
            }
            for each in report.exported
            if each.manifest_sha256
        },
        "duration_seconds": round(report.duration_seconds, 3),
        "failed_companies": failed_results(report.failed),
        **source_results(report.source),
    }
    if with_changes:
        results["changes"] = {company: changes.as_dict() for company, changes in outcome.changes.items()}
    return results


if __name__ == "__main__":
    main()
