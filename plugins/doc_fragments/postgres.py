# Copyright: (c) 2026, baileys.resilience contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How to reach PostgreSQL."""

    DOCUMENTATION = r"""
options:
  login_host:
    description:
      - Host of the database, or the directory of its unix socket.
    type: str
    default: localhost
  login_port:
    description:
      - Port of the database.
    type: int
    default: 5432
  login_user:
    description:
      - User to log in as.
    type: str
    default: postgres
  login_password:
    description:
      - Password of that user. Any character works.
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
      - Set V(verify-full) for a database in another place.
    type: str
    default: prefer
    choices: [allow, disable, prefer, require, verify-ca, verify-full]
  ca_cert:
    description:
      - File with the root certificate that the server's certificate must come from, on the host the module runs on.
    type: path
    aliases: [ssl_rootcert]
  connect_params:
    description:
      - More parameters for libpq, such as C(sslcert), C(sslkey) or C(passfile). They win over the other options.
      - Passwords are refused here, since this option can end up in a log.
    type: dict
    default: {}
requirements:
  - python >= 3.9
  - psycopg2 >= 2.9
  - cryptography
"""
