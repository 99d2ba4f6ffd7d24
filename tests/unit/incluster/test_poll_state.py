"""What a poll finds and starts."""

from __future__ import annotations

import json

import pytest

from bootstrap.incluster import poll_state
from bootstrap.incluster.poll_state import RepositoryState

A, B, LONG = "a" * 40, "b" * 40, "c" * 64
SEEN = RepositoryState({"main": A}, seen=True)


def test_heads_are_read_from_what_git_lists() -> None:
    listing = "\n".join(
        [
            f"{A}\trefs/heads/main",
            f"{B}\trefs/heads/release/1.0",
            f"{LONG}\trefs/heads/sha-256",
            f"{A}\trefs/tags/v1",
            f"{B}\trefs/tags/v1^{{}}",
            f"{A}\tHEAD",
            "1234\trefs/heads/short",
            "warning: redirecting to elsewhere",
            "",
        ]
    )
    assert poll_state.parse_heads(listing) == {"main": A, "release/1.0": B, "sha-256": LONG}
    assert poll_state.parse_heads("") == {}


def test_a_star_does_not_cross_a_slash() -> None:
    found = dict.fromkeys(("main", "main-2", "feature/main", "release/1", "release/1/x", "release/"), A)
    assert set(poll_state.select_watched(found, ["main", "release/*"])) == {"main", "release/1", "release/"}
    assert poll_state.find_missing(found, ["main", "gone", "none/*"]) == ["gone"]


@pytest.mark.parametrize(
    ("state", "found", "first", "started"),
    [
        (RepositoryState(), {"main": A}, "remember", {}),
        (RepositoryState(), {"main": A}, "run", {"main": A}),
        (SEEN, {"main": A}, "run", {}),
        (SEEN, {"main": B}, "remember", {"main": B}),
        (SEEN, {"main": A, "new/one": B}, "remember", {"new/one": B}),
        (SEEN, {}, "run", {}),
        (RepositoryState(seen=True), {"main": A}, "remember", {"main": A}),  # it was empty
    ],
)
def test_what_is_started(state: RepositoryState, found: dict[str, str], first: str, started: dict[str, str]) -> None:
    assert poll_state.find_changed(state, found, first) == started


def test_what_was_not_made_is_made_the_next_time() -> None:
    state = poll_state.advance_state(SEEN, {"main": B, "next": B}, ["main"], ["main"], "no run for main")
    assert state == RepositoryState({"main": A, "next": B}, "no run for main", 0.0, True)
    assert poll_state.find_changed(state, {"main": B, "next": B}, "remember") == {"main": B}


def test_a_branch_that_is_gone_and_comes_back_unchanged_starts_nothing() -> None:
    gone = poll_state.advance_state(SEEN, {}, ["main"], [], "there is no branch main")
    assert poll_state.find_changed(gone, {"main": A}, "remember") == {}


@pytest.mark.parametrize(
    ("found", "patterns", "kept"),
    [
        ({"main": A}, ["main", "x/*"], {"main": A}),  # short-lived branches do not fill the state
        ({"x/1": B}, ["main", "x/*"], {"main": A, "x/1": B}),  # a named one is awaited
        ({}, ["main", "x/*"], {"main": A, "x/1": B}),  # nothing at all is more likely a fault
        ({"main": B}, ["*"], {"main": B}),
    ],
)
def test_which_branches_that_are_gone_are_kept_in_mind(
    found: dict[str, str], patterns: list[str], kept: dict[str, str]
) -> None:
    before = RepositoryState({"main": A, "x/1": B}, seen=True)
    assert poll_state.advance_state(before, found, patterns, [], "").branches == kept


def test_a_state_is_read_as_it_was_written() -> None:
    state = RepositoryState({"main": A, "x/y": LONG}, "no answer", 17.0, True)
    assert poll_state.load_state(poll_state.dump_state("https://example.org/x", state)) == (state, "")
    assert poll_state.load_state(None) == (RepositoryState(), "")


@pytest.mark.parametrize(
    "text",
    [
        "rubbish",
        "[]",
        "{}",
        '{"branches": [], "seen": true}',
        '{"branches": {}',
        "7",
        "[" * 100_000,
        '{"branches": {}, "seen": true, "notBefore": 1' + "0" * 400 + "}",
    ],
    ids=lambda text: str(text)[:40],
)
def test_rubbish_counts_as_never_seen(text: str) -> None:
    state, told = poll_state.load_state(text)
    assert state == RepositoryState()
    assert "could not be read" in told


def test_a_commit_that_is_none_is_forgotten() -> None:
    state, told = poll_state.load_state(json.dumps({"branches": {"main": "$(id)", "next": B}, "seen": True}))
    assert state.branches == {"next": B}
    assert "main" in told


def test_six_thousand_branches_fit_into_a_config_map() -> None:
    branches = {f"feature/some-longer-name-{number:05}": LONG for number in range(6000)}
    assert (
        len(poll_state.dump_state("https://example.org/" + "x" * 200, RepositoryState(branches, seen=True))) < 1_000_000
    )
