#!/usr/bin/python

# Copyright: (c) 2026, baileys.resilience contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: connection_pool_info
short_description: Show who holds PostgreSQL's connections, and how full the pools before it are
version_added: 0.1.0
description:
  - Shows the connections of the server by state and by application, its limits and what is free; the pool of the
    running session client; and the pools of a PgBouncer. Changes nothing.
  - A role without C(pg_monitor) (or C(pg_read_all_stats)) does not see the states of other roles' sessions. That figure
    is then C(unknown), with the GRANT to run. Connections are counted all the same, workers of autovacuum and parallel
    queries with them.
author:
  - baileys.resilience contributors (@baileys-resilience)
options:
  deadline:
    description:
      - Seconds after which a server, client or PgBouncer counts as not answering, by the clock of the host the module
        runs on. It bounds connecting and each answer.
    type: float
    default: 5.0
  pgbouncer_dsn:
    description:
      - Where to reach the admin console of a PgBouncer, as a connection string of libpq, such as C(host=127.0.0.1
        port=6432 user=stats). The user has to be one of its C(stats_users) or C(admin_users).
      - Left out, none is asked.
    type: str
  thresholds:
    description:
      - What counts as full.
    type: dict
    suboptions:
      used_percent:
        description:
          - More than this share of a pool or of the server's connections in use is a warning.
        type: float
        default: 80.0
      waiting:
        description:
          - More than this number of operations that wait for a connection is a warning.
        type: int
        default: 5
notes:
  - O(session_tables) is accepted, so that C(module_defaults) of the whole group fit, and not used.
extends_documentation_fragment:
  - baileys.resilience.postgres
  - baileys.resilience.sessions.tables
  - baileys.resilience.health
  - baileys.resilience.health.client
  - baileys.resilience.attributes.info
  - baileys.resilience.attributes.group
seealso:
  - module: baileys.resilience.query_latency_info
  - module: baileys.resilience.expired_key_info
"""

EXAMPLES = r"""
- name: Look at the connections of the server
  baileys.resilience.connection_pool_info:
    login_host: db.example.net
    login_db: whatsapp
    login_user: wa_app
    login_password: "{{ db_password }}"
    ssl_mode: verify-full
    ca_cert: /etc/ssl/certs/db-root.pem
  register: pool

- name: Show how many are free
  ansible.builtin.debug:
    msg: "{{ pool.server.free }} of {{ pool.server.limits.max_connections }} connections are free"

- name: Look at the application's pool and at PgBouncer too
  baileys.resilience.connection_pool_info:
    login_host: db.example.net
    login_db: whatsapp
    login_user: wa_app
    login_password: "{{ db_password }}"
    client_dir: /var/lib/baileys-resilience-client
    pgbouncer_dsn: host=127.0.0.1 port=6432 user=stats
    thresholds:
      used_percent: 70
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
  sample: [{"advice": "", "cause": "", "figure": "server connections", "status": "ok"}]
advice:
  description: What to run, most urgent first. Empty when all is well.
  returned: always
  type: list
  elements: str
thresholds:
  description: The thresholds that were used.
  returned: always
  type: dict
  sample: {"used_percent": 80.0, "waiting": 5}
server:
  description: Connections of the server. Null when it did not answer.
  returned: always
  type: dict
  contains:
    used:
      description: Number of connections in use, this module's included.
      type: int
      returned: always
    used_by_role:
      description: Those of O(login_user).
      type: int
      returned: always
    used_in_database:
      description: Those to O(login_db).
      type: int
      returned: always
    free:
      description: How many a role that is no superuser can still open, by the tightest of the limits.
      type: int
      returned: always
    used_percent:
      description: Share of the tightest limit that is in use.
      type: float
      returned: always
    by_state:
      description: Connections by state. Null when O(login_user) may not see all states.
      type: dict
      returned: always
      sample: {"active": 1, "idle": 9}
    by_application:
      description: Connections by application_name.
      type: dict
      returned: always
      sample: {"baileys-resilience": 1, "wa-session-client": 9}
    all_visible:
      description: Whether O(login_user) sees the sessions of other roles.
      type: bool
      returned: always
    login_role:
      description: The role that asked.
      type: str
      returned: always
    limits:
      description: >-
        C(max_connections), of which C(superuser_reserved) and C(reserved) are not for the application, and the limits
        of C(role) and C(database), null where there is none.
      type: dict
      returned: always
      sample: {"database": null, "max_connections": 200, "reserved": 0, "role": null, "superuser_reserved": 3}
