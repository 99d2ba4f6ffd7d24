"""What Docker prints, as far as anything is read out of it. Nobody else matches texts of Docker's.

Read from Docker 20.10.24, that of Debian 12 (moby: client/errors.go, daemon/names.go, builder/dockerfile/builder.go;
cli: command/inspect/inspector.go), and the same in later ones. No interface of Docker's keeps these phrases stable, but
its client has no other way to tell one failure from another: its exit code is 1 for all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

UNREACHABLE = re.compile(
    r"^(?:docker: |error: )?(?:cannot connect to the docker daemon|error during connect|dial (?:tcp|unix) )",
    re.IGNORECASE | re.MULTILINE,
)
"""No daemon, one that cannot be reached, and one that a proxy or a tunnel does not lead to. As a line begins: what a
program in a container says, by way of `exec` or `build`, may speak of another connection that was refused."""

ABSENT = ("no such", "not found")
"""In lower case. "Error: No such object: x" (client), "network x not found" (daemon)."""

NAME_IN_USE = "is already in use by container"
"""Of `create`: 'The container name "/x" is already in use by container "ID".'"""

PROGRESS = ("Step ", "#")
"""How lines begin that say what a build does: "Step 3/9 : RUN make" (classic builder), "#5 [2/4] RUN make" (BuildKit).
"""
PROGRESS_WIDTH = 40


def is_unreachable(stderr: str) -> bool:
    """Whether the client failed because no engine answers."""
    return bool(UNREACHABLE.search(stderr))


def is_absent(stderr: str) -> bool:
    """Whether the client failed because what was named is not there."""
    return _mentions(stderr, ABSENT)


def is_name_in_use(stderr: str) -> bool:
    """Whether a container was not made because one of that name is there, or is being made."""
    return NAME_IN_USE in stderr


def read_build_progress(line: str) -> str:
    """What a build does now: "Step 3/9 : RUN make" -> "step 3/9"; "" for a line that says nothing of it."""
    return line.split(" : ")[0].lower()[:PROGRESS_WIDTH] if line.startswith(PROGRESS) else ""


def _mentions(text: str, phrases: Sequence[str]) -> bool:
    lower = text.lower()
    return any(phrase in lower for phrase in phrases)
