"""The words of docs/glossary.md, held against the documents and against what a user reads."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootstrap.console.translations import ZH
from bootstrap.core.paths import PROJECT
from bootstrap.settings.config import SETTINGS

GLOSSARY = PROJECT / "docs/glossary.md"
PAGES = sorted(
    path
    for path in (*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"))
    if path.name not in (GLOSSARY.name, "CHANGELOG.md")
)
"""The change log tells of former versions in their words."""
PERMITTED = re.compile(r"feature gates?|certificate[ -]authorit(?:y|ies)|custom robot|group robot", re.IGNORECASE)
"""Names that others gave: Kubernetes, DingTalk, WeCom."""
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
"""Blocks and words of code: names of files, output that was seen."""
LINK = re.compile(r"\]\([^)]*\)")


@dataclass(frozen=True)
class Entry:
    """A row: the term, its Chinese, and the words that are not used for it."""

    term: str
    chinese: str
    rejected: tuple[str, ...]


def entries() -> list[Entry]:
    rows = re.findall(r"^\| (?!term |-)(.+?) \| (.+?) \| (.+?) \|(?: (.*?))? ?\|$", GLOSSARY.read_text(), re.MULTILINE)
    return [Entry(term, chinese, tuple(re.findall(r"`([^`]+)`", rejected))) for term, _, chinese, rejected in rows]


REJECTED = [word for entry in entries() for word in entry.rejected]
PATTERN = re.compile("|".join(word if not word.isascii() else rf"\b{re.escape(word)}\b" for word in REJECTED), re.I)


def rejected_in(text: str) -> list[str]:
    return PATTERN.findall(PERMITTED.sub("", text))


def prose(text: str) -> str:
    return LINK.sub("]", CODE.sub("", text))


def literals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, text) of the string constants with a space in them, without docstrings: most of them somebody reads."""
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in statements]
    for node in constants:
        if isinstance(node.value, str) and " " in node.value.strip():
            yield node.lineno, re.sub(r"\{\w+\}", "", node.value)


def test_every_row_of_the_glossary_is_read() -> None:
    rows = [line for line in GLOSSARY.read_text().splitlines() if line.startswith("| ") and "| term |" not in line]
    assert len(entries()) == len(rows) > 50
    terms = [entry.term for entry in entries()]
    assert len(terms) == len(set(terms))
    assert not set(REJECTED) & set(terms)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_documents_use_the_words_of_the_glossary(page: Path) -> None:
    text = " ".join(prose(page.read_text()).split())
    assert [text[max(0, hit.start() - 60) : hit.end() + 20] for hit in PATTERN.finditer(PERMITTED.sub("", text))] == []


def test_messages_use_the_words_of_the_glossary() -> None:
    found = [
        f"{path.relative_to(PROJECT)}:{line}: {text}"
        for path in (*sorted((PROJECT / "bootstrap").rglob("*.py")), PROJECT / "tasks.py")
        for line, text in literals(ast.parse(path.read_text()))
        if rejected_in(text)
    ]
    assert found == []


def test_settings_and_the_console_use_the_words_of_the_glossary() -> None:
    texts = [meta.doc for meta in SETTINGS.values()]
    texts += [re.sub(r"\{\w+\}", "", text) for pair in ZH.items() for text in pair]
    texts += re.findall(r"#.*", (PROJECT / "invoke.yaml").read_text())
    assert [text for text in texts if rejected_in(text)] == []


def test_the_console_translates_as_the_glossary_does() -> None:
    chinese = {entry.term.lower(): entry.chinese for entry in entries()}
    shown = {key.lower(): value for key, value in ZH.items()}
    common = {(key, term) for key in shown for term in chinese if key in (term, f"{term}s")} - {("pending", "pending")}
    assert len(common) > 10
    assert {key: shown[key] for key, _ in common} == {key: chinese[term] for key, term in common}


def test_a_rejected_word_is_found() -> None:
    assert rejected_in("The gate drops it") == ["gate"]
    assert rejected_in("a feature gate, and a Gateway") == []
    assert rejected_in("机器人收到") == ["机器人"]
    assert prose("see `gate` and [the robot](robots.md)") == "see  and [the robot]"
    assert [text for _, text in literals(ast.parse('"""a b"""\nx = "the hop"\ny = "hop"'))] == ["the hop"]
