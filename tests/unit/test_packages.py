"""The packages of docs/architecture.md as data, held against what the modules really import."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from bootstrap.core.paths import PROJECT

PACKAGES = (
    "incluster",
    "manager",
    "core",
    "settings",
    "objects",
    "world",
    "supply",
    "steps",
    "commands",
    "console",
    "devtools",
    "cli",
    "tasks",
)
"""From the bottom up: a module imports its own package and those before it in this list."""

DOORS = {
    "sh": ("bootstrap/world/shell.py",),
    "rich": ("bootstrap/world/terminal.py",),
    "kubernetes": ("bootstrap/world/kube/",),
    "websocket": ("bootstrap/world/kube/",),
    "wsproto": ("bootstrap/world/kube/",),
    "urllib3": ("bootstrap/world/kube/", "bootstrap/world/http_client.py"),
    # Of the standard library: each user of it would decide anew on proxies, CAs and limits. The programs in the
    # cluster have nothing else; http_client asks it for the environment's proxies, and knows its errors.
    "urllib.request": ("bootstrap/world/http_client.py", "bootstrap/incluster/"),
    "http.client": ("bootstrap/world/http_client.py", "bootstrap/incluster/"),
    "bcrypt": ("bootstrap/world/",),
    "cryptography": ("bootstrap/core/pki.py",),
    "cyclonedx": ("bootstrap/supply/sbom.py",),
    "packageurl": ("bootstrap/supply/sbom.py",),
    "nicegui": ("bootstrap/console/",),
    "starlette": ("bootstrap/console/",),
    "uvicorn": ("bootstrap/console/",),
    "fastapi": ("bootstrap/console/",),
    "pydantic": ("bootstrap/console/",),
    "playwright": ("bootstrap/devtools/",),
    "invoke": ("tasks.py",),
}
"""Foreign package, or module -> the only files, or folders, that import it."""


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in (*sorted((PROJECT / "bootstrap").rglob("*.py")), PROJECT / "tasks.py")}


def package_of(module: str) -> str:
    """ "bootstrap.world.kube.client" -> "world"; "tasks" -> "tasks"; "bootstrap" itself -> ""."""
    return module if module in PACKAGES else module.removeprefix("bootstrap").lstrip(".").partition(".")[0]


def imports(source: str, module: str) -> Iterator[tuple[int, str]]:
    """(line, full name of the module that is imported), wherever the statement stands, also for types only."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}:{node.lineno}: write imports in full, not relative"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield node.lineno, inner if inner in MODULES or inner in DOORS else node.module or ""


def upward_imports(module: str, imported: Iterable[tuple[int, str]]) -> list[str]:
    """What `module` imports from a package that comes after its own."""
    height = PACKAGES.index(package_of(module))
    return [
        f"{module}:{line} imports {target}, which lies above it"
        for line, target in imported
        if target.startswith("bootstrap.") and PACKAGES.index(package_of(target)) > height
    ]


def find_cycle(imported: dict[str, set[str]]) -> list[str]:
    """One cycle of the graph module -> modules, its first module also last; empty if there is none."""
    try:
        TopologicalSorter(imported).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


IMPORTED = {module: list(imports(path.read_text(), module)) for module, path in MODULES.items()}
"""Module -> what it imports."""


def inner_imports(package: str) -> dict[str, set[str]]:
    own = [module for module in MODULES if package_of(module) == package]
    return {module: {target for _, target in IMPORTED[module] if target in own} - {module} for module in own}


def test_every_module_lies_in_a_package_of_the_list() -> None:
    assert {package_of(module) for module in MODULES} - {""} == set(PACKAGES)


@pytest.mark.parametrize("module", [module for module in MODULES if package_of(module)])
def test_imports_go_down_only(module: str) -> None:
    assert upward_imports(module, IMPORTED[module]) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_has_a_cycle(package: str) -> None:
    assert find_cycle(inner_imports(package)) == []


def test_what_runs_in_the_cluster_needs_nothing_but_python() -> None:
    """Its image holds Python without any package, and of ours that package alone."""
    known = sys.stdlib_module_names
    strangers = [
        f"{module}:{line} imports {target}"
        for module, imported in IMPORTED.items()
        if package_of(module) == "incluster"
        for line, target in imported
        if not target.startswith("bootstrap.incluster") and target.partition(".")[0] not in known
    ]
    assert strangers == []


def test_the_manager_stands_apart() -> None:
    """Its image holds the framework, with PyYAML, and of ours what runs in the cluster; nothing else of ours has the
    framework.
    """
    framework, known = ("kopf", "aiohttp", "prometheus_client"), {*sys.stdlib_module_names, "yaml"}
    strangers = [
        f"{module}:{line} imports {target}"
        for module, imported in IMPORTED.items()
        for line, target in imported
        if (
            not target.startswith(("bootstrap.manager", "bootstrap.incluster"))
            and target.partition(".")[0] not in known.union(framework)
            if package_of(module) == "manager"
            else target.startswith("bootstrap.manager") or target.partition(".")[0] in framework
        )
    ]
    assert strangers == []


@pytest.mark.parametrize("package", DOORS)
def test_foreign_packages_have_one_door(package: str) -> None:
    importers = {
        MODULES[module].relative_to(PROJECT).as_posix()
        for module, imported in IMPORTED.items()
        for _, target in imported
        if f"{target}.".startswith(f"{package}.")
    }
    assert importers, f"nothing imports {package} any more"
    strangers = [path for path in importers if not path.startswith(DOORS[package])]
    assert strangers == [], f"{package} is imported only by {', '.join(DOORS[package])}"


def test_the_architecture_names_the_packages_in_this_order() -> None:
    text = (PROJECT / "docs/architecture.md").read_text()
    places = [text.find(f"| `{package}/` |") for package in PACKAGES[:-1]]
    assert -1 not in places
    assert places == sorted(places)


def test_an_import_from_above_and_a_cycle_are_found() -> None:
    module = "bootstrap.settings.config"
    late = imports("def late():\n    from bootstrap.steps import kind_cluster\n", module)
    assert upward_imports(module, late) == [
        "bootstrap.settings.config:2 imports bootstrap.steps.kind_cluster, which lies above it"
    ]
    assert upward_imports(module, imports("from bootstrap.core import errors\nimport os\n", module)) == []
    assert list(imports("from urllib import request, parse\n", module)) == [(1, "urllib.request"), (1, "urllib")]
    assert find_cycle({"a": {"b"}, "b": {"a"}}) in (["a", "b", "a"], ["b", "a", "b"])
    assert find_cycle({"a": {"b"}, "b": set()}) == []
