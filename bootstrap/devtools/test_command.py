"""One command that checks everything: style, types, and the tests from the quickest to a whole environment."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bootstrap.core.errors import PreconditionError
from bootstrap.devtools.lanes import Check, Lane, Result, conclude, run_lanes
from bootstrap.supply.source import Source
from bootstrap.world import World, host
from bootstrap.world.file_locks import engine_in_use

TOOLS = ("ruff", "mypy", "pytest", "pytest_timeout", "xdist")
INSTALL = "pip install -r requirements-dev.txt"
OWN_MODULES = ("images/pause", "images/nodenet", "images/git-server", "images/tekton", "images/tools", "demo/go-echo")
"""Go code of our own, if only a test; the other modules only name what is built from others' code."""
PROGRAMS = {"kube": ("go-kubernetes", "kube"), "etcd": ("go-etcd", "etcd"), "crane": ("go-tools", "crane")}
"""What the integration tests start, as they call it -> (part of the supply, program)."""
QUICK_WIDTH = 2
MOST_WORKERS = 16
BIN = "TEKTON_BOOTSTRAP_TEST_BIN"


def test(world: World, *, fast: bool = False, keep: bool = False) -> int:
    """Run every check; the code of the first that failed, else 0.

    The quick ones all run. What they find ends it there: the others take minutes. fast: only the quick ones.
    keep: the environment of the end-to-end tests stays for a look. Raises PreconditionError without the tools.
    """
    require_tools()
    results = run_lanes(world, quick_lanes(), QUICK_WIDTH)
    if not fast and not any(result.code for result in results):
        results += _slow(world, keep)
    return conclude(world, results)


def require_tools(tools: Sequence[str] = TOOLS) -> None:
    missing = [name.replace("_", "-") for name in tools if importlib.util.find_spec(name) is None]
    if missing:
        raise PreconditionError(f"the development requirements are missing ({', '.join(missing)})", hint=INSTALL)


def quick_lanes() -> list[Lane]:
    """What needs nothing but Python."""
    return [
        Lane(
            "style",
            [
                python("ruff check", "ruff", "check", ".", limit=120),
                python("ruff format", "ruff", "format", "--check", ".", limit=120),
                python("mypy", "mypy", limit=600),
            ],
        ),
        Lane("unit", [pytest("unit, golden", *workers(), "tests/unit", "tests/golden", "--timeout=60", limit=900)]),
    ]


def workers() -> tuple[str, ...]:
    """Two for each core: a test that waits leaves its core to another one."""
    return "-n", str(min(2 * host.cores(), MOST_WORKERS))


def _slow(world: World, keep: bool) -> list[Result]:
    source = provide(world)
    with tempfile.TemporaryDirectory(prefix="tekton-bootstrap-test-") as folder:
        for name, (part, program) in PROGRAMS.items():
            (Path(folder) / name).symlink_to(source.binary(part, program))
        return run_lanes(world, [Lane("slow", [*go_checks(source), *cluster_checks(folder, keep)])], 1)


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
