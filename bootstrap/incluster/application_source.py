"""The central repository: where it is, the marks on Applications that it declares, and how far it is applied. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bootstrap.incluster.applications import GROUP, OWN_SERVER

SOURCE, FROM_REPOSITORY = f"{GROUP}/source", "repository"
"""The label of Applications that a repository declares, and its value."""
DECLARED_BY, DECLARED_IN = f"{GROUP}/declared-by", f"{GROUP}/declared-in"
"""Annotations: which repository, branch and folder it was; in which file."""
STATE = "apps-repository"
"""The ConfigMap that says how far the repository is applied. The manager alone writes it."""
APPLIED, REFUSED, UNFINISHED = "Applied", "Refused", "Unfinished"
SHOWN_FAULTS = 20
"""Faults that the ConfigMap lists."""


@dataclass(frozen=True)
class Source:
    """Where the Applications are declared.

    path: a folder of the repository, "" for all of it. seconds: between two looks.
    """

    url: str
    branch: str
    path: str
    seconds: int = 30

    @staticmethod
    def make(repository: str, branch: str, path: str, seconds: int) -> Source | None:
        """From the settings `apps.*`; None if there is no repository. A bare name is one on the own git server."""
        if not repository:
            return None
        url = repository if "://" in repository else f"{OWN_SERVER}/{repository}.git"
        parts = [each for each in path.split("/") if each not in ("", ".")]
        return Source(url, branch, "/".join(parts), seconds)

    @property
    def is_hosted(self) -> bool:
        """Whether it is on the environment's own git server."""
        return self.url.startswith(f"{OWN_SERVER}/")

    @property
    def mark(self) -> str:
        """The value of the annotation DECLARED_BY."""
        return f"{self.url} {self.branch} {self.path or '.'}"

    def declares(self, obj: Mapping[str, Any]) -> bool:
        """Whether an Application came from here."""
        metadata = obj.get("metadata") or {}
        return is_from_repository(obj) and (metadata.get("annotations") or {}).get(DECLARED_BY) == self.mark


def is_from_repository(obj: Mapping[str, Any]) -> bool:
    """Whether some repository declares an Application: this one, or that of an earlier setting."""
    metadata = obj.get("metadata") or {}
    return bool((metadata.get("labels") or {}).get(SOURCE) == FROM_REPOSITORY)


def find_file(obj: Mapping[str, Any]) -> str:
    """The file that declares an Application, "" if it does not say."""
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    return str(annotations.get(DECLARED_IN) or "")


@dataclass(frozen=True)
class SourceState:
    """How far a repository is applied.

    mark: which it is, see `Source.mark`. state: APPLIED; REFUSED, if the commit is at fault; UNFINISHED, if a look
    did not come to its end; "" before the first. commit: that
    was looked at last. applied, at: the commit that is applied, and since when (RFC 3339), "" for none. count: of its
    Applications. faults: "FILE:LINE: what is wrong". why: what kept the last look from its end, "" if nothing.
    """

    mark: str = ""
    state: str = ""
    commit: str = ""
    applied: str = ""
    at: str = ""
    count: int = 0
    faults: tuple[str, ...] = ()
    why: str = ""

    @staticmethod
    def read(data: Mapping[str, Any] | None) -> SourceState:
        """From the `data` of the ConfigMap, whatever is in it."""
        found = {key: str(value) for key, value in (data or {}).items()}
        count = found.get("applications", "")
        return SourceState(
            found.get("repository", ""),
            found.get("state", ""),
            found.get("commit", ""),
            found.get("applied", ""),
            found.get("appliedAt", ""),
            int(count) if re.fullmatch("[0-9]{1,9}", count) else 0,
            tuple(each for each in found.get("faults", "").splitlines() if each),
            found.get("why", ""),
        )

    def to_data(self) -> dict[str, str]:
        """The `data` of the ConfigMap."""
        return {
            "repository": self.mark,
            "state": self.state,
            "commit": self.commit,
            "applied": self.applied,
            "appliedAt": self.at,
            "applications": str(self.count) if self.applied else "",
            "faults": "\n".join(self.faults),
            "why": self.why,
        }

    @property
    def is_well(self) -> bool:
        """Whether the newest commit is applied, or nothing was looked at yet."""
        return self.state in (APPLIED, "")

    def describe(self) -> str:
        """One sentence on how it stands."""
        if self.state == APPLIED:
            return f"{self.applied[:7]} is applied: {self.count} application{'' if self.count == 1 else 's'}"
        if not self.state:
            return "not looked at yet"
        stays = f"; {self.applied[:7]} stays applied" if self.applied else "; nothing is applied yet"
        if self.state == REFUSED:
            more = f" (and {len(self.faults) - 1} more)" if len(self.faults) > 1 else ""
            return f"{self.commit[:7]} changes nothing: {self.faults[0] if self.faults else self.why}{more}{stays}"
        return f"{self.why}{stays}"
