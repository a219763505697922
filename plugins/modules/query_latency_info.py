#!/usr/bin/python

# Copyright: (c) 2026, baileys.resilience contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: query_latency_info
short_description: Measure how fast PostgreSQL answers, and whether it takes writes
version_added: 0.1.0
description:
  - Connects, reads and writes several times, each time on a new connection, and shows P50, P95, P99 and maximum.
  - The write gives one key the value that it has, and takes that back in the same message to the server, so that no
    lock waits for this host. A key that somebody works on is passed over. In an empty table nothing is written, but
    missing rights, locks and a read-only server are found all the same. What only a commit waits for (the disk, a
    synchronous standby) is not in it.
  - Percentiles of the probes are by nearest rank, so each is a time that was measured. Those of the application are
    interpolated in the buckets of its histogram.
  - Two failed rounds in a row end the probing.
author:
  - baileys.resilience contributors (@baileys-resilience)
options:
  samples:
    description:
      - Number of rounds.
    type: int
    default: 20
  deadline:
    description:
      - Seconds after which one operation counts as not answered, by the clock of the host the module runs on.
    type: float
    default: 5.0
  total_deadline:
    description:
      - Seconds after which no more is asked. What was measured until then is the result.
    type: float
    default: 30.0
  write:
    description:
      - Whether to write. Turn it off for a replica, or for a role that may only read.
    type: bool
    default: true
  thresholds:
    description:
      - What counts as slow.
    type: dict
    suboptions:
      query_ms:
        description:
          - P95 of reads or writes above these milliseconds is a warning.
        type: float
        default: 500.0
      connect_ms:
        description:
          - P95 of connecting above these milliseconds is a warning. Connecting takes several round trips.
        type: float
        default: 1500.0
extends_documentation_fragment:
  - baileys.resilience.postgres
  - baileys.resilience.sessions.tables
  - baileys.resilience.health
  - baileys.resilience.health.client
  - baileys.resilience.attributes.info
  - baileys.resilience.attributes.group
seealso:
  - module: baileys.resilience.connection_pool_info
  - module: baileys.resilience.expired_key_info
"""

EXAMPLES = r"""
- name: Measure how fast the database answers
  baileys.resilience.query_latency_info:
    login_host: db.example.net
    login_db: whatsapp
    login_user: wa_app
    login_password: "{{ db_password }}"
    ssl_mode: verify-full
    ca_cert: /etc/ssl/certs/db-root.pem
  register: latency

- name: Show P95
  ansible.builtin.debug:
    msg: "read {{ latency.operations.read.p95_ms }} ms, write {{ latency.operations.write.p95_ms }} ms"

- name: Stop the play when the database is dead or takes no writes
  baileys.resilience.query_latency_info:
    login_host: db.example.net
    login_db: whatsapp
    login_user: wa_app
    login_password: "{{ db_password }}"
    samples: 3
    fail_on: critical

- name: Show the application's own times too
  baileys.resilience.query_latency_info:
    login_host: db.example.net
    login_db: whatsapp
    login_user: wa_app
    login_password: "{{ db_password }}"
    client_dir: /var/lib/baileys-resilience-client
    thresholds:
      query_ms: 200
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
  sample: [{"advice": "", "cause": "", "figure": "connect", "status": "ok"}]
advice:
  description: What to run, most urgent first. Empty when all is well.
  returned: always
  type: list
  elements: str
thresholds:
  description: The thresholds that were used.
  returned: always
  type: dict
  sample: {"connect_ms": 1500.0, "query_ms": 500.0}
operations:
  description: >-
    What was measured, by operation (C(connect), C(read), C(write)), number of samples and of failures, times in
    milliseconds (null without samples), and how percentiles were made. An operation that comes after one that failed
    was not tried.
  returned: always
  type: dict
  sample:
    connect:
      failed: 0
      max_ms: 9.1
      method: nearest-rank
      p50_ms: 4.2
      p95_ms: 6.8
      p99_ms: 9.1
      samples: 20
client_operations:
  description: >-
    The application's own times by operation since it started, waiting for a connection included, like
    C(operations) without failures. A maximum is not known. Null when the client was not asked or did not answer.
  returned: always
  type: dict
in_recovery:
  description: Whether the server is a replica. Null when no read succeeded.
  returned: always
  type: bool
read_only:
  description: Whether transactions are read-only. Null when no read succeeded.
  returned: always
  type: bool
cut_short:
  description: Whether O(total_deadline) ended the probing before all samples were taken.
  returned: always
  type: bool
duration_seconds:
  description: How long the probing took.
  returned: always
  type: float
source:
  description: What was probed.
  returned: always
  type: str
  sample: db.example.net:5432/whatsapp
error:
  description: The error as data, for options that cannot be meant and missing packages.
  returned: failure
  type: dict
"""

from typing import Any, Dict, List, Optional, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.baileys.resilience.plugins.module_utils._ansible import (
    connect_params,
    errors_reported,
    postgres_spec,
    table_mapping,
    tables_spec,
)
from ansible_collections.baileys.resilience.plugins.module_utils._health_results import end, health_spec
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.errors import (
    ApplicationError,
    Unavailable,
)
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.health.client_metrics import (
    client_error,
    queries_of,
    read_metrics,
)
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.health.findings import Finding
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.health.latency import (
    Operation,
    ProbePlan,
    judge_latency,
    probe,
)
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.health.thresholds import (
    LatencyThresholds,
)

DEADLINE_SECONDS = 5.0


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "samples": {"type": "int", "default": 20},
            "total_deadline": {"type": "float", "default": 30.0},
            "write": {"type": "bool", "default": True},
            "client_dir": {"type": "path"},
            **health_spec(LatencyThresholds, deadline_seconds=DEADLINE_SECONDS),
            **postgres_spec(),
            **tables_spec(),
        },
        supports_check_mode=True,
    )
    params = module.params
    with errors_reported(module):
        thresholds = LatencyThresholds(**(params["thresholds"] or {}))
        database, tables = connect_params(params), table_mapping(params)
        plan = ProbePlan(params["samples"], params["deadline"], params["total_deadline"], params["write"])
        found = probe(database, tables, plan)
        findings = judge_latency(found, thresholds, tables, database.user)
        client, client_findings = client_operations(params)
        figures = {
            "operations": {name: operation_results(each) for name, each in found.operations.items()},
            "client_operations": client,
            "in_recovery": found.in_recovery,
            "read_only": found.read_only,
            "cut_short": found.cut_short,
            "duration_seconds": found.duration_seconds,
            "source": database.where,
        }
        end(module, [*findings, *client_findings], thresholds, figures)


def client_operations(params: Dict[str, Any]) -> Tuple[Optional[Dict[str, Any]], List[Finding]]:
    if not params["client_dir"]:
        return None, []
    try:
        samples = read_metrics(params["client_dir"], seconds=params["deadline"])
    except (Unavailable, ApplicationError) as error:
        return None, [client_error(error, "client queries")]
    return {name: each.as_dict() for name, each in queries_of(samples).items()}, []


def operation_results(operation: Operation) -> Dict[str, Any]:
    return {**operation.summary.as_dict(), "failed": len(operation.errors)}


if __name__ == "__main__":
    main()
