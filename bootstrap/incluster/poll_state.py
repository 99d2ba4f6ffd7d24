"""What a poll finds and what it starts: refs and the state before go in, commits and the state after come out. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bootstrap.incluster.branch_patterns import expression

HEADS = "refs/heads/"
FILLED = ("REPO", "REVISION", "BRANCH")
"""Parameters of a run that a poll fills in, as far as the run has them."""
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class State:
    """What is known of a repository.

    branches: name -> the commit that was last started or remembered. why: of the last failure, "" if it went well.
    not_before: seconds since the epoch; the server wants no question sooner. seen: it was read at least once.
    """

    branches: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    not_before: float = 0.0
    seen: bool = False


def key_of(url: str) -> str:
    """The repository's key in the ConfigMap: keys may not hold an address."""
    return hashlib.sha256(url.encode()).hexdigest()[:24]


def load(text: str | None) -> tuple[State, str]:
    """The state, and what is wrong with it ("" if nothing). What cannot be read counts as never seen."""
    if not text:
        return State(), ""
    try:
        found = json.loads(text)
        branches = {str(name): str(commit) for name, commit in found["branches"].items()}
        state = State(branches, str(found.get("why", "")), float(found.get("notBefore", 0)), bool(found["seen"]))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return State(), "its state could not be read, and is begun anew"
    broken = [name for name, commit in branches.items() if not _COMMIT.fullmatch(commit)]
    if broken:
        kept = {name: commit for name, commit in branches.items() if name not in broken}
        return State(kept, state.why, state.not_before, state.seen), f"its state of {broken[0]} was no commit"
    return state, ""


def dump(url: str, state: State) -> str:
    document: dict[str, Any] = {"url": url, "branches": dict(state.branches), "seen": state.seen, "why": state.why}
    return json.dumps(document | ({"notBefore": state.not_before} if state.not_before else {}), sort_keys=True)


def heads(listing: str) -> dict[str, str]:
    """Branch -> commit, from the output of `git ls-remote`: lines of commit, tab, ref. Tags are passed over."""
    pairs = (line.split("\t", 1) for line in listing.splitlines() if "\t" in line)
    return {
        ref.removeprefix(HEADS): commit
        for commit, ref in pairs
        if ref.startswith(HEADS) and _COMMIT.fullmatch(commit) and not ref.endswith("^{}")
    }


def watched(found: Mapping[str, str], patterns: Sequence[str]) -> dict[str, str]:
    """Those of the branches that a name or pattern is for."""
    wanted = re.compile(expression(patterns))
    return {name: commit for name, commit in found.items() if wanted.fullmatch(name)}


def absent(found: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Names that no branch has. A pattern may match nothing."""
    there = set(found)
    return [each for each in patterns if "*" not in each and each not in there]


def changed(state: State, found: Mapping[str, str], first: str) -> dict[str, str]:
    """The branches to start a run for. first: "run" or "remember", for a repository that was never seen.

    Inequality counts, so a branch that was set back starts one as well. A new branch of a known repository does.
    """
    if not state.seen and first != "run":
        return {}
    return {name: commit for name, commit in found.items() if state.branches.get(name) != commit}


def after(state: State, found: Mapping[str, str], patterns: Sequence[str], unmade: Iterable[str], why: str) -> State:
    """The state once all but the branches `unmade` have their runs.

    A branch that is gone is kept in mind where it is named, or where no branch is left at all, as with a server that is
    being restored. One that a pattern was for is forgotten: short-lived branches would fill the state for ever.
    """
    skipped = set(unmade)
    before = {name: commit for name, commit in state.branches.items() if name in found or name in patterns or not found}
    moved = {name: commit for name, commit in found.items() if name not in skipped}
    return State({**before, **moved}, why, 0.0, True)
