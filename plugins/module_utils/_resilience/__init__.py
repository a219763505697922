# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""baileys.resilience: keeps WhatsApp (Baileys) sessions alive when PostgreSQL fails. Plain Python, no Ansible."""

from __future__ import annotations

__version__ = "0.1.0"
