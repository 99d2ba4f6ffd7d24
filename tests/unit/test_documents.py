"""What the documents and comments name exists: files, modules, functions, pages and headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from bootstrap.core.paths import PROJECT
from tests.unit.test_packages import MODULES, PACKAGES

PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("demo/**/*.md")])
SOURCES = sorted(
    path
    for folder, suffixes in {
        "bootstrap": {".py"},
        "tests": {".py", ".yaml"},
        "manifests": {".yaml"},
        "images": {".go", ".yaml", "", ".toml"},
        "demo": {".go", ".yaml", ""},
        "benchmarks": {".sh"},
    }.items()
    for path in (PROJECT / folder).rglob("*")
    if path.is_file() and path.suffix in suffixes
)
PATH = re.compile(r"`((?:bootstrap|tests|docs|images|manifests|benchmarks|[.]ci)/[\w./*-]*|\w+[.]py)`")
DOTTED = re.compile(r"(?<![\w./-])bootstrap(?:[.](?!local\b)[a-zA-Z_]\w*)+")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
PLACEHOLDER = re.compile(r"[A-Z]{3,}|\*")
"""`tests/unit/PACKAGE/test_MODULE.py` and `images/*/go.mod` name no one file."""


def named_files(text: str) -> Iterator[str]:
    """The paths of this repository, and names of Python files, that stand between backquotes."""
    return (path for path in PATH.findall(text) if not PLACEHOLDER.search(path))


def resolves(name: str) -> bool:
    """Whether "bootstrap.core.wait.until" is a module, or something in one."""
    module = name
    inside: list[str] = []
    while module not in MODULES and module != "bootstrap":
        module, _, last = module.rpartition(".")
        inside.insert(0, last)
    if module == "bootstrap":
        return not inside or inside == ["__init__"] or inside[0] in PACKAGES
    found = import_module(module)
    for attribute in inside:
        if not hasattr(found, attribute):
            return False
        found = getattr(found, attribute)
    return True


def anchors(text: str) -> set[str]:
    """The headings of a page, as GitHub makes addresses of them."""
    plain = (heading.lower().replace("`", "") for heading in HEADING.findall(text))
    return {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_that_a_page_names_exist(page: Path) -> None:
    python = {path.name for path in (*SOURCES, PROJECT / "tasks.py")}
    missing = [path for path in named_files(page.read_text()) if not (PROJECT / path).exists()]
    assert [path for path in missing if path not in python] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def test_the_modules_that_comments_and_pages_name_exist() -> None:
    missing = [
        f"{path.relative_to(PROJECT)}: {name}"
        for path in (*SOURCES, *PAGES)
        if path != Path(__file__)
        for name in DOTTED.findall(path.read_text())
        if not resolves(name)
    ]
    assert missing == []


def test_the_modules_of_the_architecture_exist() -> None:
    """Those with their package before them, `steps/graph`, and the adapters, which all are in `world/`."""
    page = (PROJECT / "docs/architecture.md").read_text()
    modules = re.findall(rf"`((?:{'|'.join(PACKAGES)})/\w+)/?`", page)
    adapters = page.partition("| adapter | to |\n|---|---|\n")[2].partition("\n\n")[0]
    firsts = "\n".join(re.findall(r"^\| (.*?) \|", adapters, re.MULTILINE))
    modules += [f"world/{name}" for name in re.findall(r"`(\w+)/?`", firsts)]
    assert len(modules) > 20
    bootstrap = PROJECT / "bootstrap"
    assert [each for each in modules if not ((bootstrap / f"{each}.py").exists() or (bootstrap / each).is_dir())] == []


def test_what_does_not_exist_is_found() -> None:
    assert not resolves("bootstrap.core.wait.never")
    assert not resolves("bootstrap.nothing.here")
    assert resolves("bootstrap.core.wait.until")
    assert list(named_files("`bootstrap/flows.py` `invoke up` `images/*/go.mod`")) == ["bootstrap/flows.py"]
    assert DOTTED.findall("# As bootstrap.objects.run_status.arrived_name.") == [
        "bootstrap.objects.run_status.arrived_name"
    ]
