"""What must hold of the files of this repository themselves: requirements, versions, layout, and no stray addresses."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

from bootstrap.core.paths import PROJECT
from bootstrap.supply.golang import find_required_version, parse_version, read_module_version

REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")
LAYOUT = (
    ".ci/run",
    ".pre-commit-config.yaml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "benchmarks",
    "bootstrap/incluster",
    "bootstrap/console",
    "bootstrap/steps",
    "bootstrap/supply",
    "bootstrap/world",
    "demo/go-echo",
    "docs/architecture.md",
    "images",
    "invoke.yaml",
    "kind-config.yaml",
    "manifests",
    "pyproject.toml",
    "tasks.py",
    "tests/e2e",
    "tests/golden",
    "tests/integration",
    "tests/unit",
)
INDEXES = re.compile(r"pypi\.org/simple|files\.pythonhosted\.org|test\.pypi|/simple/?\b.*--|^-i |^--", re.MULTILINE)
PIN = r"^([a-z0-9][\w.-]*)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)"
HOME = re.compile(r"(?<![\w.$}])/(?:home|Users)/(?!user\b|me\b)[a-z][\w-]+/")
TEXT = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".sh", ".go", ".mod", ".html", ".js", ".css", "", ".template"}
SKIPPED = {".git", ".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


def pins(name: str) -> dict[str, tuple[str, int]]:
    """Package -> (version, number of hashes)."""
    text = (PROJECT / name).read_text()
    found = re.findall(
        r"^([a-z0-9][\w.-]*)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE
    )
    return {package: (version, hashes.count("--hash")) for package, version, hashes in found}


def committed() -> Iterator[Path]:
    for path in sorted(PROJECT.rglob("*")):
        if path.is_file() and path.suffix in TEXT and not SKIPPED & set(path.relative_to(PROJECT).parts):
            yield path


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_requirement_is_pinned_with_hashes_and_names_no_index(name: str) -> None:
    text = (PROJECT / name).read_text()
    stated = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert len(pins(name)) == len(stated) > 20
    assert not INDEXES.search(text)
    assert "://" not in text
    assert "/tmp" not in text  # noqa: S108  no path of the machine that locked it


def test_the_images_own_lock_is_pinned_with_hashes_and_names_no_index() -> None:
    name = "images/manager/requirements.txt"
    text = (PROJECT / name).read_text()
    stated = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert len(pins(name)) == len(stated) > 10
    assert "://" not in text
    assert "/tmp" not in text  # noqa: S108
    for package in ("aiohttp", "yarl", "multidict", "frozenlist", "propcache", "pyyaml"):
        assert pins(name)[package][1] > 20, f"{package} was locked for one machine only"


def test_the_image_holds_what_its_program_is_tested_with() -> None:
    asked = (PROJECT / "images/manager/requirements.in").read_text().splitlines()
    names = {re.split("==", each)[0] for each in asked if each and not each.startswith("#")}
    image, developers = pins("images/manager/requirements.txt"), pins("requirements-dev.txt")
    assert len(names) == 3
    assert {name: image[name][0] for name in names} == {name: developers[name][0] for name in names}


def test_what_is_compiled_has_wheels_for_each_python_and_architecture() -> None:
    for package in ("cryptography", "cffi", "pyyaml", "pydantic-core"):
        assert pins("requirements.txt")[package][1] > 20, f"{package} was locked for one machine only"


def test_both_locks_agree_and_hold_what_pyproject_asks_for() -> None:
    locked, developers = pins("requirements.txt"), pins("requirements-dev.txt")
    assert locked.items() <= developers.items()
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    for asked, have in ((project["dependencies"], locked), (project["optional-dependencies"]["dev"], developers)):
        names = {re.split(r"[<>=~ ;\[]", each)[0].lower().replace("_", "-") for each in asked}
        assert names <= set(have)


@pytest.mark.parametrize("path", LAYOUT)
def test_layout(path: str) -> None:
    assert (PROJECT / path).exists()


def test_the_licence_is_apache() -> None:
    assert "Apache License\n                           Version 2.0" in (PROJECT / "LICENSE").read_text()
    assert tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["license"] == "Apache-2.0"


def test_no_lock_that_carries_addresses_is_committed() -> None:
    assert not [path.name for path in PROJECT.glob("*.lock")]


def test_no_home_directory_of_somebody_is_named() -> None:
    assert [path.name for path in committed() if HOME.search(path.read_text())] == []


def test_ci_runs_the_readmes_second_command() -> None:
    commands = re.findall(r"^python3 -m venv .*$", (PROJECT / "README.md").read_text(), re.MULTILINE)
    assert commands[0].endswith("pip install -r requirements.txt && invoke up test-run")
    assert commands[1].endswith("pip install -r requirements-dev.txt && invoke test")
    assert commands[1] in (PROJECT / ".ci/run").read_text().splitlines()
    assert (PROJECT / ".ci/run").stat().st_mode & 0o111


def versions() -> dict[str, dict[str, list[str]]]:
    loaded: dict[str, dict[str, list[str]]] = yaml.safe_load((PROJECT / "images/versions.yaml").read_text())
    return loaded


def test_kubernetes_has_one_version() -> None:
    go_mod = PROJECT / "images/kubernetes/go.mod"
    wanted = read_module_version(go_mod, "k8s.io/kubernetes")
    assert {alias.rpartition(":")[2] for alias in versions()["aliases"]["kube"]} == {wanted}
    libraries = set(re.findall(r"=> k8s\.io/[\w-]+ (v\S+)", go_mod.read_text()))
    assert libraries == {wanted.replace("v1.", "v0.", 1)}


def test_coredns_is_the_one_that_kubeadm_asks_for() -> None:
    wanted = read_module_version(PROJECT / "images/kubernetes/go.mod", "github.com/coredns/coredns")
    assert versions()["aliases"]["coredns"] == [f"registry.k8s.io/coredns/coredns:{wanted}"]


def test_the_go_that_is_fetched_is_new_enough_for_every_module() -> None:
    wanted = find_required_version([*PROJECT.glob("images/*/go.mod"), *PROJECT.glob("demo/*/go.mod")])
    assert parse_version(str(versions()["go"]["version"])) >= wanted


def _outline(text: str) -> tuple[list[int], list[str], list[str], list[str]]:
    """Levels of the headings; blocks of code without comments; rows of the tables, by their first code; links."""
    blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    levels = [len(each) for each in re.findall(r"^(#+) ", prose, re.MULTILINE)]
    code = [re.sub(r" +# .*$", "", each, flags=re.MULTILINE) for each in blocks]
    rows = [
        each[0] if (each := re.findall(r"`[^`]+`", row)) else "" for row in re.findall(r"^\|.*$", prose, re.MULTILINE)
    ]
    return levels, code, rows, re.findall(r"\]\((docs/[a-z-]+\.md)\)", prose)


def test_the_chinese_readme_says_what_the_english_one_does() -> None:
    english, chinese = (_outline((PROJECT / name).read_text()) for name in ("README.md", "README.zh.md"))
    for ours, theirs in zip(english, chinese, strict=True):
        assert ours == theirs


def _imported(*folders: str) -> set[str]:
    """The distributions that provide what the modules there import, wherever the statement stands."""
    providers = packages_distributions()
    files = [file for each in folders for file in ([PROJECT / each] if each.endswith(".py") else modules(each))]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    foreign = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"bootstrap"}
    return {providers[name][0].lower().replace("_", "-") for name in foreign}


def modules(folder: str) -> list[Path]:
    return sorted((PROJECT / folder).rglob("*.py"))


def _declared(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9_.-]", each, maxsplit=1)[0].lower().replace("_", "-") for each in requirements}


def test_pyproject_declares_what_is_imported_and_nothing_else() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    apart = ("devtools", "manager")  # the latter's image has a lock of its own
    folders = [each.name for each in (PROJECT / "bootstrap").iterdir() if each.is_dir() and each.name not in apart]
    product = _imported("tasks.py", *(f"bootstrap/{name}" for name in folders))
    assert _declared(project["dependencies"]) == product
    tools = _declared(project["optional-dependencies"]["dev"])
    assert _imported("bootstrap/devtools") - product <= tools
    assert _imported("bootstrap/manager") <= pins("images/manager/requirements.txt").keys() & (tools | product)
    assert not tools & product


def test_what_is_imported_is_found_wherever_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PROJECT", tmp_path)
    (tmp_path / "a.py").write_text("import os\ndef late():\n    from yaml import nodes\nimport urllib3.util\n")
    assert _imported("a.py") == {"pyyaml", "urllib3"}
