#!/usr/bin/python

# Copyright: (c) 2026, baileys.resilience contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: session_import
short_description: Import WhatsApp (Baileys) sessions from directories into PostgreSQL
version_added: 0.1.0
description:
  - Makes the tables equal to the files, key by key. New keys are added, changed ones updated, and those that Baileys
    consumed while it ran on files are deleted.
  - All companies are written in one transaction. Before it is committed the creds of each company are read back and
    compared, and its keys are counted by type. Where a trigger, a rule, a partition or an unusual column type could
    change a row on its way, every key is read back and compared. M(baileys.resilience.session_verify) compares every
    key afterwards.
  - A company that cannot be taken over is left as it was and reported; the others are imported, and then the module
    fails.
  - The store of record (see O(state_dir)) is asked first. A company that it has in PostgreSQL, or on files in another
    directory, or whose files were exported in an epoch before the session moved on, is refused, since the files are an
    old copy. A company without an entry there, such as on a host that was made anew, is imported.
  - Only rows that differ are written. Columns that are not in O(session_tables) keep their values.
  - Stop whatever writes these sessions before, on both sides.
author:
  - baileys.resilience contributors (@baileys-resilience)
options:
  src:
    description:
      - The sessions' home, the directory that holds the companies' directories.
    type: path
    required: true
  reference_time:
    description:
      - Since when the files are the session, UTC, as in V(2026-01-31T03:00:00Z).
      - Left out, since when the store of record has the company on files; without an entry there, the time of the
        snapshot in the company's manifest.
    type: str
  newer_rows:
    description:
      - What to do with a company that has rows in PostgreSQL which were written after O(reference_time) and are neither
        what was exported nor what the files hold, so that somebody else wrote to PostgreSQL meanwhile.
      - A row of which no time tells when it was written counts as newer, unless it is what was exported or what the
        files hold (see C(updated_at) in O(session_tables)).
      - V(refuse) leaves the company as it is and reports it.
      - V(overwrite) takes the files.
    type: str
    choices: [refuse, overwrite]
    default: refuse
  accept_without_manifest:
    description:
      - Also import companies that have no manifest, such as directories that Baileys made itself.
      - Types and ids of keys then come from the names of files, and newer rows are known only by O(reference_time) or
        the store of record. With neither, nothing tells which side is newer, so a company with any row that would be
        overwritten or deleted is refused (see O(newer_rows)). Into empty tables it is imported.
    type: bool
    default: false
  accept_old_copy:
    description:
      - Also import a company of which the store of record says that these files are an old copy.
      - Older keys in the place of newer ones break a session. A human has to decide this.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    details:
      - Does everything inside a transaction that is rolled back, so it also finds what the server would refuse.
  diff_mode:
    support: full
extends_documentation_fragment:
  - baileys.resilience.postgres
  - baileys.resilience.sessions
  - baileys.resilience.sessions.tables
  - baileys.resilience.sessions.state
  - baileys.resilience.attributes
  - baileys.resilience.attributes.group
seealso:
  - module: baileys.resilience.session_export
  - module: baileys.resilience.session_verify
"""

EXAMPLES = r"""
- name: Say what would change in PostgreSQL
  baileys.resilience.session_import:
    login_host: db.example.net
    login_db: whatsapp
    login_user: wa_app
    login_password: "{{ db_password }}"
    src: /srv/whatsapp/baileys_sessions
  check_mode: true
  diff: true

- name: Bring two companies back to PostgreSQL
  baileys.resilience.session_import:
    login_host: db.example.net
    login_db: whatsapp
    login_user: wa_app
    login_password: "{{ db_password }}"
    ssl_mode: verify-full
    ca_cert: /etc/ssl/certs/db-root.pem
    src: /srv/whatsapp/baileys_sessions
    companies:
      - "962301"
      - "962302"

- name: Take the files, whatever was written to PostgreSQL since the switch
  baileys.resilience.session_import:
    login_host: db.example.net
    login_db: whatsapp
    login_user: wa_app
    login_password: "{{ db_password }}"
    src: /srv/whatsapp/baileys_sessions
    reference_time: "2026-01-31T03:00:00Z"
    newer_rows: overwrite
"""

RETURN = r"""
companies:
  description: What came of each company that was imported, or would be.
  returned: success, and failure after the database was reached
  type: dict
  contains:
    "<company>":
      description: One company.
      type: dict
      returned: for each company
      contains:
        added:
          description: Number of rows added, by type of key. Creds count as a type.
          type: dict
          returned: always
        updated:
          description: Number of rows updated, by type of key.
          type: dict
          returned: always
        deleted:
          description: Number of rows deleted, by type of key.
          type: dict
          returned: always
        unchanged:
          description: Number of keys that were equal already.
          type: int
          returned: always
        changed:
          description: Whether any row differs from what was there.
          type: bool
          returned: always
