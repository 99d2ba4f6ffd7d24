"""Measures what the product promises, `up` against a plain script that does the same part after part.

Everything runs in environments of its own, as whole processes, the way a user starts them. What is compared is
interleaved, so that a machine that gets slower meanwhile is as slow for both.
"""

from __future__ import annotations

import contextlib
import secrets
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bootstrap import checking, names, serial
from bootstrap.config import NotifySettings, TargetSettings
from bootstrap.errors import BootstrapError, UsageError
from bootstrap.locks import engine_in_use
from bootstrap.paths import Paths
from bootstrap.supply.source import Source
from bootstrap.text import meant
from bootstrap.world import World
from bootstrap.world.identity import Identity

NAMES = ("list", "up", "again", "test-run", "down")
SCRIPT = "benchmarks/serial.sh"
LIMIT = 900.0
OWN_PORTS = {f"INVOKE_{name}_PORT": "0" for name in ("CLUSTER_API", "REGISTRY", "GIT", "APP")}
"""Free ones, whatever the settings say: another environment may have those."""

Measured = dict[str, dict[str, Any]]
"""Benchmark -> what was measured; seconds in all cases."""


def bench(world: World, *, only: str = "", times: int = 3, as_json: bool = False) -> int:
    """Run the benchmarks, or the one called `only`, `times` each. With `as_json` the last line is one object.

    Raises UsageError for another name, CommandError when a command that is measured fails.
    """
    if only and only not in NAMES:
        raise UsageError(f"there is no benchmark {only}{meant(only, NAMES)}", hint=f"one of {', '.join(NAMES)}")
    wanted = {only} if only else {*NAMES}
    with tempfile.TemporaryDirectory(prefix="tekton-bootstrap-bench-") as folder:
        found = Bench(world, Path(folder), wanted, max(1, times)).measure()
    world.report.table(["what", "seconds", "median"], table(found))
    if as_json:
        world.report.json(found)
    return 0


def table(found: Measured) -> list[list[str]]:
    rows = []
    for name, values in found.items():
        for key, value in values.items():
            if isinstance(value, list):
                shown = " ".join(f"{seconds:.2f}" for seconds in value)
                rows.append([f"{name} {key.removesuffix('_s')}", shown, f"{statistics.median(value):.2f}"])
            else:
                rows.append([f"{name} {key.removesuffix('_s')}", "", f"{value:.2f}"])
    return rows


