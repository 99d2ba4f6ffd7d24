"""The adapter for Debian's package manager: installs packages without letting their services start."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bootstrap.core.errors import CommandError, PreconditionError
from bootstrap.world.shell import Shell

POLICY = Path("/usr/sbin/policy-rc.d")
REFUSAL = "#!/bin/sh\n# Written by tekton-bootstrap while it installs packages; removed right after.\nexit 101\n"
LIMIT = 900.0
"""Seconds for one apt-get call; includes 2 minutes of waiting for another one to end."""


def install_packages(shell: Shell, packages: Sequence[str], on_cause: Callable[[str], None]) -> None:
    """Install `packages` with apt-get, and never remove one. on_cause: hears what is being done.

    Raises PreconditionError (no apt-get), CommandError with apt-get's last lines, TimedOut after LIMIT seconds.
    """
    with keep_services_off(POLICY):
        try:
            _install(shell, packages)
        except CommandError:  # no package lists yet, stale ones, or an earlier call was killed half-way
            shell.run(["dpkg", "--configure", "-a"], check=False, limit=LIMIT)
            on_cause("reading the distribution's package lists")
            _apt(shell, "update")
            on_cause(f"installing {', '.join(packages)}")
            _install(shell, packages)


def _install(shell: Shell, packages: Sequence[str]) -> None:
    _apt(shell, "install", "--yes", "--no-install-recommends", "--no-remove", *packages)


def _apt(shell: Shell, *words: str) -> None:
    if not shell.which("apt-get"):
        raise PreconditionError("apt-get was not found", hint="install Docker by hand, then: invoke up")
    shell.run(
        ["apt-get", *words, "--quiet", "--option=DPkg::Lock::Timeout=120"],
        env={"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"},
        limit=LIMIT,
    )


@contextlib.contextmanager
def keep_services_off(policy: Path) -> Iterator[None]:
    """While inside, packages neither start nor restart services (policy-rc.d of Debian's invoke-rc.d).

    A policy that is there already comes back afterwards. One at a time on this machine: another waits until the first
    has ended, for both write the same file. Safe after a kill: what an earlier call left aside is put back by the next.
    """
    with policy.with_name(f"{policy.name}.tekton-bootstrap-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the process, however that ends
        with _write_policy(policy):
            yield


@contextlib.contextmanager
def _write_policy(policy: Path) -> Iterator[None]:
    aside = policy.with_name(policy.name + ".tekton-bootstrap")
    ours = policy.exists() and policy.read_text() == REFUSAL
    if policy.exists() and not ours:
        policy.rename(aside)
    policy.write_text(REFUSAL)
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()
        if aside.exists():
            aside.rename(policy)
