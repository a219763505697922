# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program with an outbox, to be killed. Puts messages first, first+1, ... and prints the number of each whose put has
returned, until as many were put as asked for; then prints "idle" once nothing waits, and lives on.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from baileys_resilience.notify import Notification, NotifySettings, notifiers_for
from baileys_resilience.notify.outbox import Outbox


def main() -> None:
    order = json.load(sys.stdin)
    outbox = Outbox(Path(order["directory"]), notifiers_for(NotifySettings(**order["settings"])))
    outbox.start()
    for number in range(order["first"], order["first"] + order["count"]):
        outbox.put(Notification(f"message {number:04d}", fingerprint=f"f{number}", tags={"kind": "alert"}))
        print(number, flush=True)
    while any(each.queued for each in outbox.status()):
        time.sleep(0.02)
    print("idle", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    main()