counts:
  description: Number of keys by company and type, as they are in the files and now in PostgreSQL.
  returned: success, and failure after the database was reached
  type: dict
  sample: {"962301": {"pre-key": 812, "session": 301}}
manifest:
  description: Path, SHA256 and epoch of the manifest of each company that has one.
  returned: success, and failure after the database was reached
  type: dict
  sample:
    "962301":
      path: /srv/whatsapp/baileys_sessions/company_962301/.resilience-manifest.jsonl
      sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      epoch: 0
source:
  description: Where the sessions come from.
  returned: success, and failure after the database was reached
  type: dict
  sample: {"detail": "/srv/whatsapp/baileys_sessions", "kind": "directory"}
target:
  description: The database.
  returned: success, and failure after the database was reached
  type: str
  sample: db.example.net:5432/whatsapp
snapshot_at:
  description: Time of the newest change among the directories, UTC.
  returned: success, and failure after the database was reached
  type: str
  sample: "2026-01-31T03:00:00.123456Z"
lsn:
  description: Always null, since directories have none.
  returned: success, and failure after the database was reached
  type: str
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

from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.baileys.resilience.plugins.module_utils._ansible import (
    changes_diff,
    chosen_companies,
    companies_of,
    companies_spec,
    connect_params,
    errors_reported,
    failed_results,
    finish,
    manifest_results,
    postgres_spec,
    sessions_home,
    source_results,
    state_spec,
    store_record,
    table_mapping,
    tables_spec,
)
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.clock import from_iso
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.sessions.directory_source import (
    DirectorySource,
)
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.sessions.import_guard import ImportOptions
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.sessions.importing import (
    CompanyImport,
    ImportReport,
    import_companies,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "src": {"type": "path", "required": True},
            "reference_time": {"type": "str"},
            "newer_rows": {"type": "str", "choices": ["refuse", "overwrite"], "default": "refuse"},
            "accept_without_manifest": {"type": "bool", "default": False},
            "accept_old_copy": {"type": "bool", "default": False},
            **postgres_spec(),
            **companies_spec(),
            **tables_spec(),
            **state_spec(),
        },
        supports_check_mode=True,
    )
    params = module.params
    with errors_reported(module):
        source = DirectorySource(
            sessions_home(params, params["src"]), require_manifest=not params["accept_without_manifest"]
        )
        companies = companies_of(source, chosen_companies(params))
        if params["reference_time"]:
            from_iso(params["reference_time"])
        options = ImportOptions(
            reference_time=params["reference_time"],
            record=store_record(params).all(),
            newer_rows=params["newer_rows"],
            accept_old_copy=params["accept_old_copy"],
            dry_run=module.check_mode,
        )
        report = import_companies(source, connect_params(params), table_mapping(params), companies, options)
        results = results_of(source, report)
        if module._diff:
            results["diff"] = changes_diff(
                {
                    name: {kind: each[kind] for kind in ("added", "updated", "deleted")}
                    for name, each in results["companies"].items()
                }
            )
        finish(module, results, report.failed, len(companies), "were not imported")


def results_of(source: DirectorySource, report: ImportReport) -> Dict[str, Any]:
    done: List[str] = [each.company for each in report.imported]
    counts: Dict[str, Dict[str, int]] = {}
    for company in done:
        of_company = counts.setdefault(company, {})
        for _name, key_type, _id in source.key_names(company):
            of_company[key_type] = of_company.get(key_type, 0) + 1
    manifests = {company: source.manifest(company) for company in done}
    return {
        "changed": report.changed,
        "companies": {each.company: company_results(each) for each in report.imported},
        "counts": counts,
        "manifest": manifest_results({name: found for name, found in manifests.items() if found}),
        "target": report.target,
        "duration_seconds": round(report.duration_seconds, 3),
        "failed_companies": failed_results(report.failed),
        **source_results(source.info),
    }


def company_results(each: CompanyImport) -> Dict[str, Any]:
    kinds = {"added": dict(each.added), "updated": dict(each.updated), "deleted": dict(each.deleted)}
    if each.creds != "unchanged":
        kinds[each.creds]["creds"] = 1
    return {**kinds, "unchanged": each.unchanged, "changed": each.changed}


if __name__ == "__main__":
    main()
