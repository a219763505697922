# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree follows the house rules, and each rule can tell a good file from a bad one."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
import yaml

from tests.unit import repository_rules as rules
from tests.unit.repository_rules import LIBRARY, ROOT, Source

STANDARD_LIBRARY = frozenset(sys.stdlib_module_names)
#: what runs inside other people's programs may be used by itself
FOR_OTHERS = ("plugins/module_utils/", "roles/session_client/files/client/")
#: other people's code, as they ship it, with their licence beside it (tests/unit/health/monitor/test_page.py)
VENDORED = ("roles/health_monitor/files/page/uPlot.",)
CODE = ("*.py", "*.mjs", "*.cjs", "*.js", "*.ts", "*.css", "*.html", "*.sh")


def none_of(complaints: list[str]) -> None:
    assert not complaints, "\n" + "\n".join(complaints)


# The tree


def test_every_source_file_names_its_licence() -> None:
    everything = [s for s in rules.sources(*CODE) if not s.path.startswith(VENDORED)]
    for_others = [(s, "BSD-2-Clause") for s in everything if s.path.startswith(FOR_OTHERS)]
    others = [s for s in everything if not s.path.startswith((*FOR_OTHERS, "plugins/"))]
    other = [(s, "GPL-3.0-or-later") for s in others if s.text.strip()]
    none_of([c for source, licence in for_others + other for c in rules.missing_licence(source, licence)])


def test_modules_carry_the_gpl_header_that_galaxy_asks_for() -> None:
    plugins = [s for s in rules.sources("plugins/*.py") if not s.path.startswith("plugins/module_utils/")]
    none_of(
        [f"{s.path}: no GPLv3 header" for s in plugins if s.text and not re.search(r"GPL-3|GNU General Public", s.text)]
    )


def test_no_file_and_no_function_has_become_two_things() -> None:
    files = rules.sources(
        "plugins/*.py",
        "lab/*.py",
        "lab/*.mjs",
        "lab/*.js",
        "roles/*.yml",
        "roles/health_monitor/files/page/[a-z]*",
        "playbooks/*.yml",
    )
    none_of([c for source in files for c in rules.too_long(source)])


def test_what_runs_on_hosts_is_python_3_9() -> None:
    none_of([c for source in rules.sources("plugins/*.py", "roles/*.py") for c in rules.unparsable_on_hosts(source)])


def test_third_party_code_enters_the_library_through_one_door() -> None:
    files = rules.sources(f"{LIBRARY}/*.py")
    none_of([c for source in files for c in rules.foreign_imports(source, STANDARD_LIBRARY)])


def test_arrows_run_downwards_inside_the_library() -> None:
    none_of([c for source in rules.sources(f"{LIBRARY}/*.py") for c in rules.upward_imports(source)])


def test_only_one_file_of_module_utils_knows_ansible() -> None:
    files = [s for s in rules.sources("plugins/module_utils/*.py") if s.path != "plugins/module_utils/_ansible.py"]
    found = [
        (s.path, name) for s in files for _line, _level, name in rules.imports(s.tree) if name.startswith("ansible")
    ]
    none_of([f"{path}: imports {name}" for path, name in found])


def test_tracked_files_hold_no_path_of_a_developers_machine() -> None:
    # Users' homes other than the ones that documentation speaks of, and root's own.
    home = re.compile(r"(?<![\w./-])/(?:root|home/(?!deploy\b|app\b|whatsapp\b|postgres\b|<)[a-z][\w-]*)/")
    none_of([f"{s.path}: {m[0]}" for s in _text_files() for m in home.finditer(s.text)])
    none_of([f"{s.path}: {ROOT}/" for s in _text_files() if f"{ROOT}/" in s.text])


def test_tracked_files_name_no_registry_host() -> None:
    host = re.compile(
        r'"resolved":|https?://(?:registry\.|pypi\.|files\.pythonhosted|deb\.debian|[\w.-]*(?:mirror|proxy|artifactory|nexus)[\w.-]*\.)'
    )
    none_of(
        [
            f"{s.path}: {m[0]}"
            for s in _text_files()
            for m in host.finditer(s.text)
            if not s.path.startswith("tests/unit/")
        ]
    )


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    excuse = re.compile(r"pytest\.(?:mark\.)?(?:skip|skipif|xfail|importorskip)\b")
    files = [s for s in rules.sources("tests/*.py") if s.path != "tests/unit/test_repository.py"]
    none_of([f"{s.path}: {m[0]}" for s in files for m in excuse.finditer(s.text)])


def test_collections_that_roles_and_playbooks_use_are_dependencies() -> None:
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
    declared = {"ansible.builtin", "baileys.resilience", *galaxy["dependencies"]}
    found = chain.from_iterable(
        rules.undeclared_collections(s.path, list(yaml.load_all(s.text, Loader=rules.TagBlindLoader)), declared)
        for s in rules.sources("roles/*.yml", "playbooks/*.yml")
        if "/templates/" not in s.path
    )
    none_of(list(found))


def test_the_toolkit_role_installs_the_pinned_requirements() -> None:
    copies = rules.sources("roles/toolkit/files/requirements*.txt")
    wanted = (ROOT / "requirements" / "runtime.txt").read_text(encoding="utf-8")
    none_of([f"{s.path} differs from requirements/runtime.txt" for s in copies if s.text != wanted])


