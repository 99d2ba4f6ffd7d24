"""Benchmarks of supplies: a mirror filled by us and by skopeo, and an environment from a bundle and from source.

Each pair is measured in turn, into a registry, or with an engine and a cache, that hold nothing.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from bootstrap.commands.mirror import list_wanted
from bootstrap.core.errors import BootstrapError, CommandError
from bootstrap.core.model import Pending, Ready, Verdict
from bootstrap.core.paths import Paths
from bootstrap.core.wait import until
from bootstrap.steps.registry import find_free_port
from bootstrap.world import World, apt, probe
from bootstrap.world.engine.docker import DockerEngine
from bootstrap.world.shell import run_in_background

LIMIT = 900.0
UPLOADS = ("POST", "PATCH", "PUT")
Measured = dict[str, dict[str, Any]]


class Invoke(Protocol):
    """Seconds of a whole `invoke`, in an environment of the benchmark's."""

    def __call__(self, *words: str, env: Mapping[str, str] | None = None) -> float: ...


def measure_mirror(world: World, folder: Path, times: int, invoke: Invoke) -> Measured:
    """ "mirror" and "mirror-again". Raises CommandError where the second time writes anything."""
    ours: list[float] = []
    again: list[float] = []
    theirs: list[float] = []
    why = _explain_missing_skopeo(world)
    for number in range(times):
        place = folder / str(number)
        with run_registry(world, place / "ours") as (address, heard):
            env = {"INVOKE_MIRROR_REGISTRY": address, "INVOKE_MIRROR_PLAIN_HTTP": "on"}
            ours.append(round(invoke("mirror", env=env), 3))
            before = len(heard)
            again.append(round(invoke("mirror", env=env), 3))
            written = [line for line in heard[before:] if any(f" {verb} " in f" {line} " for verb in UPLOADS)]
            if written:
                raise CommandError("the second invoke mirror wrote to the registry", code=1, evidence=written[0])
        if not why:
            with run_registry(world, place / "theirs") as (address, _):
                theirs.append(round(_measure_skopeo(world, address, place / "saved"), 3))
        shutil.rmtree(place, ignore_errors=True)
    if why:
        world.report.warn(f"mirror is not compared with skopeo: {why}")
    return {"mirror": {"ours_s": ours, "other_s": theirs}, "mirror-again": {"seconds": again}}


@contextlib.contextmanager
def run_registry(world: World, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """An empty registry of go-containerregistry's on this machine: its address, and the lines that it logs."""
    folder.mkdir(parents=True)
    port, heard = find_free_port(), list[str]()
    crane = str(world.images.find_tool("crane"))
    argv = [crane, "registry", "serve", f"--address=127.0.0.1:{port}", f"--disk={folder}"]

    def answers() -> Verdict:
        return Ready() if probe.read_local_status(port, "/v2/", 2) == 200 else Pending("it does not serve yet")

    with run_in_background(world.shell, argv, on_line=heard.append):
        until(answers, clock=world.clock, limit=20, what="the benchmark's registry", every=0.1)
        yield f"127.0.0.1:{port}", heard


def _explain_missing_skopeo(world: World) -> str:
    """Why there is nothing to compare with, "" if there is."""
    if world.shell.which("skopeo"):
        return ""
    try:
        apt.install_packages(world.shell, ["skopeo"], lambda _: None)
    except BootstrapError as error:
        return f"it is not installed, and could not be: {error.message}"
    return "" if world.shell.which("skopeo") else "it is not installed"


def _measure_skopeo(world: World, address: str, folder: Path) -> float:
    """Seconds for the same images, one after the other; what the engine has is saved first, as we do."""
    folder.mkdir(parents=True)
    start = world.clock.now()
    for item in list_wanted(world):
        source = f"oci:{item.layout}"
        if item.layout is None:
            archive = folder / "image.tar"
            world.engine.save_image(item.engine_image, archive)
            source = f"docker-archive:{archive}"
        target = f"docker://{address}/skopeo/{item.name}"
        words = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", source, target]
        world.shell.run(words, limit=LIMIT)
    return world.clock.now() - start


def measure_bundle(world: World, folder: Path, times: int, invoke: Invoke) -> dict[str, Any]:
    """`up` from a bundle where engine and cache hold nothing, in turn with `up` from a source that is built."""
    file = folder / "bundle.tar"
    folder.mkdir(parents=True)
    invoke("bundle", "--output", str(file))
    ours: list[float] = []
    source: list[float] = []
    for number in range(times):
        state = folder / str(number)
        env = {
            "XDG_CACHE_HOME": str(state / "cache"),
            "XDG_STATE_HOME": str(state / "state"),
            "INVOKE_SUPPLY": "bundle",
            "INVOKE_BUNDLE_FILE": str(file),
        }
        with _run_empty_engine(world, env):
            ours.append(round(_measure_up(invoke, env, purge=True), 3))
        source.append(round(_measure_up(invoke, {"INVOKE_SUPPLY": "source"}, purge=False), 3))
        shutil.rmtree(state, ignore_errors=True)
    return {"ours_s": ours, "other_s": source}


@contextlib.contextmanager
def _run_empty_engine(world: World, env: Mapping[str, str]) -> Iterator[None]:
    """A private engine for those folders, which runs and holds nothing; purged in any case."""
    engine = DockerEngine(world.shell, Paths.of("bench", env), "managed")
    engine.ensure(lambda _: None)
    try:
        yield
    finally:
        engine.purge()


def _measure_up(invoke: Invoke, env: Mapping[str, str], *, purge: bool) -> float:
    """Seconds of `up`; the environment is gone afterwards."""
    try:
        return invoke("up", env=env)
    finally:
        invoke("down", *(["--purge"] if purge else []), env=env)


def summarize(values: Mapping[str, Any]) -> dict[str, Any]:
    """With the ratio of medians, where there is something to compare with."""
    ours, other = values["ours_s"], values["other_s"]
    ratio = {"ratio": round(statistics.median(ours) / statistics.median(other), 3)} if other else {}
    return {**ratio, **values}
