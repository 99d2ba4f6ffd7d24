"""Measures what the product promises, `up` against a plain script that does the same part after part.

Everything runs in environments of its own, as whole processes, the way a user starts them. What is compared is
interleaved, so that a machine that gets slower meanwhile is as slow for both.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bootstrap.commands import follow_run
from bootstrap.core import constants
from bootstrap.core.errors import ApiError, BootstrapError, UsageError
from bootstrap.core.model import Pending, Ready, Verdict
from bootstrap.core.paths import Paths
from bootstrap.core.text import suggest_word
from bootstrap.core.wait import until
from bootstrap.devtools import (
    bench_applications,
    bench_baseline,
    bench_cleanup,
    bench_console,
    bench_poller,
    bench_supplies,
    bench_webhook,
    test_command,
)
from bootstrap.settings.config import NotifySettings, TargetSettings
from bootstrap.supply.source import Source
from bootstrap.world import World
from bootstrap.world.environment_store import Identity
from bootstrap.world.file_locks import hold_engine, hold_engine_while_needed

NAMES = (
    "list",
    "up",
    "again",
    "dry-run",
    "test-run",
    "push",
    "webhook",
    "poll",
    "applications",
    "cleanup",
    "console",
    "down",
    "mirror",
    "mirror-again",
    "bundle",
)
SUPPLIES = {"mirror", "mirror-again", "bundle"}
SCRIPT = "benchmarks/serial.sh"
LIMIT = 900.0
PUSH_LIMIT = 300.0
OWN_SETTINGS = {f"INVOKE_{name}_PORT": "0" for name in ("CLUSTER_API", "REGISTRY", "GIT", "APP")} | {
    "INVOKE_GIT_URL": "",
    "INVOKE_GIT_WEBHOOK": "on",
    "INVOKE_WEBHOOK_BRANCHES": "main",
    "INVOKE_WEBHOOK_REPOSITORIES": "",
    "INVOKE_TARGET_KUBECONFIG": "",
    "INVOKE_TARGET_NAMESPACE": constants.DEMO,
}
"""Whatever the settings say: free ports, for another environment may have those; and all that is used is its own."""

Measured = dict[str, dict[str, Any]]
"""Benchmark -> what was measured; seconds in all cases."""


def bench(world: World, *, only: str = "", times: int = 3, as_json: bool = False) -> int:
    """Run the benchmarks, or those called `only` ("up,down"), `times` each. With `as_json` the last line is one object.

    Raises UsageError for another name, CommandError when a command that is measured fails.
    """
    wanted = {word.strip() for word in only.split(",")} if only else {*NAMES}
    for name in sorted(wanted - {*NAMES}):
        raise UsageError(f"there is no benchmark {name}{suggest_word(name, NAMES)}", hint=f"some of {','.join(NAMES)}")
    with tempfile.TemporaryDirectory(prefix="tekton-bootstrap-bench-") as folder:
        found = Bench(world, Path(folder), wanted, max(1, times)).measure()
    world.report.table(["what", "seconds", "median"], make_table(found))
    if as_json:
        world.report.json(found)
    return 0


def make_table(found: Measured) -> list[list[str]]:
    rows = []
    for name, values in found.items():
        if name == "webhook":
            rows += bench_webhook.make_rows(values)
            continue
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
        self._serial = _with_name(world, f"{self._name}-serial")
        self._results: dict[str, dict[str, Any]] = {}

    def measure(self) -> Measured:
        if "list" in self._wanted:
            for _ in range(self._times + 2):
                self._keep("list", "seconds", self._invoke("--list"))
        if self._wanted - {"list"}:
            source = test_command.provide(self._world)
            if "poll" in self._wanted:
                server = source.get_program("go-git-server", "git-server")
                self._results["poll"] = bench_poller.measure_poll(self._world, server, self._folder / "poll")
            if self._wanted & SUPPLIES:
                self._measure_supplies()
            if self._wanted - SUPPLIES - {"list", "poll"}:
                self._measure_environments(source)
        measured = [name for name in NAMES if name in self._results and name in self._wanted]
        return {name: summarize(name, self._results[name]) for name in measured}

    def _measure_supplies(self) -> None:
        """With the user's engine running all the while: what is measured would end it as the last that uses it."""
        with hold_engine_while_needed(self._world):
            self._world.engine.ensure(lambda _: None)
            if self._wanted & {"mirror", "mirror-again"}:
                self._results |= bench_supplies.measure_mirror(
                    self._world, self._folder / "mirror", self._times, self._invoke
                )
            if "bundle" in self._wanted:
                found = bench_supplies.measure_bundle(self._world, self._folder / "bundle", self._times, self._invoke)
                self._results["bundle"] = found

    def _measure_environments(self, source: Source) -> None:
        """Environments come and go; what needs one that lives is measured in the last."""
        lives = self._times if self._wanted & {"up", "down"} else 1
        for life in range(lives):
            with self._environment():
                if life == lives - 1:
                    self._measure_running()
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

    def _measure_running(self) -> None:
        if self._wanted & {"test-run", "push", "console"}:
            self._invoke("test-run")
        if self._wanted & {"test-run", "push"}:
            self._measure_runs(Clone(self._world, self._folder / "clone"))
        if "webhook" in self._wanted:
            self._results["webhook"] = bench_webhook.measure(_with_name(self._world, self._name), self._times)
        if "console" in self._wanted:
            environ = {**os.environ, **self._environ()}
            self._results["console"] = bench_console.measure(_with_name(self._world, self._name), self._times, environ)
        if "applications" in self._wanted:
            folder = self._folder / "applications"
            self._results["applications"] = bench_applications.measure(
                _with_name(self._world, self._name), folder, self._times
            )
        if "cleanup" in self._wanted:
            found = bench_cleanup.measure(_with_name(self._world, self._name), self._times, self._run_cleanup)
            self._results["cleanup"] = {"seconds": [round(seconds, 3) for seconds in found]}
        for name, words in (("again", ("up",)), ("dry-run", ("up", "--dry-run"))):
            for _ in range(self._times if name in self._wanted else 0):
                self._keep(name, "seconds", self._invoke(*words))

    def _measure_runs(self, clone: Clone) -> None:
        """Each of another commit: a run of the same one would prove less."""
        self._invoke("clone", "--into", str(clone.folder))
        for _ in range(self._times if "test-run" in self._wanted else 0):
            clone.commit()
            clone.git("push", "--quiet", "--push-option=no-webhook")
            self._keep("test-run", "seconds", self._invoke("test-run"))
        for _ in range(self._times if "push" in self._wanted else 0):
            self._keep("push", "seconds", self._measure_push(clone, _with_name(self._world, self._name)))

    def _run_cleanup(self) -> float:
        return self._invoke("cleanup", "--set", "cleanup.keep=0")

    def _measure_push(self, clone: Clone, world: World) -> float:
        """Seconds from the start of `git push` until the commit serves. Raises TimedOut."""
        commit = clone.commit()
        self._world.report.line("git push")

        def serves() -> Verdict:
            try:
                served = follow_run.read_served_commit(world)
            except (ApiError, ValueError) as error:  # between two versions
                return Pending(str(error))
            return Ready() if served == commit else Pending(f"/version answers {served[:7]}")

        def over() -> Verdict:
            return (
                Ready()
                if follow_run.read_run(world, follow_run.find_newest(world)).state.is_over
                else Pending("its last task")
            )

        clock = self._world.clock
        start = clock.now()
        clone.git("push", "--quiet")
        until(serves, clock=clock, limit=PUSH_LIMIT, what=f"the pushed commit {commit[:7]}", every=0.1)
        seconds = clock.now() - start
        until(over, clock=clock, limit=PUSH_LIMIT, what="the run")  # the next one is not to meet its last task
        return seconds

    def _invoke(self, *words: str, hear: Any = None, env: Mapping[str, str] | None = None) -> float:
        """Seconds of a whole `invoke`. env: further variables. Raises CommandError, TimedOut."""
        verb = words[0]
        if not verb.startswith("-"):
            words = (verb, "--name", self._name, *words[1:])
            self._world.report.line(f"invoke {' '.join(words)}")
        return self._measure_command([sys.executable, "-m", "invoke", *words], {**self._environ(), **(env or {})}, hear)

    def _environ(self) -> dict[str, str]:
        """PYTHONDONTWRITEBYTECODE: not set, as on the machine of whoever has not asked for it, or every command would
        compile us anew."""
        ours = {"KUBECONFIG": str(self._folder / "kubeconfig"), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": ""}
        return {**OWN_SETTINGS, **ours}

    def _run_serial(self, source: Source) -> float:
        world = self._serial
        world.report.line(f"{SCRIPT} {world.config.name}")
        try:
            with hold_engine(world):
                world.engine.ensure(lambda _: None)
                folder = self._folder / "serial"
                bench_baseline.write_files(world, folder)
                environ = bench_baseline.make_environ(world, source, folder)
                world.engine.create_network(constants.network(world.config.name))
                return self._measure_command(["bash", SCRIPT], environ, lambda line: world.report.line(f"  {line}"))
        finally:  # it names everything as the product does
            down = [sys.executable, "-m", "invoke", "down", "--name", world.config.name]
            environ = {"KUBECONFIG": str(self._folder / "serial/kubeconfig")}
            self._world.shell.run(down, env=environ, cwd=world.project, limit=LIMIT, check=False)

    def _measure_command(self, argv: list[str], environ: Mapping[str, str], hear: Any) -> float:
        start = self._world.clock.now()
        self._world.shell.run(argv, env=environ, cwd=self._world.project, limit=LIMIT, on_line=hear)
        return self._world.clock.now() - start

    def _keep(self, name: str, key: str, seconds: float) -> None:
        if name in self._wanted:
            self._results.setdefault(name, {}).setdefault(key, []).append(round(seconds, 3))


@dataclass(frozen=True)
class Clone:
    """A clone of the environment's repository, in `folder`, and its user."""

    world: World
    folder: Path

    def commit(self) -> str:
        """One more, without a change; its id."""
        self.git("commit", "--quiet", "--allow-empty", "--message=Another commit")
        return self.git("rev-parse", "HEAD")

    def git(self, *words: str) -> str:
        return self.world.shell.run(["git", *words], cwd=self.folder, env=bench_applications.AUTHOR).stdout.strip()


def _with_name(world: World, name: str) -> World:
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


def summarize(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    if name in ("webhook", "poll", "console", "applications"):
        return dict(values)
    if name in ("mirror", "bundle"):
        return bench_supplies.summarize(values)
    if name != "up":
        return {**values, "median_s": statistics.median(values["seconds"])}
    ours, serial = values["ours_s"], values["serial_s"]
    ratio = round(statistics.median(ours) / statistics.median(serial), 3)
    tekton_ready = round(statistics.median(values["tekton_ready_s"]), 1)
    return {"ratio": ratio, "ours_s": ours, "serial_s": serial, "tekton_ready_s": tekton_ready}
