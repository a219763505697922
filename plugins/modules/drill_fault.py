#!/usr/bin/python

# Copyright: (c) 2026, baileys.resilience contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: drill_fault
short_description: Break a staging database for a drill, and heal it whatever happens
version_added: 0.1.0
description:
  - Brings about one fault on the host that it runs on, and leaves a process there that heals after O(max_seconds),
    also when the controller is gone. That process needs no systemd; it does not outlive a reboot.
  - What is broken is written down before it is broken, so that this module with O(state=healed) heals what any earlier
    drill left.
  - Needs no Python package beyond the standard library, and neither the toolkit nor a configuration on the host.
  - The role P(baileys.resilience.failover_drill#role) uses it, and refuses hosts of production. This module itself
    knows of no production.
author:
  - baileys.resilience contributors (@baileys-resilience)
options:
  state:
    description:
      - V(broken) breaks; refused while something is broken. V(healed) heals whatever is.
    type: str
    choices: [broken, healed]
    required: true
  path:
    description:
      - Directory for what is known of the fault. Made with mode 0700.
    type: path
    default: /var/lib/baileys-resilience/drill
  drill:
    description:
      - The id of the drill.
    type: str
    default: by hand
  operator:
    description:
      - Who does this.
    type: str
    default: ansible
  max_seconds:
    description:
      - Seconds after which the fault heals by itself.
    type: float
    default: 900.0
  kind:
    description:
      - V(stop), V(kill) and V(freeze) act on the systemd unit O(unit).
      - V(isolate) drops packets to O(port) by nftables, in a table of its own.
      - V(command) runs O(break_command).
    type: str
    choices: [stop, kill, freeze, isolate, command]
  unit:
    description:
      - The unit that the database's processes belong to. Debian's C(postgresql.service) has none, its clusters have,
        such as C(postgresql@17-main).
    type: str
  addresses:
    description:
      - With V(isolate), the database's addresses or names, on a host that connects to it.
      - Without any, the database is on this host, and what comes in for O(port) is dropped.
    type: list
    elements: str
    default: []
  port:
    description:
      - The database's port.
    type: int
    default: 5432
  break_command:
    description:
      - With V(command), the words that break. Never a shell line.
    type: list
    elements: str
    default: []
  heal_command:
    description:
      - With V(command), the words that heal. They may be run more than once.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    details:
      - With O(state=broken) it is checked that the fault can be brought about.
  diff_mode:
    description: There is nothing that could be compared.
    support: none
extends_documentation_fragment:
  - baileys.resilience.attributes
seealso:
  - module: baileys.resilience.session_failover
"""

EXAMPLES = r"""
- name: Break the staging database by words of one's own
  baileys.resilience.drill_fault:
    state: broken
    kind: command
    break_command: ["true", stop the database of staging]
    heal_command: ["true", start the database of staging]
    drill: by hand
    max_seconds: 600

- name: Heal what is broken here
  baileys.resilience.drill_fault:
    state: healed
"""

RETURN = r"""
msg:
  description: What was done, in a sentence.
  returned: success
  type: str
broken:
  description: What is broken now. Null when nothing is.
  returned: success
  type: dict
  sample: {"drill": "20260131T100000-drill-wa1", "fault": {"kind": "freeze"}, "max_seconds": 900.0, "operator": "maria",
    "since": "2026-01-31T10:00:00.000000Z"}
healed:
  description: How the fault of O(drill) was healed, or with O(state=healed) any. Null when none was.
  returned: success
  type: dict
  contains:
    by:
      description: Who healed it. V(the watch) when nobody came in time.
      type: str
    since:
      description: When it was broken (UTC).
      type: str
    at:
      description: When it was healed (UTC).
      type: str
error:
  description: The error as data, with its name, cause, hint, and whether the same call can succeed later.
  returned: failure
  type: dict
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.baileys.resilience.plugins.module_utils._ansible import errors_reported
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.drill import faults
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.drill.broken import BrokenHost
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.drill.faults import Fault


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["broken", "healed"], "required": True},
            "path": {"type": "path", "default": "/var/lib/baileys-resilience/drill"},
            "drill": {"type": "str", "default": "by hand"},
            "operator": {"type": "str", "default": "ansible"},
            "max_seconds": {"type": "float", "default": 900.0},
            "kind": {"type": "str", "choices": list(faults.KINDS)},
            "unit": {"type": "str"},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "port": {"type": "int", "default": 5432},
            "break_command": {"type": "list", "elements": "str", "default": []},
            "heal_command": {"type": "list", "elements": "str", "default": []},
        },
        required_if=[("state", "broken", ["kind"])],
        supports_check_mode=True,
    )
    host = BrokenHost(Path(module.params["path"]))
    with errors_reported(module):
        act = break_host if module.params["state"] == "broken" else heal_host
        module.exit_json(**act(host, module.params, module.check_mode))


def break_host(host: BrokenHost, params: Dict[str, Any], check_mode: bool) -> Dict[str, Any]:
    names = ("kind", "unit", "addresses", "port", "break_command", "heal_command")
    fault = Fault.from_dict({name: params[name] for name in names if params[name] is not None})
    if check_mode:
        faults.check(fault)
        return {"changed": True, "msg": f"would {fault.sentence()}", "broken": None, "healed": None}
    broken = host.break_it(fault, params["drill"], params["operator"], params["max_seconds"])
    return {"changed": True, "msg": fault.sentence(), "broken": asdict(broken), "healed": None}


def heal_host(host: BrokenHost, params: Dict[str, Any], check_mode: bool) -> Dict[str, Any]:
    current = host.current()
    if check_mode:
        said = f"would heal what was broken at {current.since}" if current else "nothing is broken"
        return {
            "changed": current is not None,
            "msg": said,
            "broken": asdict(current) if current else None,
            "healed": None,
        }
    healed = host.heal_it(f"the drill, for {params['operator']}")
    # Where the watch was first, the drill has to know.
    known = healed or host.healed(params["drill"])
    said = f"healed: {known.sentence}, by {known.by}" if known else "nothing is broken"
    return {
        "changed": healed is not None,
        "msg": said,
        "broken": None,
        "healed": asdict(known) if known else None,
    }


if __name__ == "__main__":
    main()
