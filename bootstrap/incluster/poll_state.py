"""Which commits a poll starts runs for, and the state that it saves. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bootstrap.incluster.branch_patterns import build_branch_regex

HEADS = "refs/heads/"
QUIET = "refs/tekton-bootstrap/quiet/"
"""Where our git server notes, by branch, the commit of a push that is to start nothing (`git push -o no-webhook`)."""
FILLED = ("REPO", "REVISION", "BRANCH")
"""Parameters of a run that a poll fills in, as far as the run has them."""
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class RepositoryState:
    """What is known of a repository.

    branches: name -> the commit that was last started or remembered. why: of the last failure, "" if it went well.
    not_before: seconds since the epoch; the server wants no question sooner. seen: it was read at least once.
    """

    branches: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    not_before: float = 0.0
    seen: bool = False

    def note(self, commits: Mapping[str, str]) -> RepositoryState:
        """The same, with these branches at these commits."""
        return replace(self, branches={**self.branches, **commits})


def make_key(url: str) -> str:
    """The repository's key in the ConfigMap, a digest: keys may not hold an address."""
    return hashlib.sha256(url.encode()).hexdigest()[:24]


def load_state(text: str | None) -> tuple[RepositoryState, str]:
    """The state from a ConfigMap's value, and what is wrong with it ("" if nothing).

    An unreadable one counts as never seen.
    """
    if not text:
        return RepositoryState(), ""
    try:
        found = json.loads(text)
        branches = {str(name): str(commit) for name, commit in found["branches"].items()}
        state = RepositoryState(
            branches, str(found.get("why", "")), float(found.get("notBefore", 0)), bool(found["seen"])
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return RepositoryState(), "its state could not be read, and is begun anew"
    broken = [name for name, commit in branches.items() if not _COMMIT.fullmatch(commit)]
    if broken:
        kept = {name: commit for name, commit in branches.items() if name not in broken}
        return RepositoryState(kept, state.why, state.not_before, state.seen), f"its state of {broken[0]} was no commit"
    return state, ""


def dump_state(url: str, state: RepositoryState) -> str:
    """The ConfigMap's value for a state, as `load_state` reads it."""
    document: dict[str, Any] = {"url": url, "branches": dict(state.branches), "seen": state.seen, "why": state.why}
    return json.dumps(document | ({"notBefore": state.not_before} if state.not_before else {}), sort_keys=True)


def parse_heads(listing: str, prefix: str = HEADS) -> dict[str, str]:
    """Branch -> commit, from the output of `git ls-remote`: lines of commit, tab, ref.

    prefix: of the references, with a slash at its end; others are passed over.
    """
    pairs = (line.split("\t", 1) for line in listing.splitlines() if "\t" in line)
    return {
        ref.removeprefix(prefix): commit
        for commit, ref in pairs
        if ref.startswith(prefix) and _COMMIT.fullmatch(commit) and not ref.endswith("^{}")
    }


def select_watched(found: Mapping[str, str], patterns: Sequence[str]) -> dict[str, str]:
    """The branches (name -> commit) that match a name or a pattern."""
    wanted = re.compile(build_branch_regex(patterns))
    return {name: commit for name, commit in found.items() if wanted.fullmatch(name)}


def find_missing(found: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """The names among the patterns that no branch has. A pattern with `*` may match nothing."""
    there = set(found)
    return [each for each in patterns if "*" not in each and each not in there]


def find_changed(state: RepositoryState, found: Mapping[str, str], first: str) -> dict[str, str]:
    """The branches to start a run for. first: "run" or "remember", for a repository that was never seen.

    Inequality counts, so a branch that was set back starts one as well. A new branch of a known repository does.
    """
    if not state.seen and first != "run":
        return {}
    return {name: commit for name, commit in found.items() if state.branches.get(name) != commit}


def advance_state(
    state: RepositoryState, found: Mapping[str, str], patterns: Sequence[str], unmade: Iterable[str], why: str
) -> RepositoryState:
    """The state once all but the branches `unmade` have their runs.

    A deleted branch stays in the state if the settings name it, or if no branch is left at all, as with a server that
    is being restored. A branch that only a pattern matched is removed: short-lived branches would fill the state for
    ever.
    """
    skipped = set(unmade)
    before = {name: commit for name, commit in state.branches.items() if name in found or name in patterns or not found}
    moved = {name: commit for name, commit in found.items() if name not in skipped}
    return RepositoryState({**before, **moved}, why, 0.0, True)
