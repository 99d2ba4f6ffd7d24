"""The load that the poller is measured with: many repositories."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from bootstrap import names
from bootstrap.agents import poll as agent
from bootstrap.agents.api import Api
from bootstrap.errors import PreconditionError
from bootstrap.model import Object, Pending, Ready, Verdict
from bootstrap.steps.registry import free_port
from bootstrap.wait import until
from bootstrap.world import World, reach
from bootstrap.world.shell import running

REPOSITORIES = 200
HISTORY = {"poll_s": 1, "deep_s": 500}
"""What is measured -> commits of each repository."""
START_LIMIT = 30.0


def poll(world: World, program: Path, folder: Path) -> dict[str, float]:
    """Seconds of one poll of 200 repositories on a server of this machine, and of one of repositories with history.

    program: the environment's git server. The API is a dictionary: what is measured is asking, comparing, composing.
    """
    return {what: _poll(world, program, folder / what, commits) for what, commits in HISTORY.items()}


def _poll(world: World, program: Path, folder: Path, commits: int) -> float:
    root, login, home = folder / "data", folder / "login", folder / "home"
    for each in (root, login, home):
        each.mkdir(parents=True)
    (login / "username").write_text("bench")
    (login / "password").write_text(secrets.token_urlsafe())
    first = root / "r0.git"
    _fill(world, first, commits)
    for number in range(1, REPOSITORIES):
        shutil.copytree(first, root / f"r{number}.git")
    with _served(world, program, root, login) as address:
        environ = agent.git_environ({"CREDENTIALS": str(login)}, {"credentialsFor": address}, home)
        urls = [f"{address}/r{number}.git" for number in range(REPOSITORIES)]
        run: Object = {"metadata": {}, "spec": {"params": []}}
        memory = Memory()
        poller = agent.Poller(cast(Api, memory), names.RUNS, agent.Git(environ).refs, world.clock.now, lambda _: None)
        start = world.clock.now()
        code = poller.poll(agent.Settings(urls, ["main"], "run", run))
        seconds = world.clock.now() - start
        if code or memory.created != REPOSITORIES:
            raise PreconditionError(f"the poll made {memory.created} runs of {REPOSITORIES}")
        return round(seconds, 2)


class Memory:
    """As much of the API as a poll asks for."""

    def __init__(self) -> None:
        self.created = 0
        self._lock = threading.Lock()

    def request(self, method: str, *_: Any) -> Object:
        with self._lock:
            self.created += method == "POST"
        return {}


def _fill(world: World, repository: Path, commits: int) -> None:
    """A bare repository whose main has so many commits."""
    world.shell.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(repository)])
    who = "committer bench <bench@localhost> 1700000000 +0000"
    stream = "".join(f"commit refs/heads/main\n{who}\ndata 2\n{n % 10}\n\n" for n in range(commits))
    world.shell.run(["git", "fast-import", "--quiet"], cwd=repository, stdin=stream)


@contextlib.contextmanager
def _served(world: World, program: Path, root: Path, login: Path) -> Iterator[str]:
    port = free_port()
    environ = {"PORT": str(port), "GIT_PROJECT_ROOT": str(root), "CREDENTIALS_DIR": str(login), "WEBHOOK_URL": ""}

    def listens() -> Verdict:
        return Ready() if reach.ask(f"http://127.0.0.1:{port}/healthz", 1) == 200 else Pending("starting")

    with running(world.shell, [str(program)], env=environ, on_line=lambda _: None):
        until(listens, clock=world.clock, limit=START_LIMIT, what="the git server", every=0.1)
        yield f"http://127.0.0.1:{port}"
