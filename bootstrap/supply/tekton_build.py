"""Tekton's images and YAML, built and resolved by ko from the release's own module.

ko wants a registry to push to and to take base images from: crane serves one on loopback while the
build runs, and each image is then kept as an OCI layout.
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
from bootstrap.world.shell import Process, Shell, running

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


def logical_name(package: str) -> str:
    """ "github.com/tektoncd/triggers/cmd/controller" -> "tekton-triggers-controller"."""
    product = "pipelines" if package.startswith(PIPELINE) else "triggers"
    return f"tekton-{product}-{package.rsplit('/', 1)[-1]}"


def packages() -> list[str]:
    """The Go packages of all programs."""
    return [f"{path}/{program}" for path, names in PROGRAMS.items() for program in names]


NAMES = tuple(map(logical_name, packages()))


def layouts(folder: Path) -> dict[str, Path]:
    return {name: folder / "layouts" / name for name in NAMES}


def objects(folder: Path) -> list[Object]:
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
    """Fill `folder` with layouts/NAME and objects.json (Tekton's objects, images by logical name)."""
    with served_registry(shell, clock, crane) as registry:
        base = {name: _push(shell, crane, layout, f"{registry}/base/{name}:1") for name, layout in bases.items()}
        (folder / "ko.yaml").write_text(yaml.safe_dump(_ko_config(base)))
        environ = go.environ() | {
            "KO_DOCKER_REPO": registry,
            "KO_CONFIG_PATH": str(folder / "ko.yaml"),
            "PATH": f"{go.toolchain.go.parent}:{os.environ.get('PATH', '')}",
            "GOOS": "",  # ko sets both from --platform, and refuses to be told twice
            "GOARCH": "",
        }
        go.compile(module, packages(), say)
        texts = []
        for name, config in CONFIGS:
            source = go.module_folder(module, name) / config
            argv = [str(ko), "resolve", "-P", "-R", "--sbom=none", f"--platform=linux/{go.arch}", "-f", str(source)]
            texts.append(shell.run(argv, env=environ, cwd=module, limit=3600, on_line=_progress(say)).stdout)
        say("packing")
        resolved = [o for text in texts for o in yaml.load_all(text, Loader=yaml.CSafeLoader) if o]
        references: dict[str, str] = {}
        for one in resolved:
            _collect(one, registry, references)
        for name, reference in references.items():
            layout = folder / "layouts" / name
            shell.run([str(crane), "pull", "--format=oci", reference, str(layout)], limit=300)
            oci_layout.manifest_of(layout)
    (folder / "objects.json").write_text(json.dumps([_logical(o, registry) for o in resolved]))
    missing = set(NAMES) - set(references)
    if missing:
        raise CommandError(f"ko resolved no image for {', '.join(sorted(missing))}", code=1)


def _ko_config(base: Mapping[str, str]) -> dict[str, Any]:
    return {
        "defaultBaseImage": base["static"],
        "baseImageOverrides": {f"{PIPELINE}/cmd/resolvers": base["git"]},
        "defaultEnv": ["CGO_ENABLED=0"],
        "defaultFlags": ["-trimpath"],
        "defaultLdflags": ["-s", "-w"],
    }


@contextmanager
def served_registry(shell: Shell, clock: Clock, crane: Path) -> Iterator[str]:
    """A registry in memory on loopback while the block runs; answers "127.0.0.1:PORT"."""
    lines: list[str] = []
    argv = [str(crane), "registry", "serve", "--address=127.0.0.1:0"]
    with running(shell, argv, on_line=lines.append) as process:
        yield f"127.0.0.1:{_port(process, clock, lines)}"


def _port(process: Process, clock: Clock, lines: list[str]) -> str:
    def probe() -> Verdict:
        found = _SERVING.search("\n".join(lines))
        if found:
            return Ready(found[1])
        return Pending("starting") if process.alive() else Failed("it ended at once")

    verdict = wait.until(probe, clock=clock, limit=20, what="the build's registry", every=0.05)
    if isinstance(verdict, Failed):
        raise CommandError("crane could not serve a registry", code=1, evidence=process.tail())
    return verdict.why


def _push(shell: Shell, crane: Path, layout: Path, tag: str) -> str:
    """Push; answers the reference by digest."""
    return shell.run([str(crane), "push", str(layout), tag], limit=300).stdout.strip()


def _reference(registry: str) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(registry)}/([\w./-]+)@sha256:[0-9a-f]{{64}}")


def _collect(value: Any, registry: str, found: dict[str, str]) -> None:
    """Gather logical name -> reference from every string below `value`."""
    if isinstance(value, str):
        for match in _reference(registry).finditer(value):
            found[logical_name(match[1])] = match[0]
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _collect(item, registry, found)


def _logical(value: Any, registry: str) -> Any:
    """The same value with image references by logical name."""
    if isinstance(value, str):
        return _reference(registry).sub(lambda match: f"image.local/{logical_name(match[1])}", value)
    if isinstance(value, dict):
        return {key: _logical(item, registry) for key, item in value.items()}
    if isinstance(value, list):
        return [_logical(item, registry) for item in value]
    return value


def _progress(say: Callable[[str], None]) -> Callable[[str], None]:
    def line(text: str) -> None:
        found = re.search(r"(Building|Published) \S*?tektoncd/(\S+?)(?:@| for|$)", text)
        if found:
            say(f"{found[1].lower()} {found[2]}")

    return line
