# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""preflight.py DIRECTORY: this Python's version, and the room where the directory is or would be. Changes nothing.

The Python that runs this may be the one that is too old, so every Python has to understand it.
"""

import json
import os
import sys

place = os.path.abspath(sys.argv[1])
while not os.path.exists(place):
    place = os.path.dirname(place)
room = os.statvfs(place)
print(
    json.dumps(
        {
            "version": list(sys.version_info[:3]),
            "executable": sys.executable,
            "place": place,
            "free_mib": room.f_bavail * room.f_frsize // 2**20,
        }
    )
)
