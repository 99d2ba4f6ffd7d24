"""The docker client, for what tests do to containers and no command of ours does."""

from __future__ import annotations

import shutil
from typing import IO

from bootstrap.world import World
from bootstrap.world.shell import Output


def docker(
    world: World, *words: str, stdin: str | bytes | IO[bytes] | None = None, limit: float = 60, check: bool = True
) -> Output:
    """Run `docker WORD...` against the engine of `world`. Raises as `Shell.run`."""
    environ = world.engine.environ()
    program = shutil.which("docker", path=environ.get("PATH")) or "docker"
    return world.shell.run([program, *words], env=environ, stdin=stdin, limit=limit, check=check)
