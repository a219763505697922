# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The steps of failover and failback, what they choose from, what they switch, and the live mirror."""
