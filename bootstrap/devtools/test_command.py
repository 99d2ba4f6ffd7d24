"""One command that checks everything: style, types, and the tests from the quickest to a whole environment."""

from __future__ import annotations

import importlib.util
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bootstrap.core.errors import PreconditionError
from bootstrap.supply.source import Source
from bootstrap.world import World
from bootstrap.world.file_locks import engine_in_use

TOOLS = ("ruff", "mypy", "pytest", "pytest_timeout")
INSTALL = "pip install -r requirements-dev.txt"
OWN_MODULES = ("images/pause", "images/nodenet", "images/git-server", "images/tekton", "images/tools", "demo/go-echo")
"""Go code of our own, if only a test; the other modules only name what is built from others' code."""
PROGRAMS = {"kube": ("go-kubernetes", "kube"), "etcd": ("go-etcd", "etcd"), "crane": ("go-tools", "crane")}
"""What the integration tests start, as they call it -> (part of the supply, program)."""
BIN = "TEKTON_BOOTSTRAP_TEST_BIN"


@dataclass(frozen=True)
class Check:
    """One program to run in the checkout. limit: seconds. env: added to ours, "" removes a name."""

    name: str
    argv: Sequence[str]
    limit: float
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "."


@dataclass(frozen=True)
class Result:
    """closing: the last line that the program printed, which says how it went."""

    name: str
    code: int
    seconds: float
    closing: str


def test(world: World, *, fast: bool = False, keep: bool = False) -> int:
    """Run every check; the code of the first that failed, else 0.

    The quick ones all run. What they find ends it there: the others take minutes. fast: only the quick ones.
    keep: the environment of the end-to-end tests stays for a look. Raises PreconditionError without the tools.
    """
    require_tools()
    results = [run(world, check) for check in quick()]
    if not fast and not any(result.code for result in results):
        results += _slow(world, keep)
    conclude(world, results)
    return next((result.code for result in results if result.code), 0)


def require_tools(tools: Sequence[str] = TOOLS) -> None:
    missing = [name.replace("_", "-") for name in tools if importlib.util.find_spec(name) is None]
    if missing:
        raise PreconditionError(f"the development requirements are missing ({', '.join(missing)})", hint=INSTALL)


def quick() -> list[Check]:
    """Those that need nothing but Python."""
    return [
        python("ruff check", "ruff", "check", ".", limit=120),
        python("ruff format", "ruff", "format", "--check", ".", limit=120),
        python("mypy", "mypy", limit=600),
        pytest("unit, golden", "tests/unit", "tests/golden", "--timeout=60", limit=900),
    ]


def _slow(world: World, keep: bool) -> Iterator[Result]:
    source = provide(world)
    with tempfile.TemporaryDirectory(prefix="tekton-bootstrap-test-") as folder:
        for name, (part, program) in PROGRAMS.items():
            (Path(folder) / name).symlink_to(source.binary(part, program))
        for check in (*go_checks(source), *cluster_checks(folder, keep)):
            yield run(world, check)


def provide(world: World) -> Source:
    """An engine, and everything that the supply builds, as `up` does it. Raises BootstrapError."""
    source = world.images
    if not isinstance(source, Source):
        raise PreconditionError("the tests need programs that only supply source builds", hint="set `supply: source`")
    with engine_in_use(world):
        engine = world.report.step("engine")
        world.engine.ensure(engine.cause)
        engine.ready(world.engine.check().why, changed=True)
        images = world.report.step("images")
        source.provide(images)
        source.build([part for part, _ in PROGRAMS.values()], images)
        images.ready(source.check().why, changed=True)
    return source


def go_checks(source: Source) -> list[Check]:
    """vet and test of our own Go code, for this machine, with the toolchain that the images are built with.

    Never from Go's cache of test results: it does not see changes of files outside the module, and one module's
    tests read what the golden tests expect.
    """
    go = source.go(lambda _: None)
    environ = go.environ() | {"GOOS": "", "GOARCH": ""}
    return [
        Check(f"go {words[0]} {module}", (str(go.toolchain.go), *words, "./..."), 600, environ, module)
        for module in OWN_MODULES
        for words in (("vet",), ("test", "-count=1"))
    ]


def cluster_checks(programs: str, keep: bool) -> list[Check]:
    """programs: the folder that holds what PROGRAMS names."""
    options = ["--e2e", "-v", "--durations=40", *(["--keep"] if keep else [])]
    return [
        pytest("integration", "tests/integration", "--timeout=180", limit=1800, env={BIN: programs}),
        pytest("e2e", "tests/e2e", *options, "--timeout=1800", limit=5400),
    ]


def python(name: str, *words: str, limit: float, env: Mapping[str, str] | None = None) -> Check:
    return Check(name, (sys.executable, "-m", *words), limit, {"PYTHONUNBUFFERED": "1", **(env or {})})


def pytest(name: str, *words: str, limit: float, env: Mapping[str, str] | None = None) -> Check:
    return python(name, "pytest", *words, limit=limit, env=env)


def run(world: World, check: Check) -> Result:
    """Run it and show what it prints, line by line. Raises TimedOut, Interrupted."""
    words = shlex.join([Path(check.argv[0]).name, *check.argv[1:]])
    place = "" if check.cwd == "." else f" (in {check.cwd})"
    world.report.line(f"\n== {check.name}: {words}{place}")
    start = world.clock.now()
    output = world.shell.run(
        check.argv,
        env=check.env,
        cwd=world.project / check.cwd,
        limit=check.limit,
        check=False,
        on_line=world.report.line,
    )
    seconds = world.clock.now() - start
    world.report.line(f"== {check.name}: {'ok' if output.code == 0 else f'exit {output.code}'}, {seconds:.1f} s")
    return Result(check.name, output.code, seconds, closing_line(output.stdout))


def closing_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def conclude(world: World, results: Sequence[Result]) -> None:
    """A table of all, and below it pytest's closing lines as they were."""
    rows = [
        ["FAIL" if result.code else "ok", result.name, result.closing.strip("= "), f"{result.seconds:.1f} s"]
        for result in results
    ]
    world.report.line("")
    world.report.table(["", "check", "", ""], rows)
    for result in results:
        if result.closing.startswith("="):
            world.report.line(result.closing)
