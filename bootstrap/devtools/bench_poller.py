"""The load that the poller is measured with: many repositories."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from bootstrap.core import constants
from bootstrap.core.errors import PreconditionError
from bootstrap.core.model import Object, Pending, Ready, Verdict
from bootstrap.core.wait import until
from bootstrap.incluster import poll as agent
from bootstrap.incluster.kube_api import Api
from bootstrap.steps.registry import find_free_port
from bootstrap.world import World, probe
from bootstrap.world.shell import run_in_background

REPOSITORIES = 200
HISTORY = {"poll_s": 1, "deep_s": 500}
"""What is measured -> commits of each repository."""
START_LIMIT = 30.0
POLL_LIMIT = 300.0


def measure_poll(world: World, program: Path, folder: Path) -> dict[str, float]:
    """Seconds of one poll of 200 repositories on a server of this machine, and of one of repositories with history;
    and the most memory (MB) that the poller and its git had in use at once in either.

    program: the environment's git server. The API is a dictionary: what is measured is asking, comparing, composing.
    """
    found = {what: _measure_poll(world, program, folder / what, commits) for what, commits in HISTORY.items()}
    seconds = {what: seconds for what, (seconds, _) in found.items()}
    return {**seconds, "memory_mb": max(memory for _, memory in found.values())}


def _measure_poll(world: World, program: Path, folder: Path, commits: int) -> tuple[float, float]:
    """Seconds, MB."""
    root, login, home = folder / "data", folder / "login", folder / "home"
    for each in (root, login, home):
        each.mkdir(parents=True)
    (login / "username").write_text("bench")
    (login / "password").write_text(secrets.token_urlsafe())
    first = root / "r0.git"
    _fill_repository(world, first, commits)
    for number in range(1, REPOSITORIES):
        shutil.copytree(first, root / f"r{number}.git")
    said: list[str] = []
    most = 0
    with _run_git_server(world, program, root, login) as address:
        given = {"ADDRESS": address, "CREDENTIALS": str(login), "POLLERS_HOME": str(home)}
        argv = [sys.executable, "-m", "bootstrap.devtools.bench_poller"]
        with run_in_background(world.shell, argv, env=given, cwd=world.project, on_line=said.append) as process:

            def over() -> Verdict:
                nonlocal most
                most = max(most, measure_memory(process.pid))
                return Pending("polling") if process.is_alive() else Ready()

            until(over, clock=world.clock, limit=POLL_LIMIT, what="the poll", every=0.02)
    try:
        told = json.loads(said[-1])
        if told["created"] == REPOSITORIES:
            return float(told["seconds"]), round(most / 1e6, 1)
    except (IndexError, ValueError, KeyError, TypeError):
        pass
    raise PreconditionError(f"the poll did not make {REPOSITORIES} runs", hint="\n".join(said[-3:]))


def measure_memory(pid: int) -> int:
    """Bytes that a process and all below it have in use, what they share counted once (Linux, PSS)."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):  # it has ended
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(folder.name))
    found, todo = 0, [pid]
    while todo:
        each = todo.pop()
        todo += parents.get(each, [])
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            found += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return found


class FakeApi:
    """As much of the API as a poll asks for."""

    def __init__(self) -> None:
        self.created = 0
        self._lock = threading.Lock()

    def request(self, method: str, *_: Any) -> Object:
        with self._lock:
            self.created += method == "POST"
        return {}


def main(environ: Mapping[str, str]) -> int:
    """One poll, as a process of its own; prints {"seconds", "created"}."""
    address, memory = environ["ADDRESS"], FakeApi()
    git_environ = agent.make_git_environ(environ, {"credentialsFor": address}, Path(environ["POLLERS_HOME"]))
    urls = [f"{address}/r{number}.git" for number in range(REPOSITORIES)]
    run: Object = {"metadata": {}, "spec": {"params": []}}
    refs = agent.Git(git_environ).list_refs
    poller = agent.Poller(cast(Api, memory), constants.RUNS, refs, time.time, lambda _: None)
    start = time.monotonic()
    code = poller.poll(agent.PollOptions(urls, ["main"], "run", run))
    seconds = round(time.monotonic() - start, 2)
    sys.stdout.write(json.dumps({"seconds": seconds, "created": memory.created}) + "\n")
    return code


def _fill_repository(world: World, repository: Path, commits: int) -> None:
    """A bare repository whose main has so many commits."""
    world.shell.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(repository)])
    who = "committer bench <bench@localhost> 1700000000 +0000"
    stream = "".join(f"commit refs/heads/main\n{who}\ndata 2\n{n % 10}\n\n" for n in range(commits))
    world.shell.run(["git", "fast-import", "--quiet"], cwd=repository, stdin=stream)


@contextlib.contextmanager
def _run_git_server(world: World, program: Path, root: Path, login: Path) -> Iterator[str]:
    port = find_free_port()
    environ = {"PORT": str(port), "GIT_PROJECT_ROOT": str(root), "CREDENTIALS_DIR": str(login), "WEBHOOK_URL": ""}

    def listens() -> Verdict:
        return Ready() if probe.read_status(f"http://127.0.0.1:{port}/healthz", 1) == 200 else Pending("starting")

    with run_in_background(world.shell, [str(program)], env=environ, on_line=lambda _: None):
        until(listens, clock=world.clock, limit=START_LIMIT, what="the git server", every=0.1)
        yield f"http://127.0.0.1:{port}"


if __name__ == "__main__":
    sys.exit(main(os.environ))
