#!/usr/bin/python

# Copyright: (c) 2026, baileys.resilience contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: toolkit_library
short_description: Install the library of this collection on a host
version_added: 0.1.0
description:
  - Writes the Python library that the modules of this collection use to the host, as the package C(baileys_resilience),
    so that the command C(baileys-resilience) can run from cron, systemd or a terminal without Ansible.
  - The sources travel with this module, so the library on the host is always of the collection's version.
  - The package is staged and swapped in by one rename; files of older versions go.
  - Needs no Python package beyond the standard library.
author:
  - baileys.resilience contributors (@baileys-resilience)
options:
  path:
    description:
      - Directory that holds the package C(baileys_resilience). Made with mode 0755 if it is missing.
    type: path
    default: /opt/baileys-resilience/lib
  state:
    description:
      - V(present) installs the package or brings it up to date, V(absent) removes it.
      - The directory O(path) itself stays.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
  diff_mode:
    description: Says in diff mode which files change, names only.
    support: full
extends_documentation_fragment:
  - baileys.resilience.attributes
notes:
  - The role P(baileys.resilience.toolkit#role) uses this module and also installs the command and what it needs.
"""

EXAMPLES = r"""
- name: Install the library
  baileys.resilience.toolkit_library:
    path: /opt/baileys-resilience/lib

- name: Remove it
  baileys.resilience.toolkit_library:
    path: /opt/baileys-resilience/lib
    state: absent
"""

RETURN = r"""
path:
  description: The package's directory.
  returned: success
  type: str
  sample: /opt/baileys-resilience/lib/baileys_resilience
version:
  description: Version of the library that is installed, or would be. Null when it is removed.
  returned: success
  type: str
  sample: 0.1.0
files:
  description: Number of files in the package.
  returned: success
  type: int
changes:
  description: Names of the files added, updated and removed.
  returned: success
  type: dict
  sample: {"added": [], "removed": ["old.py"], "updated": ["sessions/codec.py"]}
error:
  description: The error as data, with its name, cause, hint, and whether the same call can succeed later.
  returned: failure
  type: dict
"""

from pathlib import Path
from typing import Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.baileys.resilience.plugins.module_utils import _resilience
from ansible_collections.baileys.resilience.plugins.module_utils._ansible import errors_reported
from ansible_collections.baileys.resilience.plugins.module_utils._resilience import installation

# The imports below are never run. Ansible sends a module together with what it imports, so they are the list of what
# gets installed. A test compares them with the sources; `python -m tests.integration.modules.travelling` renews them.


def travel() -> None:
    from ansible_collections.baileys.resilience.plugins.module_utils._resilience import (  # noqa: F401
        _thirdparty,
        cli,
        clock,
        errors,
        files,
        guarded,
        installation,
        local_http,
        locks,
        postgres,
        processes,
        progress,
    )


def travel_automatic() -> None:
    from ansible_collections.baileys.resilience.plugins.module_utils._resilience.automatic import (  # noqa: F401
        commands,
        request,
        signals,
    )


def travel_cleanup() -> None:
    from ansible_collections.baileys.resilience.plugins.module_utils._resilience.cleanup import (  # noqa: F401
        archive,
        batches,
        choosing,
        cipher,
        commands,
        counting,
        explain,
        keyfile,
        members,
        orphans,
        plan,
        policy,
        reconcile,
        restore,
        room,
        run,
        telling,
    )


def travel_drill() -> None:
    from ansible_collections.baileys.resilience.plugins.module_utils._resilience.drill import (  # noqa: F401
        broken,
        commands,
        detection,
        faults,
        keys,
        record,
        stages,
    )


def travel_failover() -> None:
    from ansible_collections.baileys.resilience.plugins.module_utils._resilience.failover import (  # noqa: F401
        catch_up,
        client_admin,
        client_memory,
        client_source,
        code,
        common_steps,
        configuration,
        connection_step,
        contacts,
        context,
        copies,
        daily_check,
        ending,
        envfile,
        failback_steps,
        failover_steps,
        flags,
        health,
        judgement,
        library,
        live,
        live_steps,
        load_check,
        moved_on,
        operations,
        plan,
        processes,
        readiness,
        report,
        services,
        settings,
        shared_paths,
        shown,
        source_reports,
        sources,
        staging,
        stop_step,
    )


def travel_failover_mirror() -> None:
    from ansible_collections.baileys.resilience.plugins.module_utils._resilience.failover.mirror import (  # noqa: F401
        change_log,
        chores,
        commands,
        database,
        layout,
        loop,
        policy,
        reader,
        scan,
        status,
        store,
    )


def travel_health() -> None:
    from ansible_collections.baileys.resilience.plugins.module_utils._resilience.health import (  # noqa: F401
        client_metrics,
        findings,
        key_ages,
        latency,
        percentiles,
        pgbouncer,
        server_pool,
        statements,
        thresholds,
    )


def travel_health_alerts() -> None:
    from ansible_collections.baileys.resilience.plugins.module_utils._resilience.health.alerts import (  # noqa: F401
        board,
        causes,
        core,
        machine,
        model,
        overview,
        readings,
        rules,
        saved,
        settings,
        slow,
        telling,
    )


def travel_health_history() -> None:
    from ansible_collections.baileys.resilience.plugins.module_utils._resilience.health.history import (  # noqa: F401
        database,
        histograms,
        model,
        reader,
        recorder,
        room,
        rows,
        tiers,
        writing,
    )


def travel_health_monitor() -> None:
    from ansible_collections.baileys.resilience.plugins.module_utils._resilience.health.monitor import (  # noqa: F401
        arguments,
        asking,
        bouncer,
        client_times,
        clients,
        commands,
        companies,
        configuration,
        database,
        deliveries,
        lanes,
        loop,
        memory,
        metrics,
        once,
        page,
        past,
        replication,
        requesting,
        saved,
        server,
        service,
        source,
        status,
        surroundings,
        systemd,
        terminal,
        watch,
        watching,
    )


def travel_notify() -> None:
    from ansible_collections.baileys.resilience.plugins.module_utils._resilience.notify import (  # noqa: F401
        check_in,
        dedupe,
        heartbeat,
        model,
        redact,
        sentry,
        services,
        settings,
        telegram,
        web,
    )


def travel_notify_outbox() -> None:
    from ansible_collections.baileys.resilience.plugins.module_utils._resilience.notify.outbox import (  # noqa: F401
        box,
        losses,
        messages,
        sender,
        settings,
        shelf,
        status,
        waiting,
    )


def travel_sessions() -> None:
    from ansible_collections.baileys.resilience.plugins.module_utils._resilience.sessions import (  # noqa: F401
        age_file,
        audit,
        backup_age,
        changes,
        client_files,
        codec,
        company_writer,
        creds,
        directory_source,
        directory_store,
        export,
        file_writer,
        guarded_home,
        import_guard,
        imported,
        importing,
        info,
        manifest,
        mirror_age,
        model,
        postgres_store,
        published,
        record,
        session_tables,
        shapes,
        sizes,
        table_writer,
        transfer,
        verify,
    )


def travel_steps() -> None:
    from ansible_collections.baileys.resilience.plugins.module_utils._resilience.steps import (  # noqa: F401
        detached,
        engine,
        journal,
        lease,
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/opt/baileys-resilience/lib"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    with errors_reported(module):
        place = Path(module.params["path"]).absolute() / installation.NAME
        installation.check_ours(place)
        present = module.params["state"] == "present"
        wanted: Dict[str, bytes] = installation.package_sources(_resilience.__name__) if present else {}
        changes = installation.compare(place, wanted)
        gone = not present and place.exists()
        if not module.check_mode:
            if present and changes:
                installation.install(place, wanted)
            elif gone:
                installation.remove(place)
        results = {
            "changed": bool(changes) or gone,
            "path": str(place),
            "version": _resilience.__version__ if present else None,
            "files": len(wanted),
            "changes": vars(changes),
        }
        if module._diff:
            results["diff"] = {"prepared": "".join(f"{line}\n" for line in changes.lines())}
        module.exit_json(**results)


if __name__ == "__main__":
    main()
