# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The service that looks all the time: at the database and what belongs to it, and at the applications.

::

    lanes.py    each source looks in a thread of its own, and no one waits for another
    loop.py     what came in -> watch.py -> notices to be delivered, state saved, figures published
    server.py   what was published, for Prometheus and for people

Nothing here sends: notices go to a :class:`watch.Delivery`, which keeps and sends them on its own time.
"""
