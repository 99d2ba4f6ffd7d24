"""How soon the console shows what happens, and what it costs to have it open: in a real browser, without a window."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap.commands import follow_run
from bootstrap.console.watch_cache import WatchCache
from bootstrap.core import constants
from bootstrap.core.errors import BootstrapError, PreconditionError
from bootstrap.core.model import Object, Pending, Ready
from bootstrap.core.wait import until
from bootstrap.devtools import bench_cleanup
from bootstrap.devtools.bench_webhook import stop_controller
from bootstrap.objects import manifests, run_spec
from bootstrap.world import World

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
PATIENCE = 120_000
"""Milliseconds that a page is given to show something."""
REST = 2_000
"""Milliseconds until a browser has made its new window, and rests."""
START_SECONDS = 60.0
IDLE_SECONDS = 60.0
PRINTED = re.compile(r"^\d{10}\.\d+$")
"""The time, as `date` prints it."""
ROWS, LIVE = ".runs tbody tr", ".q-table__middle tbody tr"
"""Runs that can be read, opened and added to, on whichever page; those of the live one."""
SEEN = """(() => {
  const seen = {}, look = () => {
    for (const [name, rows] of [["usable", "%s"], ["live", "%s"]])
      if (!seen[name] && document.querySelector(rows)) {
        seen[name] = true;
        requestAnimationFrame(() => setTimeout(() => console.log("seen " + name + " " + Date.now() / 1000)));
      }
    requestAnimationFrame(look);
  };
  look();
})()""" % (ROWS, LIVE)  # noqa: UP031  it is full of braces
"""Tells when they were painted: while a page leads on to the next one, a browser's driver sees nothing of it."""


def measure(world: World, times: int, environ: Mapping[str, str]) -> dict[str, Any]:
    """{"usable_s", "live_s", "change_s", "log_s": lists, "memory_mb", "requests_per_minute"}, as in
    docs/benchmarks.md.

    environ: of the command. Raises PreconditionError without a browser.
    """
    with _open_browser(world) as browser:
        shown = [_measure_start(world, browser, environ) for _ in range(times)]
        with _run_console(world, environ) as console:
            page = _open_page(browser, console.url)
            changes = [_measure_change(world, page) for _ in range(times)]
            lines = [_measure_log_line(world, page, console.base) for _ in range(times)]
            page.context.close()
        memory = _measure_memory(world, browser, environ)
    return {
        "usable_s": [each["usable"] for each in shown],
        "live_s": [each["live"] for each in shown],
        "change_s": changes,
        "log_s": lines,
        "memory_mb": memory,
        "requests_per_minute": _measure_idle_requests(world),
    }


@dataclass(frozen=True)
class _Console:
    """A command that serves. base: its address without the token."""

    url: str
    pid: int

    @property
    def base(self) -> str:
        return self.url.partition("/?")[0]


