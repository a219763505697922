# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""How well the database does: timed probes, connections, ages of keys. Reads only; the one probe that writes takes it
back in the same statement.

A database that does not answer is a result here, not an exception: :class:`findings.Finding` with the status, the cause
and what to run. :mod:`thresholds` holds what counts as too slow, too full or too many; :mod:`alerts` decides when
somebody is told.
"""