def test_every_requirement_is_pinned_exactly() -> None:
    loose = [
        f"requirements/{name}: {line}"
        for name in ("runtime.txt", "dev.txt", "constraints.txt")
        for line in (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
        if line and not line.startswith(("#", "-r ")) and not re.match(r"[\w.\[\]-]+==[\w.]+(; .+)?$", line)
    ]
    none_of(loose)


def test_every_module_that_takes_a_database_is_in_the_action_group() -> None:
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    grouped = set(runtime["action_groups"]["resilience"])
    # Not toolkit_library: it takes no database, and would refuse the defaults that the group is for.
    modules = {Path(name).stem for name in rules.tracked("plugins/modules/session_*.py", "plugins/modules/*_info.py")}
    assert modules <= grouped, f"not in meta/runtime.yml: {sorted(modules - grouped)}"
    assert "toolkit_library" not in grouped


def test_the_collection_ships_what_runs_and_nothing_of_the_checkout(collections_path: Path) -> None:
    shipped = collections_path / "ansible_collections" / "baileys" / "resilience"
    names = {path.name for path in shipped.iterdir()}
    assert {"MANIFEST.json", "LICENSE", "meta", "plugins"} <= names
    assert not names & {"lab", "tests", "bench", "build", "molecule", "scripts", "Makefile", ".venv", ".git", ".ci"}
    for name in rules.tracked("plugins/*", "roles/*", "playbooks/*"):
        assert (shipped / name).is_file(), f"{name} is in the checkout but does not ship"


def test_a_second_build_of_the_same_sources_is_the_same_directory(collections_path: Path) -> None:
    again = subprocess.run([ROOT / "scripts" / "collection-dir"], capture_output=True, text=True, check=True)
    assert Path(again.stdout.strip()).is_dir()
    assert (ROOT / "build" / "collections" / "ansible_collections" / "baileys" / "resilience").is_dir()


def test_an_execution_environment_gets_the_pinned_requirements(collections_path: Path) -> None:
    command = [Path(sys.executable).parent / "ansible-builder", "introspect", collections_path]
    found = yaml.safe_load(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert any(line.startswith("psycopg2-binary==") for line in found["python"])
    assert any(line.split()[0] == "git" for line in found["system"])
    # psycopg2-binary brings its own client library, and nothing calls a PostgreSQL tool.
    assert not any("postgresql" in line for line in found["system"])


def test_the_table_of_errors_in_the_docs_is_the_registry_of_the_library() -> None:
    command = [sys.executable, ROOT / "scripts" / "errors_table.py"]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs" / "errors.md").read_text(encoding="utf-8") == table, "run `make docs`"


def _text_files() -> list[Source]:
    """Every tracked file that is text; licences and lists of hashes speak for themselves."""
    found = []
    for name in rules.tracked("*"):
        try:
            found.append(Source(name, (ROOT / name).read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


# The rules themselves: each example breaks exactly one


def at(path: str, text: str) -> Source:
    return Source(f"{LIBRARY}/{path}", text)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("sessions/codec.py", "from ..failover import engine"),
        ("sessions/codec.py", "from .. import failover"),
        ("postgres.py", "from .sessions import model"),
        ("steps/engine.py", "def f():\n    from ..sessions.model import X"),
        ("health/probes.py", "from ..backup.catalogue import Catalogue"),
        ("failover/plan.py", "from ..cli import main"),
        ("unknown/thing.py", ""),
    ],
)
def test_an_upward_import_is_found(path: str, text: str) -> None:
    assert list(rules.upward_imports(at(path, text)))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (
            "sessions/codec.py",
            "from . import model\nfrom .model import X\nfrom ..errors import E\nfrom .. import files",
        ),
        (
            "failover/steps/export.py",
            "from ...restore.fetch import f\nfrom ..plan import P\nfrom ...sessions import model",
        ),
        ("health/rules.py", "from ..cleanup.policy import Policy"),
        ("cli.py", "from .failover import plan"),
    ],
)
def test_a_downward_import_is_allowed(path: str, text: str) -> None:
    assert not list(rules.upward_imports(at(path, text)))


@pytest.mark.parametrize(
    "text", ["import psycopg2", "from ansible.module_utils import x", "import baileys_resilience.errors"]
)
def test_a_foreign_import_is_found(text: str) -> None:
    assert list(rules.foreign_imports(at("postgres.py", text), STANDARD_LIBRARY))


def test_a_guarded_import_in_the_door_is_allowed() -> None:
    guarded = "try:\n    import psycopg2\nexcept ImportError:\n    psycopg2 = None"
    assert not list(rules.foreign_imports(at("_thirdparty.py", guarded), STANDARD_LIBRARY))


def test_a_long_file_and_a_long_function_are_found() -> None:
    body = "def f():\n" + "    pass\n" * 61
    assert len(list(rules.too_long(at("x.py", body)))) == 1
    assert len(list(rules.too_long(at("x.py", "pass\n" * 401)))) == 1


def test_syntax_newer_than_hosts_is_found() -> None:
    assert list(rules.unparsable_on_hosts(at("x.py", "match 1:\n    case 1:\n        pass\n")))
    assert list(rules.unparsable_on_hosts(at("x.py", "try:\n    pass\nexcept* ValueError:\n    pass\n")))


def test_a_collection_that_is_no_dependency_is_found() -> None:
    tasks = [{"name": "x", "block": [{"community.general.ini_file": {"path": "x"}}]}]
    assert list(rules.undeclared_collections("t.yml", tasks, {"ansible.builtin"}))
    assert not list(rules.undeclared_collections("t.yml", tasks, {"community.general"}))


def test_a_missing_licence_is_found() -> None:
    assert list(rules.missing_licence(at("x.py", "import os\n"), "BSD-2-Clause"))