@contextlib.contextmanager
def _run_console(world: World, environ: Mapping[str, str]) -> Iterator[_Console]:
    words = [sys.executable, "-m", "invoke", "dashboard", "--name", world.config.name, "--set", "dashboard.port=0"]
    with subprocess.Popen(words, cwd=world.project, env=dict(environ), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None, "it was asked for a pipe"  # noqa: S101
            found = re.search(r"http://\S+", process.stdout.readline())
            if not found:
                raise BootstrapError("the console did not start", hint=f"invoke dashboard --name {world.config.name}")
            yield _Console(found[0], process.pid)
        finally:
            process.terminate()


@contextlib.contextmanager
def _open_browser(world: World) -> Iterator[Browser]:
    program = next((each for each in BROWSERS if world.shell.which(each)), "")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise PreconditionError("playwright is missing", hint="pip install -r requirements-dev.txt") from None
    if not program:
        raise PreconditionError("there is no Chromium", hint="apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(world.shell.which(program)), args=OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


def _open_page(browser: Browser, url: str) -> Page:
    page = browser.new_context().new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    page.wait_for_selector(LIVE)
    return page


def _measure_start(world: World, browser: Browser, environ: Mapping[str, str]) -> dict[str, float]:
    """From the start of the command until the page can be used, and until it is the live one, in a browser that is open
    already."""
    page = browser.new_context().new_page()
    page.set_default_timeout(PATIENCE)
    page.add_init_script(SEEN)
    seen: dict[str, float] = {}

    def note(said: str) -> None:
        word, _, rest = said.partition(" ")
        if word == "seen":
            name, _, when = rest.partition(" ")
            seen.setdefault(name, float(when))

    page.on("console", lambda message: note(message.text))
    page.wait_for_timeout(REST)
    start = time.time()
    with _run_console(world, environ) as console:
        page.goto(console.url, wait_until="commit")
        page.wait_for_selector(LIVE)
        while "live" not in seen:
            page.wait_for_timeout(10)
    page.context.close()
    return {name: round(when - start, 3) for name, when in seen.items()}


def _measure_change(world: World, page: Page) -> float:
    """From before a run is created until its row is there."""
    name = f"litter-change-{time.monotonic_ns()}"
    start = time.monotonic()
    bench_cleanup.make_run(world, name, over=False)
    page.wait_for_selector(f'a[href="/run/{name}"]')
    seconds = time.monotonic() - start
    world.kube.delete(follow_run.API, "PipelineRun", name, constants.RUNS)
    return round(seconds, 3)


def _measure_log_line(world: World, page: Page, base: str) -> float:
    """From the printing of a step's first line, which is the time, until it can be read."""
    name = f"litter-log-{time.monotonic_ns()}"
    world.kube.create(_make_printing_run(world, name))
    try:
        page.goto(f"{base}/run/{name}")
        line = page.locator(".log .line .tx").filter(has_text=PRINTED).first
        line.wait_for()
        seconds = time.time() - float(line.inner_text())
    finally:
        world.kube.delete(follow_run.API, "PipelineRun", name, constants.RUNS)
    page.goto(base)
    return round(seconds, 3)


def _make_printing_run(world: World, name: str) -> Object:
    """A run of one step that prints the time, and goes on for a while."""
    [run] = manifests.load(world.project / run_spec.MANIFEST)
    confined = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    step = {
        "name": "speak",
        "image": world.images.read_lock().images["toolbox"].reference,
        "command": ["sh", "-c"],
        "args": ["sleep 3; date +%s.%N; sleep 10"],
        "securityContext": confined,
        "env": [{"name": "HOME", "value": "/tekton/home"}],
    }
    task = {"name": "speak", "taskSpec": {"steps": [step]}}
    spec = {"pipelineSpec": {"tasks": [task]}, "taskRunTemplate": run["spec"]["taskRunTemplate"]}
    metadata = {"name": name, "namespace": constants.RUNS, "labels": {bench_cleanup.MARK: "yes"}}
    return {"apiVersion": follow_run.API, "kind": "PipelineRun", "metadata": metadata, "spec": spec}


def _measure_memory(world: World, browser: Browser, environ: Mapping[str, str]) -> int:
    """MB that the command holds, with 2,000 runs and one reader."""
    with stop_controller(world):
        bench_cleanup.make_runs(world)
        try:
            with _run_console(world, environ) as console:
                page = _open_page(browser, console.url)
                page.wait_for_selector(f"text=/of {bench_cleanup.OVER}|of 2\\d\\d\\d/")
                page.wait_for_timeout(3000)
                status = Path(f"/proc/{console.pid}/status").read_text()
                page.context.close()
        finally:
            for each in bench_cleanup.list_benchmark_runs(world):
                world.kube.delete(follow_run.API, "PipelineRun", each["metadata"]["name"], constants.RUNS)
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) // 1024


def _measure_idle_requests(world: World) -> float:
    """Requests to the API server while nothing happens, of the watches that a console keeps."""
    target, pipeline = world.config.target, world.config.pipeline
    cache = WatchCache(lambda: world.kube, lambda: world.target, target.namespace, pipeline.deployment)
    cache.start()
    try:
        kinds = {"PipelineRun", "TaskRun", "Deployment", "ReplicaSet", "Pod"}
        until(
            lambda: Ready() if kinds <= cache.seen else Pending("it reads the cluster"),
            clock=world.clock,
            limit=START_SECONDS,
            what="the watches",
        )
        world.clock.sleep(2)
        before = world.kube.requests
        world.clock.sleep(IDLE_SECONDS)
        return (world.kube.requests - before) * 60 / IDLE_SECONDS
    finally:
        cache.close()
