# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is fast, measured side by side with what a user would pick instead. `python -m bench` runs it."""
