"""The docker client, for what tests do to containers and no command of ours does."""

from __future__ import annotations

import json
import shutil
from typing import IO, Any

from bootstrap.world import World
from bootstrap.world.engine import messages
from bootstrap.world.shell import Output


def docker(
    world: World, *words: str, stdin: str | bytes | IO[bytes] | None = None, limit: float = 60, check: bool = True
) -> Output:
    """Run `docker WORD...` against the engine of `world`. Raises as `Shell.run`."""
    environ = world.engine.make_environ()
    program = shutil.which("docker", path=environ.get("PATH")) or "docker"
    return world.shell.run([program, *words], env=environ, stdin=stdin, limit=limit, check=check)


def inspect(world: World, kind: str, name: str) -> dict[str, Any] | None:
    """Docker's document of a "container", "network" or "volume"; None if there is no such thing."""
    output = docker(world, "inspect", f"--type={kind}", name, check=False)
    if output.code:
        assert messages.is_absent(output.stderr), output.stderr
        return None
    [found] = json.loads(output.stdout)
    return dict(found)
