# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""A failover that the monitor asked for. The monitor has no right over anything; what decides and acts is here, a
process of root that systemd starts, with one list of arguments. It believes nothing of what it is asked, and looks at
both signals itself.
"""
