# Copyright: (c) 2026, baileys.resilience contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The application of a host, as a failover needs to know it."""

    DOCUMENTATION = r"""
options:
  application:
    description:
      - The application on this host.
    type: dict
    suboptions:
      dir:
        description:
          - Its directory.
        type: str
        default: /opt/baileys-whatsapp-service
      env_file:
        description:
          - Its environment file. Left out, C(.env) in its directory.
        type: str
      user:
        description:
          - The user that it runs as and that owns its files. Left out, the user the module runs as.
        type: str
      postgres_env:
        description:
          - Flags in the environment file when sessions live in PostgreSQL.
        type: dict
        default:
          USE_REPOSITORY_PATTERN: "true"
          USE_DATABASE_AUTH_STATE: "true"
          USE_LEGACY_SUPABASE: "false"
      files_env:
        description:
          - Flags in the environment file when sessions live in files.
        type: dict
        default:
          USE_REPOSITORY_PATTERN: "false"
          USE_DATABASE_AUTH_STATE: "false"
          USE_LEGACY_SUPABASE: "false"
      service:
        description:
          - What starts and stops it.
        type: dict
        suboptions:
          manager:
            description:
              - The service manager, V(pm2), V(systemd), or V(argv) for commands of your own.
            type: str
            default: pm2
          name:
            description:
              - Name of the process or unit.
            type: str
            default: baileys-whatsapp-service
          pm2:
            description:
              - The command of PM2, as a list of words.
            type: list
            elements: str
            default: [pm2]
          pm2_home:
            description:
              - PM2_HOME of the daemon that the process belongs to. Left out, C(.pm2) in the home of its user.
            type: str
          start:
            description:
              - With V(argv), the command that starts it, as a list of words.
            type: list
            elements: str
          stop:
            description:
              - With V(argv), the command that stops it, as a list of words.
            type: list
            elements: str
          status:
            description:
              - With V(argv), the command that ends with 0 while it runs, as a list of words.
            type: list
            elements: str
          stop_seconds:
            description:
              - How long a stop may take. Longer than C(kill_timeout) of PM2 or C(TimeoutStopSec) of the unit, where
                the application uses that time.
            type: float
            default: 30.0
      health:
        description:
          - How it is asked whether sessions are connected.
        type: dict
        suboptions:
          kind:
            description:
              - V(url) asks an address, V(command) runs a command, V(log) reads a log.
            type: str
            default: url
          url:
            description:
              - The address.
            type: str
            default: http://127.0.0.1:3000/health
          command:
            description:
              - The command, as a list of words.
            type: list
            elements: str
          log_file:
            description:
              - The log. Left out, the one that PM2 writes.
            type: str
          log_pattern:
            description:
              - The text that tells that a company is connected.
              - With the service manager V(argv), which names no process, this text has to differ between the two
                stores, or nobody can tell which one the application uses.
            type: str
            default: company {company_id} connection open
          deadline_seconds:
            description:
              - How long to wait for the connection.
            type: float
            default: 30.0
      files_health:
        description:
          - The same for the code that runs from files, where it differs.
        type: dict
        suboptions:
          kind:
            description:
              - V(url) asks an address, V(command) runs a command, V(log) reads a log.
            type: str
            default: url
          url:
            description:
              - The address.
            type: str
            default: http://127.0.0.1:3000/health
          command:
            description:
              - The command, as a list of words.
            type: list
            elements: str
          log_file:
            description:
              - The log. Left out, the one that PM2 writes.
            type: str
          log_pattern:
            description:
              - The text that tells that a company is connected.
              - With the service manager V(argv), which names no process, this text has to differ between the two
                stores, or nobody can tell which one the application uses.
            type: str
            default: company {company_id} connection open
          deadline_seconds:
            description:
              - How long to wait for the connection.
            type: float
            default: 30.0
"""
