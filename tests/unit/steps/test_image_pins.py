"""What a new node holds is pinned by containerd's label, whatever has the label already is passed over."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from bootstrap.core.errors import CommandError
from bootstrap.steps.image_pins import PIN, pin_images
from bootstrap.world.engine.protocol import Container
from tests.unit.step_world import Box, make

NODES = [Container("id", name, "node", "running") for name in ("demo-control-plane", "demo-worker")]
CTR = """\
#!/bin/sh
echo "$*" >> {log}
case "$*" in *list*) printf '%s\\n' a.test/one:1 sha256:ab ;; esac
"""


def test_every_node_is_told(tmp_path: Path) -> None:
    world, heard = make(tmp_path), []

    def executed(box: Box, words: Sequence[str]) -> str:
        heard.append((box.name, *words))
        return ""

    world.engine.executed = executed
    for node in NODES:
        world.engine.add(Box(node.name, "node", {}, frozenset()))
    pin_images(world.open(), NODES)
    assert sorted(heard) == [(node.name, "sh", "-c", PIN) for node in NODES]


def test_a_node_that_cannot_be_told_is_not_passed_over(tmp_path: Path) -> None:
    world = make(tmp_path)

    def executed(box: Box, words: Sequence[str]) -> str:
        raise CommandError("docker exec failed", code=1)

    world.engine.executed = executed
    world.engine.add(Box(NODES[0].name, "node", {}, frozenset()))
    with pytest.raises(CommandError):
        pin_images(world.open(), NODES[:1])


def test_what_a_node_does(tmp_path: Path) -> None:
    program, log = tmp_path / "ctr", tmp_path / "log"
    program.write_text(CTR.format(log=log))
    program.chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["/bin/sh", "-c", PIN], env=environ, check=True)
    label = "io.cri-containerd.pinned"
    assert log.read_text().splitlines() == [
        f'--namespace=k8s.io images list --quiet labels."{label}"!=pinned',
        f"--namespace=k8s.io images label a.test/one:1 {label}=pinned",
        f"--namespace=k8s.io images label sha256:ab {label}=pinned",
    ]
