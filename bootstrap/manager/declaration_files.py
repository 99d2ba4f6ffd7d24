"""Files of the central repository as Applications, or what is wrong with each, by its line. Pure.

Not accepted, as in other files that people edit: anchors and aliases, by which a short file grows without end, tags,
keys that stand twice, and deep nesting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from bootstrap.incluster.application_source import DECLARED_BY, DECLARED_IN, FROM_REPOSITORY, SOURCE, Source
from bootstrap.incluster.applications import API_VERSION, KIND
from bootstrap.incluster.json_object import Object
from bootstrap.incluster.text import one_line

MAX_DEPTH = 16
ACCEPTED, ACCEPTED_METADATA = ("apiVersion", "kind", "metadata", "spec"), ("name", "namespace", "labels", "annotations")
_NAME = re.compile(r"(?=.{1,40}\Z)[a-z]([a-z0-9]|-[a-z0-9])*")
"""As the schema has it: a name becomes part of addresses before the API server sees it."""
_FIELD = re.compile(r"\.?\b((?:spec|metadata)(?:\.\w+|\[[^\]]*\])*)")
_STEP = re.compile(r'(\w+)|\[(\d+)\]|\[(\w+)="([^"]*)"\]')
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Fault:
    """What is wrong. line: 1-based, 0 for the file as a whole; file: "" for the repository as a whole."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.text}" if where else self.text


@dataclass(frozen=True)
class Declared:
    """An Application of a file. number: which document of the file it is, from 0."""

    obj: Object
    file: str
    text: str = field(repr=False)
    number: int = 0

    @property
    def name(self) -> str:
        """Of the Application."""
        return str(self.obj["metadata"]["name"])

    def make_fault(self, why: str) -> Fault:
        """What is wrong, at the line of the field that the text names, or else of the name."""
        node = list(_compose(self.text))[self.number]
        found = _FIELD.search(why)
        return Fault(self.file, _find_line(node, found[1] if found else "metadata.name"), why)


class _InvalidFile(Exception):
    """line: 1-based, 0 if it is not known."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


class _Loader(_LOADER):  # type: ignore[misc]
    """What looks like a date stays text, as in Kubernetes."""


_Loader.yaml_implicit_resolvers = {
    first: [each for each in found if each[0] != "tag:yaml.org,2002:timestamp"]
    for first, found in _LOADER.yaml_implicit_resolvers.items()
}


def read_declarations(files: Mapping[str, bytes], source: Source, namespace: str) -> tuple[list[Declared], list[Fault]]:
    """The Applications of all files, marked as this source's, and every fault. files: path -> content."""
    found: list[Declared] = []
    faults: list[Fault] = []
    seen: dict[str, str] = {}
    for file, content in sorted(files.items()):
        try:
            text = content.decode("utf-8-sig")
            documents = [*_read_documents(text)]
        except UnicodeDecodeError as error:
            faults.append(Fault(file, content[: error.start].count(b"\n") + 1, "it is not UTF-8 text"))
            continue
        except _InvalidFile as error:
            faults.append(Fault(file, error.line, str(error)))
            continue
        for number, (node, value) in enumerate(documents):
            if value is None:
                continue
            where, why = _find_fault(value, namespace, seen)
            if why:
                faults.append(Fault(file, _find_line(node, where), why))
                continue
            seen[value["metadata"]["name"]] = file
            found.append(Declared(_mark(value, source, file, namespace), file, text, number))
    return found, faults


def _mark(obj: Object, source: Source, file: str, namespace: str) -> Object:
    metadata = obj["metadata"]
    labels = {**(metadata.get("labels") or {}), SOURCE: FROM_REPOSITORY}
    annotations = {**(metadata.get("annotations") or {}), DECLARED_BY: source.mark, DECLARED_IN: file}
    return {**obj, "metadata": {**metadata, "namespace": namespace, "labels": labels, "annotations": annotations}}


