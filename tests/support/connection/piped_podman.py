# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""containers.podman's connection with pipelining: one `podman exec` a task in place of five. That collection says that
podman cannot; what it lacks is `--interactive`, without which podman gives a program no input.
"""

from __future__ import annotations

from ansible_collections.containers.podman.plugins.connection.podman import Connection as Podman

DOCUMENTATION = """
name: piped_podman
short_description: a container under podman, with pipelining
description: For tests.
author: baileys.resilience contributors
options:
  remote_addr:
    description: The container's name.
    default: inventory_hostname
    vars: [{name: ansible_host}, {name: inventory_hostname}]
  remote_user:
    description: Who runs commands in it; root where nothing is said.
    vars: [{name: ansible_user}]
  podman_extra_args:
    description: For podman itself.
    default: ""
    vars: [{name: ansible_podman_extra_args}]
  podman_executable:
    description: The command.
    default: podman
    vars: [{name: ansible_podman_executable}]
extends_documentation_fragment: [connection_pipelining]
"""


class Connection(Podman):
    transport = "piped_podman"
    has_pipelining = True

    def _podman(self, cmd, cmd_args=None, in_data=None, use_container_id=True):
        if in_data is not None and cmd[0] == "exec":
            cmd = [*cmd, "--interactive"]
        return super()._podman(cmd, cmd_args, in_data, use_container_id)
