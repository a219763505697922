# Copyright: (c) 2026, baileys.resilience contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What a failover needs to know of a host, and what its operator decides."""

    DOCUMENTATION = r"""
options:
  host:
    description:
      - Inventory name of this host. Has to be set.
    type: str
  companies:
    description:
      - The companies that this host runs. Only these are touched. Has to be set.
    type: list
    elements: str
  other_hosts:
    description:
      - The companies of other hosts, by inventory name. A company that is on two lists is refused.
    type: dict
  replica:
    description:
      - A replica of the database, asked where the primary does not answer.
    type: dict
    suboptions:
      login_host:
        description:
          - Host of the replica.
        type: str
        default: localhost
      login_port:
        description:
          - Port of the replica.
        type: int
        default: 5432
      login_user:
        description:
          - User to log in as.
        type: str
        default: postgres
      login_password:
        description:
          - Password of that user.
        type: str
        default: ''
      login_db:
        description:
          - Database that holds the sessions.
        type: str
        default: postgres
      ssl_mode:
        description:
          - Whether the connection uses TLS, and how much of the server's certificate is checked.
        type: str
        default: prefer
        choices: [allow, disable, prefer, require, verify-ca, verify-full]
      ca_cert:
        description:
          - File with the root certificate.
        type: path
        aliases: [ssl_rootcert]
      connect_params:
        description:
          - More parameters for libpq.
        type: dict
        default: {}
  sessions_dir:
    description:
      - The sessions' home, the directory that holds the companies' directories. Has to be set.
    type: path
    aliases: [dest]
  directory_template:
    description:
      - Name of a company's directory in the sessions' home. C({company_id}) stands for the company.
    type: str
    default: company_{company_id}
  mirror_dir:
    description:
      - Directory of the live mirror. Left out, there is none.
    type: path
  client_dir:
    description:
      - Directory in which the application's session client keeps its journals and caches, C(WA_SESSION_DIR). What it
        wrote while the database was away is there and nowhere else. Left out, the application has none.
    type: path
  code:
    description:
      - Where the code that runs from files comes from.
    type: dict
    suboptions:
      source:
        description:
          - V(tag) is a tag of the application's repository, V(archive) a directory in it.
          - V(none) means that the deployed code can do both.
        type: str
        default: none
      tag:
        description:
          - The tag.
        type: str
        default: emergency-file-fallback-v1
      commit:
        description:
          - The commit that the tag must point to. Left out, the one that was found when it was prepared.
        type: str
      archive_path:
        description:
          - The archived directory.
        type: str
        default: archive/baileys-file-sessions-scripts
      archive_target:
        description:
          - The directory that it is laid over.
        type: str
        default: src
      worktree:
        description:
          - Where the prepared code lives. Left out, beside the application's directory.
        type: str
      install:
        description:
          - The command that installs dependencies, as a list of words.
        type: list
        elements: str
        default: [npm, ci, --omit=dev]
      shared:
        description:
          - Paths of the application's directory that the prepared code shares.
        type: list
        elements: str
        default: [.env, baileys_sessions]
  load_check:
    description:
      - How the real Baileys proves that it loads every key.
    type: dict
    suboptions:
      node:
        description:
          - The Node.js that runs the application.
        type: str
        default: node
      script:
        description:
          - The script C(load_check.mjs) that the role P(baileys.resilience.toolkit#role) installs.
          - Left out, there is no proof, and every report says so.
        type: str
      module_dir:
        description:
          - The directory whose C(node_modules) holds Baileys. Left out, the prepared worktree's, and the application's
            where no code is switched.
        type: str
      deadline_seconds:
        description:
          - How long it may take.
        type: float
        default: 60.0
  notify:
    description:
      - Who is told.
    type: dict
    suboptions:
      sentry_dsn:
        description:
          - DSN of Sentry. Left out, Sentry is not told.
        type: str
      telegram_token:
        description:
          - Token of a Telegram bot. Left out, Telegram is not told.
        type: str
      telegram_chat_id:
        description:
          - The chat that the bot writes to.
        type: str
      telegram_api_url:
        description:
          - Address of the Telegram Bot API.
        type: str
        default: https://api.telegram.org
      environment:
        description:
          - The environment that Sentry shows.
        type: str
        default: production
      budget_seconds:
        description:
          - The longest that one notification may take.
        type: float
        default: 3.0
      server_name:
        description:
          - The host that Sentry shows. Left out, the host's own name.
        type: str
      dedupe_window_seconds:
        description:
          - Within this time the same news is not sent twice.
        type: float
        default: 300.0
  confirm:
    description:
      - The inventory name of this host, or V(all). A run is not begun without it.
    type: str
  operator:
    description:
      - Who does this. Left out, the user who called sudo, or the user the module runs as.
    type: str
  source:
    description:
      - Take this source. Left out, what the session client has alone (V(journal) where there was an outage, V(client)
        where it could not write that), else the primary when it is whole, else the youngest whole one.
    type: str
    choices: [client, journal, primary, replica, mirror]
  max_source_age:
    description:
      - A source that is older than this number of seconds is refused, unless O(accept_data_loss=true).
    type: float
    default: 600.0
  accept_data_loss:
    description:
      - Take a source that is older than O(max_source_age).
    type: bool
    default: false
  cooldown:
    description:
      - Seconds that must have passed since the last run of the same kind.
    type: float
    default: 300.0
  connect_seconds:
    description:
      - How long to wait for a database, in seconds, before it counts as dead. Less than 2 counts as 2.
      - One that kept silent for so long when the run was planned is asked for 1 second more before the sources are
        chosen.
    type: float
    default: 3.0
  newer_rows:
    description:
      - What a failback does with a company that has rows in PostgreSQL which somebody wrote after the failover.
    type: str
    choices: [refuse, overwrite]
    default: refuse
  mode:
    description:
      - V(live) moves the sessions while they run. The application's session client holds their writes for about a
        second; nothing restarts, and WhatsApp sees nothing. V(restart) stops the application and starts it again.
      - V(auto) takes V(live) where the client can, else V(restart); also where that is found out only in the run, as
        long as no session has been sealed for its new store. Plan and report say why. V(live) is refused then.
    type: str
    choices: [auto, live, restart]
    default: auto
"""
