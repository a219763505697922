# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules run through the real ansible-playbook, from the collection as it ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.playbooks import Ansible


@pytest.fixture
def ansible(ansible_env: dict[str, str], tmp_path: Path) -> Ansible:
    return Ansible(ansible_env, tmp_path)
