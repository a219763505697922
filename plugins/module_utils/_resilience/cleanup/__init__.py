# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Which keys may go, and their archived removal.

:mod:`policy` is the rule as data, :mod:`choosing` the rules that can be chosen, :mod:`counting` the same as SQL.
:mod:`plan` says what a run would do, :mod:`run` does that plan, :mod:`archive` keeps what went, :mod:`restore` puts it
back, and :mod:`reconcile` finds out what became of a run that was cut off. :mod:`explain` is about one key,
:mod:`commands` the command.
"""
