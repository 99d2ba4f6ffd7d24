"""What `up` would do to an existing environment, step by step: values, and the lines that describe them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bootstrap.core.model import Failed
from bootstrap.core.text import format_count

SHOWN = 3
"""How many names and fields are listed of a group of objects; of objects that are deleted or stay, all are."""


@dataclass(frozen=True)
class Change:
    """One object. verb: "create", "change", "migrate", "delete" or "keep". what: "Deployment git/git".

    fields: paths that change ("spec.replicas"), or why it stays. Never a value: the object may be a Secret.
    """

    verb: str
    what: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What one step would do.

    versions: "Pipelines v1.8.0 -> v1.9.0". there: whether anything of the step is in the cluster.

    refusals: why none of it may be done. unknown: why objects could not be compared, "" if they were.
    """

    step: str
    changes: tuple[Change, ...] = ()
    versions: tuple[str, ...] = ()
    refusals: tuple[Failed, ...] = ()
    there: bool = False
    unknown: str = ""

    @property
    def does(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.versions or any(change.verb != "keep" for change in self.changes))


def describe_versions(found: Mapping[str, str], wanted: Mapping[str, str]) -> tuple[str, ...]:
    """ "Pipelines v1.8.0 -> v1.9.0" for each component that is installed in another version than the wanted one."""
    return tuple(
        f"{name} {found[name]} -> {version}"
        for name, version in wanted.items()
        if found.get(name, version) not in ("", version)
    )


def make_rows(plans: Iterable[Plan]) -> list[list[str]]:
    """Step, verb and objects: one row for each verb and set of fields. Steps that do nothing are left out.

    At the end stand the steps whose objects could not be compared, in one row for each cause.
    """
    told: list[list[str]] = []
    unknown: dict[str, list[str]] = {}
    for plan in plans:
        for index, (verb, text) in enumerate(_describe_plan(plan)):
            told.append([plan.step if index == 0 else "", verb, text])
        if plan.unknown:
            unknown.setdefault(plan.unknown, []).append(plan.step)
    return told + [["", "unknown", f"{', '.join(steps)}: {why}"] for why, steps in unknown.items()]


def _describe_plan(plan: Plan) -> Iterator[tuple[str, str]]:
    """(verb, text) of each row of a step."""
    yield from (("version", each) for each in plan.versions)
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for change in plan.changes:
        groups.setdefault((change.verb, change.fields), []).append(change.what)
    for (verb, fields), names in groups.items():
        text = ", ".join(names) if verb in ("delete", "keep", "migrate") else _join_few(names)
        yield verb, f"{text}: {_join_few(fields)}" if fields else text
    yield from (("refused", each.why) for each in plan.refusals)


def _join_few(texts: Sequence[str]) -> str:
    """The first SHOWN texts, and how many more there are."""
    left = len(texts) - SHOWN
    return ", ".join(texts) if left <= 1 else ", ".join(texts[:SHOWN]) + f" and {format_count(left, 'more', 'more')}"
