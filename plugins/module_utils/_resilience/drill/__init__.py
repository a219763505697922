# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""A drill of failover and failback: break a staging database, look how long everything takes, check every key, heal.

``faults`` and ``broken`` run on the host that is broken, which may have no package of ours: standard library only.
"""
