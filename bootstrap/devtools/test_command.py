"""One command that checks everything: style, types, and the tests from the quickest to a whole environment."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bootstrap.core.errors import PreconditionError, UsageError
from bootstrap.core.paths import PROJECT
from bootstrap.devtools.lanes import LOGS, Check, Lane, Result, conclude, run_lanes
from bootstrap.supply.source import Source
from bootstrap.world import World, host
from bootstrap.world.file_locks import hold_engine_while_needed

TOOLS = ("ruff", "mypy", "pytest", "pytest_timeout", "xdist")
INSTALL = "pip install -r requirements-dev.txt"
OWN_MODULES = ("images/pause", "images/nodenet", "images/git-server", "images/tekton", "images/tools", "demo/go-echo")
"""Go code of our own, if only a test; the other modules only name what is built from others' code."""
PROGRAMS = {
    **{program: ("go-kubernetes", program) for program in ("kube", "kubectl")},
    "etcd": ("go-etcd", "etcd"),
    "crane": ("go-tools", "crane"),
}
"""What the integration tests start, as they call it -> (part of the supply, program)."""
QUICK, SLOW = ("style", "unit"), ("e2e", "e2e-others", "integration", "go")
"""Names of lanes."""
OTHERS = "test_9_*.py"
"""End-to-end tests that bring up environments of their own: from another supply, in another cluster or engine."""
QUICK_WIDTH = 2
LANE_MEMORY = 4.0
"""GiB of memory that a slow lane has to itself. Lanes share the processors, one for each: an end-to-end test waits for
two fifths of its time. That asks for clusters that bear a slow API server, as those of the tests do: their etcd does
not wait for the disk, and their controllers hold no Lease that they could lose.
"""
MOST_WORKERS = 16
BIN = "TEKTON_BOOTSTRAP_TEST_BIN"


def test(world: World, *, fast: bool = False, keep: bool = False, lane: str = "") -> int:
    """Run every check; the code of the first that failed, else 0.

    The quick ones all run. What they find ends it there: the others take minutes. fast: only the quick ones.
    keep: the environment of the end-to-end tests stays for a look. lane: only these, with commas between the names.
    Raises PreconditionError without the tools, UsageError for a lane that does not exist.
    """
    require_tools()
    wanted = choose_lanes(lane, fast)
    shutil.rmtree(world.project / LOGS / "evidence", ignore_errors=True)
    results = run_lanes(world, [each for each in quick_lanes() if each.name in wanted], QUICK_WIDTH)
    slow = [name for name in SLOW if name in wanted]
    if slow and not any(result.code for result in results):
        results += _run_slow(world, slow, keep)
    return conclude(world, results)


def choose_lanes(names: str, fast: bool) -> list[str]:
    """Raises UsageError."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in QUICK + SLOW]
    if unknown:
        raise UsageError(f"there is no lane {', '.join(unknown)}", hint=f"one of {', '.join(QUICK + SLOW)}")
    return wanted or list(QUICK if fast else QUICK + SLOW)


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
    return "-n", str(min(2 * host.count_cores(), MOST_WORKERS))


def _run_slow(world: World, names: Sequence[str], keep: bool) -> list[Result]:
    """The engine stays meanwhile: no lane may end it for another one."""
    with hold_engine_while_needed(world), tempfile.TemporaryDirectory(prefix="tekton-bootstrap-test-") as folder:
        source = provide(world)
        for name, (part, program) in PROGRAMS.items():
            (Path(folder) / name).symlink_to(source.get_program(part, program))
        lanes = slow_lanes(source, folder, keep)
        width = slow_width(host.count_cores(), host.read_memory_gib())
        return run_lanes(world, [each for each in lanes if each.name in names], width)


def slow_width(cores: int, memory: float) -> int:
    """How many slow lanes the machine can run at the same time, 1 to all of them. memory: GiB."""
    return max(1, min(len(SLOW), cores, int(memory // LANE_MEMORY)))


def provide(world: World) -> Source:
    """An engine, and everything that the supply builds, as `up` does it. Raises BootstrapError."""
    source = world.images
    if not isinstance(source, Source):
        raise PreconditionError("the tests need programs that only supply source builds", hint="set `supply: source`")
    engine = world.report.step("engine")
    world.engine.ensure(engine.show_cause)
    engine.end_ready(world.engine.check().why, changed=True)
    images = world.report.step("images")
    source.provide(images)
    source.build([*dict.fromkeys(part for part, _ in PROGRAMS.values())], images)
    images.end_ready(source.check().why, changed=True)
    return source


def go_checks(source: Source) -> list[Check]:
    """vet and test of our own Go code, for this machine, with the toolchain that the images are built with.

    Never from Go's cache of test results: it does not see changes of files outside the module, and one module's
    tests read what the golden tests expect.
    """
    go = source.provide_go(lambda _: None)
    environ = go.make_environment() | {"GOOS": "", "GOARCH": ""}
    return [
        Check(f"go {words[0]} {module}", (str(go.toolchain.go), *words, "./..."), 600, environ, module)
        for module in OWN_MODULES
        for words in (("vet",), ("test", "-count=1"))
    ]


def slow_lanes(source: Source, programs: str, keep: bool) -> list[Lane]:
    """programs: the folder that holds what PROGRAMS names."""
    env = {BIN: programs}
    shown = ("--e2e", "-v", "--durations=40", "--timeout=1800")
    kept = ("--keep",) if keep else ()
    # The tests of a file share an API server, a registry or a browser.
    integration = ("-n", str(min(host.count_cores(), MOST_WORKERS)), "--dist=loadfile", "tests/integration")
    others = [f"tests/e2e/{path.name}" for path in sorted((PROJECT / "tests/e2e").glob(OTHERS))]
    return [  # the longest first: the others fill the time until it ends
        Lane("e2e", [pytest("e2e", "tests/e2e", f"--ignore-glob=*/{OTHERS}", *shown, *kept, limit=5400)]),
        Lane("e2e-others", [pytest("e2e, other environments", *others, *shown, limit=5400)]),
        Lane("integration", [pytest("integration", *integration, "--timeout=300", limit=3600, env=env)]),
        Lane("go", go_checks(source)),
    ]


def python(name: str, *words: str, limit: float, env: Mapping[str, str] | None = None) -> Check:
    return Check(name, (sys.executable, "-m", *words), limit, {"PYTHONUNBUFFERED": "1", **(env or {})})


def pytest(name: str, *words: str, limit: float, env: Mapping[str, str] | None = None) -> Check:
    return python(name, "pytest", *words, limit=limit, env=env)
