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
    and O(step=resume) do so by themselves, and the error says so. After that nothing is undone.
  - A run that ends fails this module when a company that was connected before is not connected after it, when it was
    undone because of an error, and when it had to be left open. The results and the report are returned all the same.
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
  report_dir:
    description:
      - Directory on the controller that gets the report of a run that has ended, as C(<host>-<run>.json) and
        C(<host>-<run>.md), mode 0600. It is made if it is missing. Without it, the report lies on the host alone.
      - Where it cannot be written, that is a warning, since what was done on the host is done.
    type: str
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
  description: The report of a run that has ended. Holds no secrets, and no JID or phone number.
  returned: when a run ended, also on failure
  type: dict
  contains:
    outcome:
      description:
        - V(done); V(partial) when a company that was connected before is not connected; V(undone) when everything was
          taken back; V(open) when the run is not finished and cannot be taken back, so that O(step=resume) has to
          complete it.
      type: str
    error:
      description: Why it was undone or left open. Empty where it was not.
      type: str
    downtime_seconds:
      description: Seconds from the stop of the application until the sessions were connected.
      type: float
    companies:
      description: Each company of the host, by id.
      type: dict
      contains:
        store:
          description: Where it lives now, V(postgres) or V(files).
          type: str
        keys:
          description: Number of its Signal keys in the new store.
          type: int
        counts:
          description: The same by type of key.
          type: dict
        source:
          description: What a failover took it from, V(primary), V(replica) or V(mirror). Null in a failback.
          type: str
        snapshot_at:
          description: When the data that were taken were read from the database (UTC).
          type: str
        age_seconds:
          description: Seconds between these data and the stop of the application. What was written in between is lost.
          type: float
        lsn:
          description: Position in the WAL of these data. Null where the source has none.
          type: str
        manifest_sha256:
          description: SHA256 of the manifest beside the files.
          type: str
        imported:
          description: What a failback wrote into PostgreSQL. Null in a failover.
          type: dict
        connected:
          description: Whether the session is connected from the new store.
          type: bool
        problem:
          description: Why not. Empty where it is.
          type: str
    sources:
      description: Each source with whether it answered and the age of its data.
      type: list
      elements: dict
    data_loss:
      description: Seconds, by company, for data older than O(max_source_age), which O(accept_data_loss) allowed.
      type: dict
    degraded:
      description: What worked less well than it should.
      type: list
      elements: str
    notified:
      description: What came of the message to each service, with C(service), C(ok) and C(detail).
      type: list
      elements: dict
markdown:
  description: The same as a text.
  returned: when a run ended, also on failure
  type: str
report_files:
  description: What was written into O(report_dir).
  returned: when a run ended and O(report_dir) is set
  type: list
  elements: str
  sample: [reports/app1-20260131T030000-failover-4711.json, reports/app1-20260131T030000-failover-4711.md]
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

from typing import TYPE_CHECKING, Any, Dict, NoReturn, Optional, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.baileys.resilience.plugins.module_utils._ansible import errors_reported, fail
from ansible_collections.baileys.resilience.plugins.module_utils._failover_options import (
    failover_settings,
    failover_spec,
)
from ansible_collections.baileys.resilience.plugins.module_utils._failover_results import (
    LOOKING,
    hide_names,
    leaving,
    names_hidden,
    outcome_results,
    plan_results,
    preview_results,
    status_results,
    stores_diff,
    stores_of,
    with_moves,
)
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.errors import ResilienceError
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.failover.settings import FailoverSettings
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.failover.shown import shown_step
from ansible_collections.baileys.resilience.plugins.module_utils._resilience.notify.redact import redacted

if TYPE_CHECKING:
    from ansible_collections.baileys.resilience.plugins.module_utils._resilience.failover.operations import (
        Operation,
        Outcome,
    )

STEPS = ["preflight", "choose_source", "stage", "stop", "export", "import", "verify", "record_store", "switch_code"]
STEPS += ["switch_env", "start", "verify_connection", "archive_files"]


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
            # The controller's side writes there (plugins/action/session_failover.py).
            "report_dir": {"type": "str"},
            **failover_spec(),
        },
        supports_check_mode=True,
    )
    step = module.params["step"]
    with errors_reported(module), names_hidden(module.params["companies"] or ()):
        settings = failover_settings(module.params)
        before = stores_of(settings)
        if step in STEPS and not module.check_mode:
            show_if_done(module, settings)
        operation = operation_of(settings, module.params)
        error: Optional[ResilienceError] = None
        if step == "plan" or (module.check_mode and step in ("begin", "run")):
            results = plan_results(operation, changed=step != "plan")
        elif step == "status":
            results = status_results(operation)
        elif module.check_mode:
            results = preview_results(operation, settings, step)
        else:
            results, error = results_of(operation, settings, module.params)
        results.update(operation=operation.operation, step=step, stores=stores_of(settings))
        if module._diff:
            foreseen = step == "plan" or module.check_mode
            after = with_moves(before, results, operation) if foreseen else results["stores"]
            results["diff"] = stores_diff(before, after)
        if error is None:
            module.exit_json(**leaving(results, settings.companies))
        end_as_failed(module, error, leaving(results, settings.companies))


def results_of(
    operation: Operation, settings: FailoverSettings, params: Dict[str, Any]
) -> Tuple[Dict[str, Any], Optional[ResilienceError]]:
    """The results, and the error to fail with: a run that ended has a report, whether it went well or not."""
    try:
        outcome = do(operation, settings, params)
    except ResilienceError as error:
        if operation.ended is None:
            raise
        return outcome_results(operation.ended, params["step"]), error
    return outcome_results(outcome, params["step"]), outcome.error


def end_as_failed(module: AnsibleModule, error: ResilienceError, results: Dict[str, Any]) -> NoReturn:
    hide_names(error, module.params["companies"])
    fail(module, error, **{name: value for name, value in results.items() if name != "msg"})


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
            result=redacted(shown.result, settings.companies),
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


if __name__ == "__main__":
    main()
