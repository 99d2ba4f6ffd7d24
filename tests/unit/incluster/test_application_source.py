"""Where the central repository is, what is its own, and how it is told how far it is applied."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bootstrap.incluster.application_source import APPLIED, REFUSED, UNFINISHED, Source, SourceState, find_file

SOURCE = Source("https://git.example.com/platform.git", "main", "apps")
STATE = SourceState(SOURCE.mark, APPLIED, "a" * 40, "a" * 40, "2027-01-15T08:00:00Z", 2)


def test_a_name_is_a_repository_on_the_own_server() -> None:
    assert Source.make("", "main", "apps", 30) is None
    made = Source.make("platform", "main", "./apps/", 60)
    assert made == Source("http://git.git.svc.cluster.local/platform.git", "main", "apps", 60)
    assert made.is_hosted
    assert not SOURCE.is_hosted
    assert Source.make(SOURCE.url, "main", "", 30) == replace(SOURCE, path="")


@pytest.mark.parametrize(
    ("label", "mark", "declares"),
    [
        ("repository", SOURCE.mark, True),
        ("repository", replace(SOURCE, path="other").mark, False),
        ("repository", replace(SOURCE, branch="next").mark, False),
        ("other", SOURCE.mark, False),
        (None, SOURCE.mark, False),
        ("repository", None, False),
    ],
)
def test_only_what_it_declared_itself_is_its_own(label: str | None, mark: str | None, declares: bool) -> None:
    labels = {"tekton-bootstrap.dev/source": label} if label else None
    annotations = {"tekton-bootstrap.dev/declared-by": mark, "tekton-bootstrap.dev/declared-in": "apps/a.yaml"}
    obj: dict[str, Any] = {"metadata": {"labels": labels, "annotations": annotations}}
    assert SOURCE.declares(obj) == declares
    assert find_file(obj) == "apps/a.yaml"
    assert find_file({}) == ""


@pytest.mark.parametrize("state", [STATE, SourceState(), replace(STATE, state=REFUSED, faults=("a: x", "b:1: y"))])
def test_what_is_written_is_read_again(state: SourceState) -> None:
    assert SourceState.read(state.to_data()) == state


@pytest.mark.parametrize("data", [None, {}, {"applications": "many", "faults": "\n\n", "other": "x"}])
def test_rubbish_is_read_as_nothing(data: Any) -> None:
    assert SourceState.read(data) == SourceState()


def test_one_sentence_says_how_it_stands() -> None:
    assert STATE.describe() == "aaaaaaa is applied: 2 applications"
    assert replace(STATE, count=1).describe() == "aaaaaaa is applied: 1 application"
    assert SourceState().describe() == "not looked at yet"
    refused = replace(STATE, state=REFUSED, commit="b" * 40, faults=("apps/a.yaml:3: x", "apps/b.yaml: y"))
    assert refused.describe() == ("bbbbbbb changes nothing: apps/a.yaml:3: x (and 1 more); aaaaaaa stays applied")
    late = SourceState(SOURCE.mark, UNFINISHED, why="there is no branch main")
    assert late.describe() == "there is no branch main; nothing is applied yet"
    assert [each.is_well for each in (STATE, SourceState(), refused, late)] == [True, True, False, False]