def _find_fault(obj: Any, namespace: str, seen: Mapping[str, str]) -> tuple[str, str]:
    """(the field, what is wrong with it), or two empty texts. What is within `spec` is the API server's affair."""
    if not isinstance(obj, dict):
        return "", f"expected an {KIND} with apiVersion, kind and metadata"
    if (obj.get("apiVersion"), obj.get("kind")) != (API_VERSION, KIND):
        found = f"{obj.get('kind') or 'an object'} of {obj.get('apiVersion') or 'no version'}"
        return "kind" if "kind" in obj else "", f"{one_line(found)[:100]}; expected {KIND} of {API_VERSION}"
    for each in obj:
        if each not in ACCEPTED:
            return str(each), f"{one_line(str(each))[:60]} is no field of an {KIND}; it has {', '.join(ACCEPTED)}"
    return _find_metadata_fault(obj.get("metadata"), namespace, seen)


def _find_metadata_fault(metadata: Any, namespace: str, seen: Mapping[str, str]) -> tuple[str, str]:
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str):
        return "metadata", "metadata.name is missing, or is no text"
    if not _NAME.fullmatch(name):
        told = f"{one_line(name)[:60]} is no name of at most 40 lower case letters, digits and single dashes"
        return "metadata.name", f"{told}, with a letter first"
    for each in metadata:
        if each not in ACCEPTED_METADATA:
            what = f"metadata.{one_line(str(each))[:60]} is not accepted; {', '.join(ACCEPTED_METADATA)} are"
            return f"metadata.{each}", what
        if each in ("labels", "annotations") and not isinstance(metadata[each] or {}, dict):
            return f"metadata.{each}", f"metadata.{each} is no mapping"
    if (metadata.get("namespace") or namespace) != namespace:
        told = f"{name} is in namespace {one_line(str(metadata['namespace']))[:60]}; applications are in {namespace}"
        return "metadata.namespace", told
    return ("metadata.name", f"{name} is declared in {seen[name]} already") if name in seen else ("", "")


# -- YAML --------------------------------------------------------------------------------------------


def _read_documents(text: str) -> Iterator[tuple[Any, Any]]:
    """(node, value) of each document. Raises _InvalidFile."""
    try:
        _refuse_unbounded(text)
        for node in _compose(text):
            _refuse_duplicates(node)
            loader = _Loader("")
            try:
                yield node, loader.construct_document(node) if node else None
            finally:
                loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = one_line(str(error.problem or error.context or "it cannot be read"))
        last = text.rstrip().count("\n") + 1  # an unexpected end is reported behind the last line
        raise _InvalidFile(min(mark.line + 1, last) if mark else 0, f"it is not YAML: {problem[:200]}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise _InvalidFile(0, f"it is not YAML: {one_line(str(error))[:200]}") from None


def _compose(text: str) -> Iterator[Any]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            yield loader.get_node()
    finally:
        loader.dispose()


def _refuse_unbounded(text: str) -> None:
    depth = 0
    events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
    for event in events:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _InvalidFile(line, f"it is nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            raise _InvalidFile(line, "aliases (*NAME) are not accepted; write out what it stands for")
        if getattr(event, "tag", None):
            raise _InvalidFile(line, "tags (!NAME) are not accepted")


def _refuse_duplicates(node: Any) -> None:
    """In a tree, for there are no aliases."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _InvalidFile(key.start_mark.line + 1, "a key must be a text")
            if key.value in seen:
                raise _InvalidFile(key.start_mark.line + 1, f"the key {one_line(key.value)[:60]} stands twice")
            seen.add(key.value)
            _refuse_duplicates(value)
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            _refuse_duplicates(each)


def _find_line(node: Any, path: str) -> int:
    """The line of a field such as `spec.environments[0].name`, or of the innermost part of it that is there."""
    line = int(node.start_mark.line) + 1
    for word, index, key, value in _STEP.findall(path):
        if word and isinstance(node, yaml.MappingNode):
            found = next(((k.start_mark, v) for k, v in node.value if k.value == word), None)
        elif index and isinstance(node, yaml.SequenceNode):
            found = next(((v.start_mark, v) for v in node.value[int(index) : int(index) + 1]), None)
        elif key and isinstance(node, yaml.SequenceNode):
            found = next(((v.start_mark, v) for v in node.value if _get_scalar(v, key) == value), None)
        else:
            found = None
        if found is None:
            break
        line, node = found[0].line + 1, found[1]
    return line


def _get_scalar(node: Any, key: str) -> str:
    pairs: Sequence[Any] = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((str(v.value) for k, v in pairs if k.value == key), "")
