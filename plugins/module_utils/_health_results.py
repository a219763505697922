# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What the health modules share: options, results, and the end that they come to."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Dict, List, NoReturn

from ._ansible import Spec, dataclass_spec
from ._resilience.health.findings import FAIL_ON, NEVER, Finding, advice_of, fails, sentence, worst


def health_spec(thresholds: Any, *, deadline_seconds: float) -> Spec:
    """Options of every health module; ``thresholds`` is the class of its limits."""
    limits = dataclass_spec(thresholds)
    for name, option in limits.items():
        if "keys" in name:
            option["no_log"] = False
    return {
        "thresholds": {"type": "dict", "options": limits},
        "fail_on": {"type": "str", "default": NEVER, "choices": list(FAIL_ON)},
        "deadline": {"type": "float", "default": deadline_seconds},
    }


def end(module: Any, findings: List[Finding], thresholds: Any, figures: Dict[str, Any]) -> NoReturn:
    """End the module with its figures; as a failure where the status is as grave as ``fail_on``."""
    status = worst(findings)
    results = {
        "changed": False,
        "msg": sentence(findings),
        "status": status,
        "findings": [each.as_dict() for each in findings],
        "advice": advice_of(findings),
        "thresholds": asdict(thresholds),
        **figures,
    }
    if fails(status, module.params["fail_on"]):
        module.fail_json(**results)
    module.exit_json(**results)
    raise AssertionError("exit_json ends the process")
