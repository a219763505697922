# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Which keys may go. Nothing here deletes: so far the policy is read by who counts.

:mod:`policy` is the rule as data, :mod:`counting` the same rule as SQL.
"""
