# Copyright: (c) 2026, baileys.resilience contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's side of session_failover: runs the module, and where the host cannot run it, says so in a sentence.

Ansible drops a host that does not answer without another word. Here that is a failed step like any other, so that what
became of the host and what to do is said by the play; ``host_gone`` tells the role that nothing can be taken back now.
The report of a run that has ended is written on the controller here: two tasks less while somebody waits.
"""

from __future__ import annotations

import json
import os
import re
import tempfile

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

# What sudo and Ansible say about becoming somebody, and nothing else says
_BECOMING = re.compile(r"\bsudo: |become|privilege escalation|sudo password")


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        wrap_async = self._task.async_val and not self._connection.has_native_async
        host = (task_vars or {}).get("inventory_hostname", "this host")
        try:
            result.update(self._execute_module(task_vars=task_vars, wrap_async=wrap_async))
        except AnsibleError as exc:
            why = " ".join(str(exc).split())
            if _BECOMING.search(why):
                return {**result, "failed": True, "msg": _not_root(host, why)}
            if isinstance(exc, AnsibleConnectionFailure):
                return {**result, "failed": True, "host_gone": True, "msg": _gone(host, why)}
            raise
        if not wrap_async:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        if _was_not_run(result):
            said = f"{result.pop('module_stderr', '')} {result.pop('module_stdout', '')}"
            result.pop("exception", None)
            result["msg"] = _cannot_run(host, result, " ".join(said.split())[-500:])
        if self._task.args.get("report_dir") and result.get("report") and result.get("markdown"):
            try:
                result["report_files"] = _write_report(self._task.args["report_dir"], host, result)
            except OSError as exc:
                why = f"the report was not written on the controller: {exc}. It lies on {host} as well"
                result["warnings"] = [*result.get("warnings", []), why]
        return result


def _write_report(directory, host, result):
    """The report as JSON and as Markdown, each whole or not at all; returns their paths."""
    directory = os.path.expanduser(directory)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    texts = {"json": json.dumps(result["report"], indent=4, sort_keys=True) + "\n", "md": result["markdown"]}
    paths = []
    for kind, text in texts.items():
        path = os.path.join(directory, f"{host}-{result['report']['run']}.{kind}")
        _write_whole(path, text)
        paths.append(path)
    return paths


def _write_whole(path, text):
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=os.path.dirname(path), delete=False) as file:
        try:
            file.write(text)
            file.close()
            os.replace(file.name, path)
        except OSError:
            os.unlink(file.name)
            raise


def _was_not_run(result):
    """Our module's failures are typed; what has the raw output of a module instead never came to run it."""
    return bool(result.get("failed")) and "error" not in result and "module_stdout" in result


def _gone(host, why):
    return (
        f"{host} does not answer: {why}. What it had begun is written down there, and a host that only lost its network"
        " ends it by itself. HINT: bring it back, then run this playbook again with --limit"
        f" {host}; if it says that a run is open, add -e failover_open_run=resume (or undo)"
    )


def _not_root(host, why):
    return (
        f"{host} does not let this connection become root: {why}. Nothing was changed by this step. HINT: give its user"
        " sudo (-K asks for the password), or connect as root with ansible_user=root and ansible_become=false"
    )


def _cannot_run(host, result, said):
    if _BECOMING.search(said):
        return _not_root(host, said)
    if result.get("rc") == 127 or "SyntaxError" in said:
        return (
            f"{host} has no toolkit that runs: {said}. Nothing was changed by this step. HINT: ansible-playbook"
            f" baileys.resilience.toolkit --limit {host}; where it lies elsewhere, set baileys_resilience_python"
        )
    return f"{result.get('msg', '')}: {said}"
