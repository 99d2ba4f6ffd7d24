"""Every failure a user can cause or meet, and the exit code each one ends with.

    BootstrapError              1    the base; anything without a class of its own
    |-- UsageError              2    settings, flags or files that are wrong
    |-- PreconditionError       3    the machine or a service lacks what is needed
    |   `-- NotFound            3    what was named does not exist
    |-- LockedError             4    another command is changing this environment
    |-- CommandError            1    a program that we ran failed
    |-- ApiError                1    the Kubernetes API refused or did not answer
    |-- StepError               1    a step of `up` failed
    |-- RunFailed               1    a PipelineRun failed, or served the wrong version
    |-- TimedOut              124    a wait reached its limit
    `-- Interrupted           130    Ctrl-C or SIGTERM

Foreign exceptions (sh, kubernetes, OSError...) are turned into these in `bootstrap.world`;
the packages above it expect no other exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class BootstrapError(Exception):
    """A failure with its cause, its last evidence and what to type next.

    message: one sentence, no trailing full stop.  hint: the next command to type, or "".
    evidence: the tail of what the failing part said (stderr, event, log), or "".
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", evidence: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.evidence = evidence


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a file, the environment or a flag.

    where: "invoke.yaml", "kind-config.yaml", "INVOKE_GIT_PORT", "--set git.port"; line: 1-based, 0 if none.
    """

    where: str
    line: int
    text: str


class UsageError(BootstrapError):
    """Bad input. Holds every fault found, not only the first."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "", faults: Sequence[Fault] = ()) -> None:
        super().__init__(message, hint=hint)
        self.faults = tuple(faults)


class PreconditionError(BootstrapError):
    """The machine lacks something; `hint` says how to get it."""

    exit_code = 3


class NotFound(PreconditionError):
    """What the user named does not exist; `hint` lists what does."""


class LockedError(BootstrapError):
    """Another process holds the lock of this environment or of the cache."""

    exit_code = 4


class CommandError(BootstrapError):
    """A program ended with a non-zero code. `evidence` is the tail of its stderr."""

    def __init__(self, message: str, *, code: int, hint: str = "", evidence: str = "") -> None:
        super().__init__(message, hint=hint, evidence=evidence)
        self.code = code


class ApiError(BootstrapError):
    """The Kubernetes API answered with an error, or not at all (status 0)."""

    def __init__(self, message: str, *, status: int, reason: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason


class StepError(BootstrapError):
    """A step's check answered Failed, or its apply did."""


class RunFailed(BootstrapError):
    """A PipelineRun failed, or what it deployed does not serve the commit."""


class TimedOut(BootstrapError):
    """A wait reached its limit. `evidence` is the last cause it saw."""

    exit_code = 124


class Interrupted(BootstrapError):
    """The user stopped the command."""

    exit_code = 130
