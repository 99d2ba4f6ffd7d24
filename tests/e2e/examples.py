"""Deliveries that GitHub really sent, as a package of the npm registry has them; they are fetched, not kept here."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import npm
from tests.e2e.events import Event, signature

PACKAGE = "@octokit/webhooks-examples@7.6.1"
SHA512 = "De6U3XB6O3DtCa7bKgCMzTHdeopqqZ6SNivMYJnK65ierKL1AnNIA0tkRYCRS7lwGT792d+Ps1WbfHlso6MynQ=="
OWNERS = "https://github.com/Codertocat/Hello-World.git"
"""Whose repository most of them are of."""


@dataclass(frozen=True)
class Example:
    """name: of the event. body: as it was sent."""

    name: str
    body: dict[str, Any]

    @property
    def commit(self) -> str:
        """What it brings to the branch that it names, "" if nothing: read on its own, not as the listener does."""
        if self.name == "push" and not self.body["deleted"] and self.body["ref"].startswith("refs/heads/"):
            return str(self.body["after"])
        if self.name == "pull_request" and self.body["action"] == "closed" and self.body["pull_request"]["merged"]:
            return str(self.body["pull_request"]["merge_commit_sha"])
        return ""

    def moved(self, url: str, branch: str) -> Example:
        """As if it were of another repository, whose main branch is called so."""
        text = json.dumps(self.body).replace(OWNERS, url).replace("refs/heads/master", f"refs/heads/{branch}")
        return Example(self.name, json.loads(text))

    def merged(self) -> Example:
        """With its pull request merged into main, if it has one."""
        if self.name != "pull_request":
            return self
        request = self.body["pull_request"]
        request = request | {"merged": True, "merge_commit_sha": "c" * 40, "base": request["base"] | {"ref": "main"}}
        return Example(self.name, self.body | {"pull_request": request})

    def signed(self, secret: str) -> Event:
        body = json.dumps(self.body).encode()
        headers = {"Content-Type": "application/json", "X-GitHub-Event": self.name}
        return Event(self.name, self.commit, "", headers | {"X-Hub-Signature-256": signature(body, secret)}, body)


def examples(folder: Path) -> list[Example]:
    """All of them. Raises npm.Missing."""
    return [*_read(npm.fetch(PACKAGE, SHA512, folder))]


def _read(file: Path) -> Iterator[Example]:
    with tarfile.open(file) as archive:
        found = archive.extractfile("package/api.github.com/index.json")
        assert found is not None
        for each in json.load(found):
            yield from (Example(each["name"], body) for body in each["examples"])
