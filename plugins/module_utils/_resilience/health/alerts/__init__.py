# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""When is somebody told, and of what? Nothing here looks at a clock, a disk or a network: the monitor hands in what it
observed and the moment, and sends what comes out.

::

    observation -> rules.Rules.judge -> verdicts -> board.Board.step -> notices, and when to look again

What is (:mod:`machine`) and what was told of it (:mod:`telling`) are kept apart: silence, damping and a greater trouble
that explains a smaller one hold back words, never the state.
"""
