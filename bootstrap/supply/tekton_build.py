"""Tekton's images and YAML, built and resolved by ko from the release's own module.

ko pushes images to a registry and takes base images from one: crane serves one on loopback while the build runs, and
each image is then kept as an OCI layout.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from bootstrap.core import wait
from bootstrap.core.clock import Clock
from bootstrap.core.errors import CommandError
from bootstrap.core.model import Failed, Object, Pending, Ready, Verdict
from bootstrap.supply import oci_layout
from bootstrap.supply.build_catalog import PIPELINE, TRIGGERS
from bootstrap.supply.golang import Go
from bootstrap.world.shell import Process, Shell, run_in_background

FORMAT = "1"
"""Changes when the layout of the stored result does, so that old results are not read."""

PROGRAMS = {
    f"{PIPELINE}/cmd": (
        "controller",
        "webhook",
        "events",
        "resolvers",
        "entrypoint",
        "nop",
        "sidecarlogresults",
        "workingdirinit",
    ),
    f"{TRIGGERS}/cmd": ("controller", "webhook", "interceptors", "eventlistenersink"),
}
CONFIGS = ((PIPELINE, "config"), (TRIGGERS, "config"))
_SERVING = re.compile(r"serving on port (\d+)")


def make_logical_name(package: str) -> str:
    """ "github.com/tektoncd/triggers/cmd/controller" -> "tekton-triggers-controller"."""
    product = "pipelines" if package.startswith(PIPELINE) else "triggers"
    return f"tekton-{product}-{package.rsplit('/', 1)[-1]}"


def list_packages() -> list[str]:
    """The Go packages of all programs."""
    return [f"{path}/{program}" for path, names in PROGRAMS.items() for program in names]


NAMES = tuple(map(make_logical_name, list_packages()))


def list_layouts(folder: Path) -> dict[str, Path]:
    """Logical name -> OCI layout folder of each image below `folder`, where `build` puts it."""
    return {name: folder / "layouts" / name for name in NAMES}


def read_objects(folder: Path) -> list[Object]:
    """Tekton's objects, images by logical name, from the `folder` that `build` has filled. Raises FileNotFoundError."""
    loaded: list[Object] = json.loads((folder / "objects.json").read_bytes())
    return loaded


def build(
    shell: Shell,
    go: Go,
    clock: Clock,
    *,
    ko: Path,
    crane: Path,
    module: Path,
    bases: Mapping[str, Path],
    folder: Path,
    say: Callable[[str], None],
) -> None:
    """Fill `folder` with layouts/NAME and objects.json (Tekton's objects, images by logical name).

    module: the folder with Tekton's go.mod. bases: "static" and "git" -> OCI layout. Raises CommandError.
    """
    with serve_registry(shell, clock, crane) as registry:
        base = {name: _push(shell, crane, layout, f"{registry}/base/{name}:1") for name, layout in bases.items()}
        (folder / "ko.yaml").write_text(yaml.safe_dump(_make_ko_config(base)))
        environ = go.make_environment() | {
            "KO_DOCKER_REPO": registry,
            "KO_CONFIG_PATH": str(folder / "ko.yaml"),
            "PATH": f"{go.toolchain.go.parent}:{os.environ.get('PATH', '')}",
            "GOOS": "",  # ko sets both from --platform, and refuses to be told twice
            "GOARCH": "",
        }
        go.compile(module, list_packages(), say)
        texts = []
        for name, config in CONFIGS:
            source = go.find_module_folder(module, name) / config
            argv = [str(ko), "resolve", "-P", "-R", "--sbom=none", f"--platform=linux/{go.arch}", "-f", str(source)]
            texts.append(shell.run(argv, env=environ, cwd=module, limit=3600, on_line=_report_progress(say)).stdout)
        say("packing")
        resolved = [o for text in texts for o in yaml.load_all(text, Loader=yaml.CSafeLoader) if o]
        references: dict[str, str] = {}
        for one in resolved:
            _collect_references(one, registry, references)
        for name, reference in references.items():
            layout = folder / "layouts" / name
            shell.run([str(crane), "pull", "--format=oci", reference, str(layout)], limit=300)
            oci_layout.read_descriptor(layout)
    (folder / "objects.json").write_text(json.dumps([_replace_references(o, registry) for o in resolved]))
    missing = set(NAMES) - set(references)
    if missing:
        raise CommandError(f"ko resolved no image for {', '.join(sorted(missing))}", code=1)


def _make_ko_config(base: Mapping[str, str]) -> dict[str, Any]:
    return {
        "defaultBaseImage": base["static"],
        "baseImageOverrides": {f"{PIPELINE}/cmd/resolvers": base["git"]},
        "defaultEnv": ["CGO_ENABLED=0"],
        "defaultFlags": ["-trimpath"],
        "defaultLdflags": ["-s", "-w"],
    }


@contextmanager
def serve_registry(shell: Shell, clock: Clock, crane: Path) -> Iterator[str]:
    """Serve a registry in memory on loopback while the block runs; answers "127.0.0.1:PORT". Raises CommandError."""
    lines: list[str] = []
    argv = [str(crane), "registry", "serve", "--address=127.0.0.1:0"]
    with run_in_background(shell, argv, on_line=lines.append) as process:
        yield f"127.0.0.1:{_await_port(process, clock, lines)}"


def _await_port(process: Process, clock: Clock, lines: list[str]) -> str:
    def probe() -> Verdict:
        found = _SERVING.search("\n".join(lines))
        if found:
            return Ready(found[1])
        return Pending("starting") if process.is_alive() else Failed("it ended at once")

    verdict = wait.until(probe, clock=clock, limit=20, what="the build's registry", every=0.05)
    if isinstance(verdict, Failed):
        raise CommandError("crane could not serve a registry", code=1, evidence=process.read_tail())
    return verdict.why


def _push(shell: Shell, crane: Path, layout: Path, tag: str) -> str:
    """Push an image; answers its reference by digest."""
    return shell.run([str(crane), "push", str(layout), tag], limit=300).stdout.strip()


def _make_reference_pattern(registry: str) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(registry)}/([\w./-]+)@sha256:[0-9a-f]{{64}}")


def _collect_references(value: Any, registry: str, found: dict[str, str]) -> None:
    """Add logical name -> reference to `found`, from every string in `value`."""
    if isinstance(value, str):
        for match in _make_reference_pattern(registry).finditer(value):
            found[make_logical_name(match[1])] = match[0]
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _collect_references(item, registry, found)


def _replace_references(value: Any, registry: str) -> Any:
    """The same value with image references by logical name."""
    if isinstance(value, str):
        return _make_reference_pattern(registry).sub(lambda match: f"image.local/{make_logical_name(match[1])}", value)
    if isinstance(value, dict):
        return {key: _replace_references(item, registry) for key, item in value.items()}
    if isinstance(value, list):
        return [_replace_references(item, registry) for item in value]
    return value


def _report_progress(say: Callable[[str], None]) -> Callable[[str], None]:
    def line(text: str) -> None:
        found = re.search(r"(Building|Published) \S*?tektoncd/(\S+?)(?:@| for|$)", text)
        if found:
            say(f"{found[1].lower()} {found[2]}")

    return line
