"""Image references in other people's manifests: found, replaced in place, and the result checked. Pure.

The text is edited, not written anew, so that comments, order and layout stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import yaml

from bootstrap.core import untrusted
from bootstrap.core.errors import Fault, UsageError
from bootstrap.objects.image_refs import ImagePlace, find_places

Path = tuple[str | int, ...]


def find_references(text: str, where: str) -> list[ImagePlace]:
    """The references of a YAML text; each path begins with the index of its document.

    Raises UsageError for other texts.
    """
    return [
        replace(place, path=(index, *place.path))
        for index, document in enumerate(_load_documents(text, where))
        for place in _find_in_document(document)
    ]


def rewrite(text: str, new: Mapping[str, str], where: str) -> str:
    """The text with every reference that `new` knows replaced, and nothing else changed.

    Raises UsageError where that cannot be done in place: a value that is folded in the middle of a reference, or one
    that comes from another place by a merge key.
    """
    found = [place for place in find_references(text, where) if not place.left]
    todo = [place for place in found if new.get(place.text, place.text) != place.text]
    roots = list(yaml.compose_all(text, Loader=untrusted.get_safe_loader()))
    spans: dict[tuple[int, int], dict[str, str]] = {}
    for place in todo:
        node = _find_node(roots, place.path)
        if node is None:
            raise _make_refusal(where, place.text)
        spans.setdefault((node.start_mark.index, node.end_mark.index), {})[place.text] = new[place.text]
    edited = text
    for (start, end), pairs in sorted(spans.items(), reverse=True):
        edited = edited[:start] + replace_references(edited[start:end], pairs) + edited[end:]
    if _load_documents(edited, where) != _replace_in_values(_load_documents(text, where), todo, new):
        raise _make_refusal(where, todo[0].text if todo else "")
    return edited


def replace_references(text: str, pairs: Mapping[str, str]) -> str:
    """The text with each whole reference `old` replaced by `pairs[old]`, in one pass: no result is replaced again."""
    either = "|".join(re.escape(old) for old in sorted(pairs, key=len, reverse=True))
    whole = re.compile(rf"(?<![\w./:@-])(?:{either})(?![\w/@-]|[.:]\w)")
    return whole.sub(lambda match: pairs[match[0]], text)


def _load_documents(text: str, where: str) -> list[Any]:
    """The values of all documents. Raises UsageError with the line."""
    return untrusted.load_yaml(text, where)


def _find_in_document(document: Any) -> Iterable[ImagePlace]:
    """A List holds objects, of which each may be a CustomResourceDefinition."""
    items = document.get("items") if isinstance(document, Mapping) else None
    if not isinstance(items, list):
        yield from find_places(document)
        return
    for index, item in enumerate(items):
        yield from (replace(place, path=("items", index, *place.path)) for place in find_places(item))


def _find_node(roots: list[Any], path: Path) -> yaml.ScalarNode | None:
    """The YAML node of the string at `path`, None if a merge key brings it from elsewhere."""
    node: Any = roots[int(path[0])]
    for step in path[1:]:
        if isinstance(node, yaml.SequenceNode):
            node = node.value[int(step)]
        else:
            node = next((value for key, value in node.value if key.value == str(step)), None)
        if node is None:
            return None
    return node if isinstance(node, yaml.ScalarNode) else None


def _replace_in_values(documents: list[Any], todo: Iterable[ImagePlace], new: Mapping[str, str]) -> list[Any]:
    """The values that the edited text must parse to. Changes `documents`."""
    by_path: dict[Path, dict[str, str]] = {}
    for place in todo:
        by_path.setdefault(place.path, {})[place.text] = new[place.text]
    for path, pairs in by_path.items():
        holder: Any = documents
        for step in path[:-1]:
            holder = holder[step]
        # An anchor's string may have been seen to already; what was put in does not change again.
        holder[path[-1]] = replace_references(holder[path[-1]], pairs)
    return documents


def _make_refusal(where: str, reference: str) -> UsageError:
    message = f"{reference} cannot be replaced where it stands"
    return UsageError(f"{where}: {message}", faults=[Fault(where, 0, message)])