class Bench:
    """folder: private, for kubeconfig, manifests with secrets and a clone; removed by its owner."""

    def __init__(self, world: World, folder: Path, wanted: set[str], times: int) -> None:
        self._world = world
        self._folder = folder
        self._wanted = wanted
        self._times = times
        self._name = f"bench-{secrets.token_hex(2)}"
        self._serial = _renamed(world, f"{self._name}-serial")
        self._found: dict[str, dict[str, list[float]]] = {}

    def measure(self) -> Measured:
        if "list" in self._wanted:
            for _ in range(self._times + 2):
                self._keep("list", "seconds", self._invoke("--list"))
        if self._wanted - {"list"}:
            self._lives(checking.provide(self._world))
        return {name: summary(name, self._found[name]) for name in NAMES if name in self._found}

    def _lives(self, source: Source) -> None:
        """Environments come and go; what needs one that lives is measured in the last."""
        lives = self._times if self._wanted & {"up", "down"} else 1
        for life in range(lives):
            with self._environment():
                if life == lives - 1:
                    self._alive()
            if "up" in self._wanted:
                self._keep("up", "serial_s", self._run_serial(source))

    @contextlib.contextmanager
    def _environment(self) -> Iterator[None]:
        """`up`, and `down` in any case; both are measured."""
        self._world.engine.ensure(lambda _: None)  # `down` ends a private engine that is idle
        try:
            start = self._world.clock.now()
            ready: list[float] = []

            def hear(line: str) -> None:
                if line.split()[:2] == ["ok", "tekton"]:
                    ready.append(self._world.clock.now() - start)

            self._keep("up", "ours_s", self._invoke("up", hear=hear))
            self._keep("up", "tekton_ready_s", min(ready, default=self._world.clock.now() - start))
            yield
        except BaseException:
            with contextlib.suppress(BootstrapError):  # what failed first is what is told
                self._invoke("down")
            raise
        self._keep("down", "seconds", self._invoke("down"))

    def _alive(self) -> None:
        if "test-run" in self._wanted:
            self._invoke("test-run")
            commit = self._committer()
            for number in range(self._times):
                commit(number)
                self._keep("test-run", "seconds", self._invoke("test-run"))
        if "again" in self._wanted:
            for _ in range(self._times):
                self._keep("again", "seconds", self._invoke("up"))

    def _committer(self) -> Any:
        """A clone, and what pushes one more commit of it: a run of the same commit would prove less."""
        clone = self._folder / "clone"
        self._invoke("clone", "--into", str(clone))
        who = {"GIT_AUTHOR_NAME": "bench", "GIT_AUTHOR_EMAIL": "bench@localhost"}
        who |= {"GIT_COMMITTER_NAME": "bench", "GIT_COMMITTER_EMAIL": "bench@localhost"}

        def commit(number: int) -> None:
            for words in (["commit", "--quiet", "--allow-empty", f"--message=Commit {number}"], ["push", "--quiet"]):
                self._world.shell.run(["git", *words], cwd=clone, env=who)

        return commit

    def _invoke(self, *words: str, hear: Any = None) -> float:
        """Seconds of a whole `invoke`. Raises CommandError, TimedOut."""
        verb = words[0]
        if not verb.startswith("-"):
            words = (verb, "--name", self._name, *words[1:])
            self._world.report.line(f"invoke {' '.join(words)}")
        environ = {**OWN_PORTS, "KUBECONFIG": str(self._folder / "kubeconfig"), "PYTHONUNBUFFERED": "1"}
        return self._timed([sys.executable, "-m", "invoke", *words], environ, hear)

    def _run_serial(self, source: Source) -> float:
        world = self._serial
        world.report.line(f"{SCRIPT} {world.config.name}")
        try:
            with engine_in_use(world):
                world.engine.ensure(lambda _: None)
                folder = self._folder / "serial"
                serial.write(world, folder)
                environ = serial.environ(world, source, folder)
                world.engine.network_create(names.network(world.config.name))
                return self._timed(["bash", SCRIPT], environ, lambda line: world.report.line(f"  {line}"))
        finally:  # it names everything as the product does
            down = [sys.executable, "-m", "invoke", "down", "--name", world.config.name]
            environ = {"KUBECONFIG": str(self._folder / "serial/kubeconfig")}
            self._world.shell.run(down, env=environ, cwd=world.project, limit=LIMIT, check=False)

    def _timed(self, argv: list[str], environ: Mapping[str, str], hear: Any) -> float:
        start = self._world.clock.now()
        self._world.shell.run(argv, env=environ, cwd=self._world.project, limit=LIMIT, on_line=hear)
        return self._world.clock.now() - start

    def _keep(self, name: str, key: str, seconds: float) -> None:
        if name in self._wanted:
            self._found.setdefault(name, {}).setdefault(key, []).append(round(seconds, 3))


def _renamed(world: World, name: str) -> World:
    """The same doors on another environment; nobody is told of its runs, and it is its own target."""
    config = replace(
        world.config,
        name=name,
        context="",
        cluster=replace(world.config.cluster, api_port=0),
        git=replace(world.config.git, port=0),
        app=replace(world.config.app, port=0),
        target=TargetSettings(),
        notify=NotifySettings(),
    )
    paths = Paths.of(name)
    return replace(world, config=config, paths=paths, identity=Identity(paths.env, name))


def summary(name: str, values: Mapping[str, list[float]]) -> dict[str, Any]:
    if name != "up":
        return {**values, "median_s": statistics.median(values["seconds"])}
    ours, serial = values["ours_s"], values["serial_s"]
    ratio = round(statistics.median(ours) / statistics.median(serial), 3)
    tekton_ready = round(statistics.median(values["tekton_ready_s"]), 1)
    return {"ratio": ratio, "ours_s": ours, "serial_s": serial, "tekton_ready_s": tekton_ready}
