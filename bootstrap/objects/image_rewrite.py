"""Manifests of anybody, with other image references: found, replaced where they stand, and proved. Pure.

The text is edited, not written anew, so that comments, order and layout stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from bootstrap.core.errors import Fault, UsageError
from bootstrap.objects.image_refs import Place, places

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Path = tuple[str | int, ...]


def found(text: str, where: str) -> list[Place]:
    """The references of a file, its document's number first in each path. Raises UsageError for what is no YAML."""
    return [
        Place((index, *place.path), place.text, place.sure)
        for index, document in enumerate(_documents(text, where))
        for place in _in_document(document)
    ]


def rewrite(text: str, new: Mapping[str, str], where: str) -> str:
    """The text with every reference that `new` knows replaced, and nothing else changed.

    Raises UsageError where that cannot be done in place: a value that is folded in the middle of a reference, or one
    that comes from another place by a merge key.
    """
    todo = [place for place in found(text, where) if new.get(place.text, place.text) != place.text]
    roots = list(yaml.compose_all(text, Loader=_LOADER))
    spans: dict[tuple[int, int], dict[str, str]] = {}
    for place in todo:
        node = _node(roots, place.path)
        if node is None:
            raise _unfit(where, place.text)
        spans.setdefault((node.start_mark.index, node.end_mark.index), {})[place.text] = new[place.text]
    edited = text
    for (start, end), pairs in sorted(spans.items(), reverse=True):
        edited = edited[:start] + replaced(edited[start:end], pairs) + edited[end:]
    if _documents(edited, where) != _expected(_documents(text, where), todo, new):
        raise _unfit(where, todo[0].text if todo else "")
    return edited


def replaced(text: str, pairs: Mapping[str, str]) -> str:
    """Every reference that stands whole, all in one pass: what was put in is not looked at again."""
    either = "|".join(re.escape(old) for old in sorted(pairs, key=len, reverse=True))
    whole = re.compile(rf"(?<![\w./:@-])(?:{either})(?![\w/@-]|[.:]\w)")
    return whole.sub(lambda match: pairs[match[0]], text)


def _documents(text: str, where: str) -> list[Any]:
    try:
        return list(yaml.load_all(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise _fault(where, line, str(error.problem)) from None
    except (yaml.YAMLError, ValueError) as error:  # a character that YAML does not allow, a date that is none
        raise _fault(where, 0, str(error).splitlines()[0]) from None


def _in_document(document: Any) -> Iterable[Place]:
    """A List holds objects, of which each may be a CustomResourceDefinition."""
    items = document.get("items") if isinstance(document, Mapping) else None
    if not isinstance(items, list):
        yield from places(document)
        return
    for index, item in enumerate(items):
        yield from (Place(("items", index, *place.path), place.text, place.sure) for place in places(item))


def _node(roots: list[Any], path: Path) -> yaml.ScalarNode | None:
    """Of the string at `path`."""
    node: Any = roots[int(path[0])]
    for step in path[1:]:
        if isinstance(node, yaml.SequenceNode):
            node = node.value[int(step)]
        else:
            node = next((value for key, value in node.value if key.value == str(step)), None)
        if node is None:
            return None
    return node if isinstance(node, yaml.ScalarNode) else None


def _expected(documents: list[Any], todo: Iterable[Place], new: Mapping[str, str]) -> list[Any]:
    """What the edited text has to mean. `documents` are changed."""
    by_path: dict[Path, dict[str, str]] = {}
    for place in todo:
        by_path.setdefault(place.path, {})[place.text] = new[place.text]
    for path, pairs in by_path.items():
        holder: Any = documents
        for step in path[:-1]:
            holder = holder[step]
        # An anchor's string may have been seen to already; what was put in does not change again.
        holder[path[-1]] = replaced(holder[path[-1]], pairs)
    return documents


def _unfit(where: str, reference: str) -> UsageError:
    message = f"{reference} cannot be replaced where it stands"
    return UsageError(f"{where}: {message}", faults=[Fault(where, 0, message)])


def _fault(where: str, line: int, text: str) -> UsageError:
    return UsageError(f"{where}: 1 fault", faults=[Fault(where, line, text)])
