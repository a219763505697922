# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Store made-up companies, named by the argument (1,2,3), in the database that the PG* variables say."""

from __future__ import annotations

import sys

import psycopg2

from tests.support.database import fill
from tests.support.synthetic import make_company

connection = psycopg2.connect("")
fill(connection, [make_company(company, seed) for seed, company in enumerate(sys.argv[1].split(","))])
connection.close()
