"""Images are unpacked while a node waits; what goes wrong with it costs time only."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from bootstrap.core.errors import CommandError
from bootstrap.steps.image_unpack import start_unpacking
from bootstrap.world.engine.protocol import Container
from tests.unit.step_world import PAUSE, TOOLBOX, Box, make

NODES = [Container("id", f"demo-worker{n}", "node", "running") for n in ("", "2")]


@pytest.mark.parametrize("error", [None, CommandError("docker exec failed", code=1)])
def test_every_image_on_every_node(tmp_path: Path, error: Exception | None) -> None:
    world, heard, all_heard = make(tmp_path), [], threading.Semaphore(0)

    def executed(box: Box, words: Sequence[str]) -> str:
        heard.append((box.name, words[-2:], words[-3]))
        all_heard.release()
        if error:
            raise error
        return ""

    world.engine.executed = executed
    for node in NODES:
        world.engine.add(Box(node.name, "node", {}, frozenset()))
    start_unpacking(world.open(), NODES)
    assert all(all_heard.acquire(timeout=10) for _ in NODES)
    for name, digests, zeroth in heard:
        assert name in {node.name for node in NODES}
        assert [*digests] == [PAUSE.digest, TOOLBOX.digest]
        assert zeroth == "sh", "it is $0; the digests come after it"
