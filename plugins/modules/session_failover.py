#!/usr/bin/python

# Copyright: (c) 2026, baileys.resilience contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: session_failover
short_description: Run WhatsApp (Baileys) sessions from files when PostgreSQL fails, and back
version_added: 0.1.0
description:
  - Runs one step of a failover (PostgreSQL to files) or a failback (files to PostgreSQL) on an application host, or
    shows the plan.
  - Steps are journalled in O(state_dir). A step that is done and still holds is passed over, so a run that was cut off
    is completed by running the same steps again, or by O(step=resume).
  - Until the first session has logged in from the new store, an error can be undone with O(step=undo); O(step=run)
    and O(step=resume) do so by themselves. After that nothing is undone.
  - The role P(baileys.resilience.failover#role) calls this module once per step.
author:
  - baileys.resilience contributors (@baileys-resilience)
options:
  operation:
    description:
      - V(failover) moves from PostgreSQL to files, V(failback) from files to PostgreSQL.
    type: str
    choices: [failover, failback]
    default: failover
  step:
    description:
      - V(plan) shows what a run would do, V(status) where each company lives and what run is open. Both change nothing.
      - V(begin) opens a run, V(report) ends it. In between come the steps, in the order of the plan.
      - V(run) does all of it at once, V(resume) completes a run that was cut off, V(undo) takes it back.
      - V(prepare) gets the code ready that runs from files.
    type: str
    choices:
      - plan
      - status
      - prepare
      - begin
      - preflight
      - choose_source
      - stage
      - stop
      - export
      - import
      - verify
      - record_store
      - switch_code
      - switch_env
      - start
      - verify_connection
      - archive_files
      - report
      - run
      - resume
      - undo
    default: plan
  reason:
    description:
      - Why a run is undone; it is written to the journal and the report.
    type: str
    default: by hand
attributes:
  check_mode:
    support: full
    details:
      - A step other than V(plan) and V(status) says what it would do, as far as that is known before earlier steps ran.
  diff_mode:
    description: Says in diff mode which company moves where, in check mode and with V(plan) as far as the plan knows.
    support: full
extends_documentation_fragment:
  - baileys.resilience.failover
  - baileys.resilience.application
  - baileys.resilience.postgres
  - baileys.resilience.sessions.tables
  - baileys.resilience.sessions.ownership
  - baileys.resilience.sessions.state
  - baileys.resilience.attributes
  - baileys.resilience.attributes.group
seealso:
  - module: baileys.resilience.session_export
  - module: baileys.resilience.session_info
"""

EXAMPLES = r"""
- name: Show what a failover would do
  baileys.resilience.session_failover: &settings
    host: app1
    companies: ["962301", "962302"]
    login_host: db.example.net
    login_db: whatsapp
    login_user: wa_app
    login_password: "{{ db_password }}"
    sessions_dir: /opt/baileys-whatsapp-service/baileys_sessions
    mirror_dir: /var/lib/baileys-resilience/mirror
    application:
      dir: /opt/baileys-whatsapp-service
      service:
        name: baileys-whatsapp-service
    code:
      source: none
  register: plan

- name: Print the plan
  ansible.builtin.debug:
    var: plan.sentences

- name: Show where each company lives
  baileys.resilience.session_failover:
    <<: *settings
    step: status

- name: Fail over, all steps at once
  baileys.resilience.session_failover:
    <<: *settings
    step: run
    confirm: app1
"""

RETURN = r"""
msg:
  description: What was done, in a sentence.
  returned: success
  type: str
operation:
  description: The operation.
  returned: success
  type: str
step:
  description: The step.
  returned: success
  type: str
run:
  description: Id of the run. Empty where there is none.
  returned: success
  type: str
  sample: 20260131T030000-failover-4711
result:
  description: What the step found and did.
  returned: success
  type: dict
nothing_to_do:
  description: Whether every company is where the operation would move it.
  returned: success
  type: bool
plan:
  description: The plan.
  returned: when O(step) is V(plan) or V(begin), and V(run) in check mode
  type: dict
sentences:
  description: The plan as lines for a human.
  returned: when O(step) is V(plan) or V(begin), and V(run) in check mode
  type: list
  elements: str
report:
  description: The report of a run that has ended. Holds no secrets.
  returned: when a run ended
  type: dict
markdown:
  description: The same as a text.
  returned: when a run ended
  type: str
stores:
  description: Where each company lives now.
  returned: success
  type: dict
  sample: {"962301": {"by": "20260131T030000-failover-4711", "epoch": 1, "place": "", "since": "", "store": "files"}}
open_run:
  description: The run that is open on this host. Null where there is none.
  returned: when O(step) is V(status)
  type: dict
error:
  description: The error as data, with its name, cause, hint, and whether the same call can succeed later.
  returned: failure
  type: dict
"""

from typing import TYPE_CHECKING, Any, Dict, List, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.baileys.resilience.plugins.module_utils._ansible import errors_reported
from ansible_collections.baileys.resilience.plugins.module_utils._failover_options import (
    failover_settings,
    failover_spec,
)
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.failover.settings import FailoverSettings
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.failover.shown import shown_step
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.sessions.record import StoreRecord

if TYPE_CHECKING:
    from ansible_collections.baileys.resilience.plugins.module_utils._resilience.failover.operations import (
        Operation,
        Outcome,
    )

STEPS = [
    "preflight",
    "choose_source",
    "stage",
    "stop",
    "export",
    "import",
    "verify",
    "record_store",
    "switch_code",
    "switch_env",
    "start",
    "verify_connection",
    "archive_files",
]
#: these only look; what they write is the journal
LOOKING = ["preflight", "choose_source", "verify", "verify_connection"]
TARGETS = {"failover": "files", "failback": "postgres"}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "operation": {"type": "str", "choices": ["failover", "failback"], "default": "failover"},
            "step": {
                "type": "str",
                "choices": ["plan", "status", "prepare", "begin", *STEPS, "report", "run", "resume", "undo"],
                "default": "plan",
            },
            "reason": {"type": "str", "default": "by hand"},
            **failover_spec(),
        },
        supports_check_mode=True,
    )
    step = module.params["step"]
    with errors_reported(module):
        settings = failover_settings(module.params)
        before = stores_of(settings)
        if step in STEPS and not module.check_mode:
            show_if_done(module, settings)
        operation = operation_of(settings, module.params)
        if step == "plan" or (module.check_mode and step in ("begin", "run")):
            results = plan_results(operation, changed=step != "plan")
        elif step == "status":
            results = status_results(operation)
        elif module.check_mode:
            results = preview_results(operation, settings, step)
        else:
            results = outcome_results(do(operation, settings, module.params), step)
        results.update(operation=operation.operation, step=step, stores=stores_of(settings))
        if module._diff:
            foreseen = step == "plan" or module.check_mode
            after = with_moves(before, results, operation) if foreseen else results["stores"]
            results["diff"] = stores_diff(before, after)
        module.exit_json(**results)


def show_if_done(module: AnsibleModule, settings: FailoverSettings) -> None:
    """End the module when the process of the downtime does this step by itself; see failover/shown.py."""
    operation, step = module.params["operation"], module.params["step"]
    found = shown_step(settings, operation, step)
    if found:
        run, shown = found
        module.exit_json(
            changed=step not in LOOKING,
            msg=shown.title,
            run=run,
            result=dict(shown.result),
            nothing_to_do=False,
            operation=operation,
            step=step,
            stores=stores_of(settings),
        )


def operation_of(settings: FailoverSettings, params: Dict[str, Any]) -> Operation:
    # Imported only where steps are run: it is most of what a task imports.
    from ansible_collections.baileys.resilience.plugins.module_utils._resilience.failover.operations import Operation

    return Operation(settings, params["operation"])


def do(operation: Operation, settings: FailoverSettings, params: Dict[str, Any]) -> Outcome:
    step = params["step"]
    if step == "prepare":
        from ansible_collections.baileys.resilience.plugins.module_utils._resilience.failover.code import prepare
        from ansible_collections.baileys.resilience.plugins.module_utils._resilience.failover.operations import Outcome

        result = dict(prepare(settings))
        state = "prepared" if result["changed"] else "was prepared already"
        return Outcome(operation.operation, "", result["changed"], f"{result['source']}: {state}", result)
    if step == "undo":
        return operation.undo(params["reason"])
    named = {"begin": operation.begin, "report": operation.finish, "run": operation.run, "resume": operation.resume}
    return named[step]() if step in named else operation.step(step, detached=True)


def outcome_results(outcome: Outcome, step: str) -> Dict[str, Any]:
    results: Dict[str, Any] = {
        "changed": outcome.changed and step not in LOOKING,
        "msg": outcome.message,
        "run": outcome.run,
        "result": {name: value for name, value in outcome.result.items() if name != "plan"},
        "nothing_to_do": step in ("begin", "run") and not outcome.changed,
    }
    if "plan" in outcome.result:
        results["plan"] = outcome.result["plan"]
        results["sentences"] = outcome.message.splitlines()
    if outcome.report is not None:
        results["report"] = outcome.report
        results["markdown"] = outcome.markdown
    return results


def plan_results(operation: Operation, *, changed: bool) -> Dict[str, Any]:
    plan = operation.plan()
    sentences = plan.sentences()
    return {
        "changed": changed and bool(plan.moving),
        "msg": sentences[0],
        "run": "",
        "result": {},
        "nothing_to_do": not plan.moving,
        "plan": plan.as_dict(),
        "sentences": sentences,
    }


def status_results(operation: Operation) -> Dict[str, Any]:
    status = operation.status()
    open_run: Optional[Dict[str, Any]] = status["open_run"]
    message = "no run is open"
    if open_run:
        message = "{operation} {run} by {operator} is open since {since}".format(**open_run)
    return {
        "changed": False,
        "msg": message,
        "run": open_run["run"] if open_run else "",
        "result": {},
        "nothing_to_do": not to_move(operation),
        "open_run": open_run,
    }


def preview_results(operation: Operation, settings: FailoverSettings, step: str) -> Dict[str, Any]:
    """Check mode of a step. The steps ahead of it were not run, so it can only say whether there is anything to do."""
    if step == "prepare":
        from ansible_collections.baileys.resilience.plugins.module_utils._resilience.failover.code import would_prepare

        would = would_prepare(settings)
    elif step in ("resume", "undo"):
        would = operation.status()["open_run"] is not None
    else:
        would = bool(to_move(operation))
    return {
        "changed": would and step not in LOOKING,
        "msg": f"would run the step {step}" if would else "nothing to do",
        "run": "",
        "result": {},
        "nothing_to_do": not would,
    }


def to_move(operation: Operation) -> List[str]:
    target = TARGETS[operation.operation]
    return [company for company, entry in stores_of(operation.settings).items() if entry["store"] != target]


def stores_of(settings: FailoverSettings) -> Dict[str, Dict[str, Any]]:
    record = StoreRecord(settings.state)
    return {company: dict(vars(record.get(company))) for company in settings.companies}


def with_moves(before: Dict[str, Dict[str, Any]], results: Dict[str, Any], operation: Operation) -> Dict[str, Any]:
    """Where the companies would live: those that the plan moves, in the steps that move or foretell it."""
    if "plan" in results:
        moving = [each["company"] for each in results["plan"]["companies"] if each["moves"]]
    else:
        moving = to_move(operation) if results["step"] == "record_store" else []
    target = TARGETS[operation.operation]
    return {company: {"store": target if company in moving else entry["store"]} for company, entry in before.items()}


def stores_diff(before: Dict[str, Dict[str, Any]], after: Dict[str, Dict[str, Any]]) -> Dict[str, str]:
    """Only companies that move: a host may have a thousand."""
    moved = [company for company in sorted(before) if before[company]["store"] != after[company]["store"]]
    return {
        name: "".join(f"company {company}: {stores[company]['store']}\n" for company in moved)
        for name, stores in (("before", before), ("after", after))
    }


if __name__ == "__main__":
    main()
