# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A local connection that is dead while a file is there: a host whose network was cut, though it runs on itself."""

from __future__ import annotations

import os

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection.local import Connection as Local

DOCUMENTATION = """
name: mortal
short_description: local until a file is there
description: For tests.
author: baileys.resilience contributors
options:
  dead:
    description: While this file is there nothing answers.
    vars: [{name: mortal_dead}]
    default: ""
extends_documentation_fragment: [connection_pipelining]
"""


class Connection(Local):
    transport = "mortal"

    def _check(self):
        if os.path.exists(self.get_option("dead")):
            raise AnsibleConnectionFailure("Failed to connect to the host: No route to host")

    def exec_command(self, *arguments, **options):
        self._check()
        return super().exec_command(*arguments, **options)

    def put_file(self, *arguments):
        self._check()
        return super().put_file(*arguments)
