# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The engine of long operations: a plan, a journal on disk, steps that can be run, resumed and undone, and a report."""