client:
  description: >-
    The pool of the running session client, connections C(idle) and C(active) (lent out), operations C(waiting), size
    C(max) and C(used_percent). Null when it was not asked or did not answer.
  returned: always
  type: dict
  sample: {"active": 1, "idle": 3, "max": 10, "used_percent": 10.0, "waiting": 0}
pgbouncer:
  description: The pools of PgBouncer. Null when it was not asked or did not answer.
  returned: always
  type: list
  elements: dict
  sample:
    - clients_active: 9
      clients_waiting: 0
      database: whatsapp
      longest_wait_seconds: 0.0
      pool_mode: transaction
      pool_size: 20
      servers_active: 2
      servers_idle: 3
      used_percent: 10.0
      user: wa_app
source:
  description: The server that was asked.
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
    tables_spec,
)
from ansible_collections.baileys.resilience.plugins.module_utils._health_results import end, health_spec
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.errors import (
    ApplicationError,
    ResilienceError,
    Unavailable,
)
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.health import (
    client_metrics,
    pgbouncer,
    server_pool,
)
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.health.findings import (
    Finding,
    from_error,
)
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.health.thresholds import (
    PoolThresholds,
    check_deadline,
)
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.postgres import ConnectParams

DEADLINE_SECONDS = 5.0


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "client_dir": {"type": "path"},
            "pgbouncer_dsn": {"type": "str", "no_log": True},
            **health_spec(PoolThresholds, deadline_seconds=DEADLINE_SECONDS),
            **postgres_spec(),
            **tables_spec(),
        },
        supports_check_mode=True,
    )
    params = module.params
    with errors_reported(module):
        thresholds = PoolThresholds(**(params["thresholds"] or {}))
        check_deadline("deadline", params["deadline"])
        database = connect_params(params)
        console = pgbouncer.console_params(params["pgbouncer_dsn"]) if params["pgbouncer_dsn"] else None
        server, findings = look_at_server(database, params["deadline"], thresholds)
        client, client_findings = look_at_client(params, thresholds)
        pools, bouncer_findings = look_at_bouncer(console, params["deadline"], thresholds)
        figures = {"server": server, "client": client, "pgbouncer": pools, "source": database.where}
        end(module, [*findings, *client_findings, *bouncer_findings], thresholds, figures)


Looked = Tuple[Optional[Any], List[Finding]]


def look_at_server(database: ConnectParams, seconds: float, thresholds: PoolThresholds) -> Looked:
    try:
        pool = server_pool.read_server_pool(database, seconds=seconds)
    except ResilienceError as error:
        return None, [from_error(server_pool.FIGURE, error)]
    return pool.as_dict(), server_pool.judge_server_pool(pool, thresholds)


def look_at_client(params: Dict[str, Any], thresholds: PoolThresholds) -> Looked:
    if not params["client_dir"]:
        return None, []
    try:
        samples = client_metrics.read_metrics(params["client_dir"], seconds=params["deadline"])
    except (Unavailable, ApplicationError) as error:
        return None, [client_metrics.client_error(error)]
    pool = client_metrics.pool_of(samples)
    return pool and pool.as_dict(), [client_metrics.judge_client_pool(pool, thresholds)]


def look_at_bouncer(console: Optional[ConnectParams], seconds: float, thresholds: PoolThresholds) -> Looked:
    if console is None:
        return None, []
    try:
        pools = pgbouncer.read_bouncer(console, seconds=seconds)
    except ResilienceError as error:
        return None, [from_error(pgbouncer.FIGURE, error)]
    return [each.as_dict() for each in pools], [pgbouncer.judge_bouncer(pools, thresholds)]


if __name__ == "__main__":
    main()
