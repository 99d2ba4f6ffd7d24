"""Strict YAML for files that people edit: every value knows its line, and every fault is collected.

Not accepted: duplicate keys, anchors and aliases (a short file can grow to gigabytes by them), tags, more
than one document, nesting deeper than any setting needs, and files larger than any settings file is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootstrap.core import untrusted
from bootstrap.core.errors import Fault
from bootstrap.incluster.text import one_line

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16
_SHOWN = 40


@dataclass(frozen=True)
class Node:
    """A value of the file. value: the text of a scalar as it is written, a list, or a mapping.

    line: 1-based. plain: a scalar without quotes, which may mean a number, a boolean or nothing.
    lines: of a mapping, the line of each key.
    """

    line: int
    value: str | list[Node] | dict[str, Node]
    plain: bool = False
    lines: dict[str, int] = field(default_factory=dict)

    @property
    def is_null(self) -> bool:
        """Whether it is written as nothing, `~` or `null`, without quotes."""
        return self.plain and self.value in ("", "~", "null", "Null", "NULL")

    def describe(self) -> str:
        """What the value is, for a message: "many", a list, nothing."""
        if isinstance(self.value, str):
            return "nothing" if self.is_null else quote(self.value)
        return "a list" if isinstance(self.value, list) else "a mapping"

    def data(self) -> Any:
        """As plain Python values, by YAML's rules for scalars; what looks like a date stays text."""
        if isinstance(self.value, dict):
            return {key: node.data() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.data() for node in self.value]
        return _parse_scalar(self.value) if self.plain else self.value


def quote(text: str) -> str:
    """The text in quotes, on one line, shortened."""
    text = one_line(text)
    return f'"{text[:_SHOWN]}…"' if len(text) > _SHOWN else f'"{text}"'


def read(file: Path, where: str) -> tuple[Node | None, list[Fault]]:
    """The root of `file`, or None for an empty one or one that is not YAML; and every fault found."""
    try:
        raw = untrusted.read_file(file, MAX_BYTES)
    except FileNotFoundError:
        return None, [Fault(where, 0, f"there is no such file: {file}")]
    except OSError as error:
        why = error.strerror or str(error)
        return None, [Fault(where, 0, why if why.startswith("it is ") else f"it cannot be read: {why}")]
    try:
        return parse(raw.decode("utf-8-sig"), where)
    except UnicodeDecodeError as error:
        return None, [Fault(where, raw[: error.start].count(b"\n") + 1, "it is not UTF-8 text")]


def parse(text: str, where: str) -> tuple[Node | None, list[Fault]]:
    """As `read`, from text. where: the name of the file in faults."""
    import yaml

    reader = _Reader(where)
    try:
        # Of tabs libyaml takes some that PyYAML's own parser, and so invoke, does not.
        events = yaml.parse(text, Loader=yaml.SafeLoader if "\t" in text else untrusted.get_safe_loader())
        return reader.build_document(iter(events)), reader.faults
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = one_line(error.problem or error.context or "it cannot be read")
        last = text.rstrip().count("\n") + 1  # an unexpected end is reported behind the last line
        reader.add_fault(min(mark.line + 1, last) if mark else 0, f"it is not YAML: {problem}")
    except yaml.YAMLError as error:  # characters that YAML forbids
        at = getattr(error, "position", None)
        line = text.count("\n", 0, at) + 1 if isinstance(at, int) else 0
        reader.add_fault(line, f"it is not YAML: {one_line(str(getattr(error, 'reason', error)))}")
    except _TooDeep as error:
        reader.add_fault(error.line, f"it is nested deeper than {MAX_DEPTH} levels")
    return None, reader.faults


class _TooDeep(Exception):
    """The file is nested deeper than MAX_DEPTH. line: where."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class _Reader:
    """Builds nodes from parser events, which, unlike PyYAML's own nodes, still show aliases and duplicates."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.faults: list[Fault] = []

    def add_fault(self, line: int, text: str) -> None:
        self.faults.append(Fault(self.where, line, text))

    def build_document(self, events: Iterator[Any]) -> Node | None:
        root: Node | None = None
        for event in events:
            if type(event).__name__ != "DocumentStartEvent":
                continue
            if root is not None:
                self.add_fault(event.start_mark.line + 1, "a second document (---) is not accepted")
                break
            root = self._build_node(next(events), events, ())
        return root

    def _build_node(self, event: Any, events: Iterator[Any], path: tuple[str, ...]) -> Node:
        """The node that begins with `event`. Raises _TooDeep."""
        line = event.start_mark.line + 1
        if len(path) > MAX_DEPTH:
            raise _TooDeep(line)
        self._refuse_references(event, line)
        kind = type(event).__name__
        if kind == "MappingStartEvent":
            return self._build_mapping(line, events, path)
        if kind == "SequenceStartEvent":
            return self._build_list(line, events, path)
        if kind == "AliasEvent":
            return Node(line, "")
        return Node(line, event.value, plain=event.style in (None, ""))

    def _refuse_references(self, event: Any, line: int) -> None:
        if type(event).__name__ == "AliasEvent":
            self.add_fault(line, f"*{event.anchor}: aliases are not accepted; write the value out")
        elif event.anchor:
            self.add_fault(line, f"&{event.anchor}: anchors are not accepted; write the value out")
        elif event.tag not in (None, "!"):
            self.add_fault(line, f"{quote(event.tag)}: tags are not accepted")

    def _build_list(self, line: int, events: Iterator[Any], path: tuple[str, ...]) -> Node:
        items: list[Node] = []
        while type(event := next(events)).__name__ != "SequenceEndEvent":
            items.append(self._build_node(event, events, (*path, f"[{len(items)}]")))
        return Node(line, items)

    def _build_mapping(self, line: int, events: Iterator[Any], path: tuple[str, ...]) -> Node:
        values: dict[str, Node] = {}
        lines: dict[str, int] = {}
        while type(event := next(events)).__name__ != "MappingEndEvent":
            key = self._build_node(event, events, (*path, "key"))
            name = key.value if isinstance(key.value, str) else ""
            value = self._build_node(next(events), events, (*path, name))
            if not isinstance(key.value, str):
                self.add_fault(key.line, f"{key.describe()} cannot be a key")
            elif name in values:
                self.add_fault(key.line, f"{join_path((*path, name))}: given twice, first on line {lines[name]}")
            else:
                values[name], lines[name] = value, key.line
        return Node(line, values, lines=lines)


def join_path(path: Sequence[str]) -> str:
    """The path as people write it: ("nodes", "[1]", "role") -> nodes[1].role."""
    return one_line(".".join(path).replace(".[", "["))


def _parse_scalar(text: str) -> Any:
    import yaml

    loader: Any = yaml.SafeLoader("")
    tag = str(loader.resolve(yaml.ScalarNode, text, (True, False)))
    return yaml.safe_load(text) if tag.rpartition(":")[2] in ("bool", "int", "float", "null") else text
