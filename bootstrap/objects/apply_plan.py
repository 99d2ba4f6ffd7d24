"""What `up` would do to an environment that is there, step by step: values, and the lines that tell them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bootstrap.core.model import Failed
from bootstrap.core.text import count

SHOWN = 3
"""Names and fields that are told of a group of objects; of what is deleted or stays, all are."""


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
    """Of one step. versions: "Pipelines v1.8.0 -> v1.9.0". there: whether anything of the step is in the cluster.

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


def versions(found: Mapping[str, str], wanted: Mapping[str, str]) -> tuple[str, ...]:
    """ "Pipelines v1.8.0 -> v1.9.0" for each that is there and is another than the wanted one."""
    return tuple(
        f"{name} {found[name]} -> {version}"
        for name, version in wanted.items()
        if found.get(name, version) not in ("", version)
    )


def rows(plans: Iterable[Plan]) -> list[list[str]]:
    """Step, verb, and what of it: one row for each verb and set of fields. Steps with nothing to tell are left out.

    Last those whose objects could not be compared, together where that has one cause.
    """
    told: list[list[str]] = []
    unknown: dict[str, list[str]] = {}
    for plan in plans:
        for index, (verb, text) in enumerate(_told(plan)):
            told.append([plan.step if index == 0 else "", verb, text])
        if plan.unknown:
            unknown.setdefault(plan.unknown, []).append(plan.step)
    return told + [["", "unknown", f"{', '.join(steps)}: {why}"] for why, steps in unknown.items()]


def _told(plan: Plan) -> Iterator[tuple[str, str]]:
    yield from (("version", each) for each in plan.versions)
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for change in plan.changes:
        groups.setdefault((change.verb, change.fields), []).append(change.what)
    for (verb, fields), names in groups.items():
        text = ", ".join(names) if verb in ("delete", "keep", "migrate") else _short(names)
        yield verb, f"{text}: {_short(fields)}" if fields else text
    yield from (("refused", each.why) for each in plan.refusals)


def _short(texts: Sequence[str]) -> str:
    left = len(texts) - SHOWN
    return ", ".join(texts) if left <= 1 else ", ".join(texts[:SHOWN]) + f" and {count(left, 'more', 'more')}"
