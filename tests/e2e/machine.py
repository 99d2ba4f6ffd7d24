"""What may happen to an environment and to the engine in which it lives alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from bootstrap.core import constants
from bootstrap.steps.node_trust import KIND_LABEL
from bootstrap.world import host
from bootstrap.world.engine.dockerd import Dockerd
from tests.e2e import app
from tests.e2e.docker_client import inspect
from tests.e2e.product import Product


class Machine:
    """given: variables of the commands; no other environment may live in that engine."""

    def __init__(self, product: Product, name: str, given: Mapping[str, str]) -> None:
        self.name = name
        self.world = product.world(self.name, given)
        self._run = partial(product.run, name=self.name, env=given, limit=600)

    def run(self, verb: str, *words: str, code: int = 0) -> str:
        return self._run(verb, *words, code=code).text

    def steps(self, code: int) -> dict[str, str]:
        document = json.loads(self._run("status", "--json", code=code).last)
        return {step["name"]: step["verdict"] for step in document["steps"]}

    def version(self) -> str:
        base = json.loads(self._run("status", "--json").last)["endpoints"]["app"]
        return str(json.loads(app.ask(f"{base}/version"))["commit"])

    def starts(self) -> dict[str, str]:
        """Since when each container runs."""
        containers = self.world.engine.list_containers(label=f"{KIND_LABEL}={self.name}")
        known = [constants.registry_container(self.name), *(each.name for each in containers)]
        found = {each: inspect(self.world, "container", each) for each in known}
        return {each: document["State"]["StartedAt"] for each, document in found.items() if document}

    def kill_engine(self) -> None:
        """Its process alone, as the kernel does it that runs out of memory."""
        mark = str(self.world.paths.state / "engine/daemon.json")
        [pid] = [pid for pid, argv in host.list_processes() if Path(argv[0]).name == "dockerd" and mark in argv]
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 10
        while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
            time.sleep(0.1)

    def cut_power(self) -> None:
        """All that runs, and what a machine forgets when it starts anew: sockets, bridges, packet rules."""
        self.kill_engine()
        dockerd = Dockerd(self.world.shell, self.world.paths.state / "engine", self.world.paths.run)
        dockerd.kill_leftovers()
        dockerd.open_network().remove(self.world.shell)
        shutil.rmtree(self.world.paths.run)
