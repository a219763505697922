# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What we protect: the session model, the Baileys file codec, the stores, and the one path by which sessions move
between them.

PostgreSQL row -> :class:`model.RawKey` -> :mod:`codec` -> file, and back by the manifest.
"""
