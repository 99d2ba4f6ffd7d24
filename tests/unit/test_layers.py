"""The layers of docs/architecture.md as data, held against what the modules really import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LAYERS: tuple[tuple[str, ...], ...] = (
    ("model", "errors"),
    (
        "authorities",
        "branches",
        "cancel",
        "composing",
        "config",
        "crd_versions",
        "crew",
        "deliveries",
        "drift",
        "findings",
        "fitness",
        "images",
        "kindconfig",
        "kindschema",
        "kubeconfig",
        "layers",
        "layout",
        "logins",
        "manifests",
        "names",
        "patches",
        "openshift",
        "paths",
        "pki",
        "places",
        "plans",
        "polling",
        "proxies",
        "readiness",
        "rules",
        "retention",
        "rewriting",
        "run_names",
        "runs",
        "runtime_filter",
        "settings_file",
        "ssh",
        "text",
        "words",
    ),
    ("world",),
    ("wait",),
    ("converge", "locks"),
    ("supply", "doctor"),
    ("steps",),
    (
        "flows",
        "following",
        "locking",
        "hops",
        "looking",
        "jobs",
        "running",
        "serving",
        "volleys",
        "litter",
        "loads",
        "checking",
        "cloning",
        "delivering",
        "tunnelling",
        "serial",
        "sights",
        "bench",
        "cargo",
        "bundling",
        "mirroring",
        "syncing",
        "console",
        "agents",
    ),
    ("commands", "cli"),
    ("tasks",),
)
"""From the bottom up: a room may import its own layer and those below. A package is one room; a module within
it that needs more than the package may be named apart."""

SOLE_IMPORTERS = {
    "sh": "bootstrap/world/shell.py",
    "kubernetes": "bootstrap/world/kube.py",
    "rich": "bootstrap/world/report.py",
    "invoke": "tasks.py",
}

HEIGHT = {room: height for height, rooms in enumerate(LAYERS) for room in rooms}


def modules() -> list[Path]:
    return [*sorted((ROOT / "bootstrap").rglob("*.py")), ROOT / "tasks.py"]


def room(module: str) -> str:
    """ "bootstrap.world.shell" -> "world"; "tasks" -> "tasks"; "bootstrap" itself has no room."""
    inner = module.removeprefix("bootstrap").lstrip(".")
    return inner if inner in HEIGHT else inner.partition(".")[0]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(source: str, module: str) -> Iterator[tuple[int, str]]:
    """(line, full name of what is imported), wherever the statement stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}:{node.lineno}: write imports in full, not relative"
            if node.module == "bootstrap":
                yield from ((node.lineno, f"bootstrap.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module or ""


def violations(source: str, module: str) -> list[str]:
    """What `module` imports from above its own layer."""
    own = room(module)
    return [
        f"{module}:{line} imports {target}, which lies above it"
        for line, target in imports(source, module)
        if target.startswith("bootstrap.") and HEIGHT.get(room(target), -1) > HEIGHT[own]
    ]


def test_every_module_has_a_layer() -> None:
    homeless = sorted({room(name_of(path)) for path in modules()} - set(HEIGHT) - {""})
    assert not homeless, f"add {', '.join(homeless)} to LAYERS here, and to the table in docs/architecture.md"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_go_down_only(path: Path) -> None:
    module = name_of(path)
    if room(module) in HEIGHT:
        assert violations(path.read_text(), module) == []


@pytest.mark.parametrize(("package", "importer"), SOLE_IMPORTERS.items())
def test_foreign_packages_have_one_door(package: str, importer: str) -> None:
    found = [
        path.relative_to(ROOT).as_posix()
        for path in modules()
        for _, target in imports(path.read_text(), name_of(path))
        if target.partition(".")[0] == package
    ]
    assert set(found) <= {importer}, f"{package} is imported only by {importer}"


def test_an_import_from_above_is_found() -> None:
    source = "def late():\n    from bootstrap.steps import cluster\n"
    assert violations(source, "bootstrap.config") == ["bootstrap.config:2 imports bootstrap.steps, which lies above it"]
    assert violations("from bootstrap import errors\nimport os\n", "bootstrap.config") == []
    assert violations("from bootstrap import flows\n", "bootstrap.wait") != []
