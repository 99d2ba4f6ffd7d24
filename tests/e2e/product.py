"""The command line as a user types it, on one environment of its own."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bootstrap.cli.dispatch import make_world
from bootstrap.core.paths import PROJECT, Paths
from bootstrap.settings import config as settings
from bootstrap.world import World
from bootstrap.world.terminal import TerminalReport

STOP_SECONDS = 30.0
EVIDENCE_SECONDS = 90.0
OWN = {
    "INVOKE_CLUSTER_CONFIG": "tests/e2e/two-nodes.yaml",
    "INVOKE_CLUSTER_API_PORT": "0",
    "INVOKE_REGISTRY_PORT": "0",
    "INVOKE_GIT_PORT": "0",
    "INVOKE_GIT_URL": "",
    "INVOKE_APP_PORT": "0",
    "INVOKE_APP_REPLICAS": "2",
    "INVOKE_TARGET_KUBECONFIG": "",
    "INVOKE_TARGET_NAMESPACE": "demo",
    "INVOKE_CONTEXT": "",
    "INVOKE_CLEANUP_HOURS": "0",
    "INVOKE_WEBHOOK_RECONCILE_MINUTES": "0",
}
"""Whatever invoke.yaml says: another environment may have its ports. Runs are deleted when a test says so, and not
beside it at minute 23.
"""


@dataclass(frozen=True)
class Answer:
    """How a command ended. seconds: wall clock."""

    command: str
    code: int
    out: str
    err: str
    seconds: float

    @property
    def text(self) -> str:
        return self.out + self.err

    @property
    def last(self) -> str:
        return self.out.rstrip().rpartition("\n")[2]

    def __str__(self) -> str:
        return f"$ {self.command}\n{self.out}{self.err}exit {self.code} after {self.seconds:.1f} s"


class Command:
    """One that runs; its output is read all the time, so that it never blocks on a full pipe."""

    def __init__(self, words: tuple[str, ...], environ: Mapping[str, str], within: tuple[str, ...] = ()) -> None:
        self.words = words
        self._start = time.monotonic()
        self.process = subprocess.Popen(
            [*within, sys.executable, "-m", "invoke", *words],
            cwd=PROJECT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._said: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._readers = [threading.Thread(target=self._read, args=(name,), daemon=True) for name in self._said]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str) -> None:
        with getattr(self.process, name) as stream:
            for line in stream:
                self._said[name].append(line)

    @property
    def text(self) -> str:
        return "".join(self._said["stdout"] + self._said["stderr"])

    def until_said(self, words: str, limit: float = 120) -> None:
        """Raises AssertionError when the command ends, or the time is over, before it has said `words`."""
        end = time.monotonic() + limit
        while words not in self.text:
            assert self.process.poll() is None, f"it ended before it said {words!r}:\n{self.text}"
            assert time.monotonic() < end, f"it did not say {words!r} within {limit:g} s:\n{self.text}"
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        """To the command alone, as `kill` does; what becomes of its children is its own affair."""
        self.process.send_signal(number)

    def end(self, limit: float) -> Answer:
        """Wait for the end. Past `limit` it is killed, and AssertionError raised."""
        try:
            code = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.stop()
            raise AssertionError(
                f"invoke {' '.join(self.words)} did not end within {limit:g} s:\n{self.text}"
            ) from None
        for reader in self._readers:
            reader.join(5)
        seconds = time.monotonic() - self._start
        out, err = ("".join(self._said[name]) for name in ("stdout", "stderr"))
        return Answer("invoke " + " ".join(self.words), code, out, err, seconds)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Product:
    """Commands on the environment `name`. Caches and engine are the user's own, everything else is apart.

    registry_password, hook_token: given through the environment, as a user would; other secrets are random.
    address: of the application, once somebody has asked for it (app.address).
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self.registry_password = secrets.token_urlsafe(18)
        self.hook_token = secrets.token_urlsafe(18)
        self.answers: list[Answer] = []
        self.address = ""
        self._running: set[Command] = set()
        self._cleaner: Command | None = None
        self._environments: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {}
        ours = {key: value for key, value in os.environ.items() if not key.startswith(("INVOKE_", "PYTEST_"))}
        self.environ: dict[str, str] = {
            **ours,
            **OWN,
            "KUBECONFIG": str(self.kubeconfig),
            "PYTHONUNBUFFERED": "1",
            "INVOKE_REGISTRY_PASSWORD": self.registry_password,
            "INVOKE_NOTIFY_KIND": "generic",
            "INVOKE_NOTIFY_URL": f"http://receiver.e2e.svc.cluster.local:8080/hook?token={self.hook_token}",
        }

    @contextlib.contextmanager
    def running(
        self,
        verb: str,
        *words: str,
        name: str = "",
        env: Mapping[str, str] | None = None,
        within: tuple[str, ...] = (),
    ) -> Iterator[Command]:
        """The command in the background; ended with the block. within: see Enclosure.prefix."""
        name, environ = name or self.name, {**self.environ, **(env or {})}
        if verb == "up":
            self._environments[name] = environ, within
        elif verb == "down":
            self._environments.pop(name, None)
        command = Command((verb, "--name", name, *words), environ, within)
        self._running.add(command)
        try:
            yield command
        finally:
            command.stop()
            self.answers.append(command.end(STOP_SECONDS))
            self._running.discard(command)

    def run(
        self,
        verb: str,
        *words: str,
        code: int = 0,
        limit: float = 400,
        name: str = "",
        env: Mapping[str, str] | None = None,
        within: tuple[str, ...] = (),
    ) -> Answer:
        """Run it to its end, which must be `code`."""
        with self.running(verb, *words, name=name, env=env, within=within) as command:
            answer = command.end(limit)
        assert answer.code == code, f"exit {code} was expected\n{answer}"
        return answer

    def world(self, name: str = "", env: Mapping[str, str] | None = None) -> World:
        """The product's own doors, to look with."""
        environ = {**self.environ, **(env or {})}
        config = settings.load(PROJECT / "invoke.yaml", environ, [], {"name": name or self.name})
        silent = io.StringIO()
        return make_world(config, Paths.of(config.name, environ), TerminalReport(silent, silent))

    def keep_evidence(self, folder: Path) -> None:
        """Of the last commands, and of every environment that is up; in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "commands.txt").write_text("\n".join(str(answer) for answer in self.answers[-3:]))
        for name, (environ, within) in self._environments.items():
            place = folder / name
            place.mkdir(exist_ok=True)
            for file, words in (
                ("status.txt", ("invoke", "status", "--name", name)),
                ("evidence.txt", ("tests.e2e.evidence", str(place), name)),
            ):
                argv = [*within, sys.executable, "-m", *words]
                with (place / file).open("w") as out, contextlib.suppress(subprocess.TimeoutExpired):
                    subprocess.run(
                        argv, cwd=PROJECT, env=environ, stdout=out, stderr=out, timeout=EVIDENCE_SECONDS, check=False
                    )

    def abandon(self) -> None:
        """On SIGTERM, with perhaps seconds to live: stop what runs, and have `down` run without us."""
        for command in [*self._running]:
            command.signal(signal.SIGTERM)
        self._cleaner = Command(("down", "--name", self.name), self.environ)

    def remove(self) -> Answer:
        """`down`; waits for the one that runs already."""
        cleaner = self._cleaner or Command(("down", "--name", self.name), self.environ)
        return cleaner.end(300)
