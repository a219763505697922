# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault isolate in a network of its own: nobody gets through, and everybody does when it is healed."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import socket, subprocess, sys
from baileys_resilience.drill import faults
from baileys_resilience.drill.faults import Fault

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
server = socket.create_server(("127.0.0.1", 0))
other = socket.create_server(("127.0.0.1", 0))

def connects(listening):
    try:
        socket.create_connection(listening.getsockname(), timeout=0.5).close()
    except TimeoutError:
        return False
    return True

port = server.getsockname()[1]
fault = Fault("isolate", addresses=tuple(sys.argv[1:]), port=port)
faults.check(fault)
print(connects(server))
faults.bring_about(fault)
faults.bring_about(fault)
print(connects(server), connects(other))
faults.heal(fault)
faults.heal(fault)
print(connects(server))
print(subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout == "")
"""


@pytest.mark.parametrize("addresses", [[], ["localhost"]], ids=["on the database's host", "on the application's host"])
def test_packets_to_the_port_are_dropped_until_it_is_healed_and_nothing_else_is(addresses: list[str]) -> None:
    words = ["unshare", "--net", sys.executable, "-c", PROGRAM, *addresses]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:4] == ["True", "False True", "True", "True"]
