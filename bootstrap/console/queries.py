"""What the pages show besides what the feed holds: read when a page asks, through the product's own doors.

What most of it needs (every step of `up`, say) is loaded with the first question, for the first page has no need of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bootstrap.console.read_cache import Cache
from bootstrap.console.views.events import events
from bootstrap.console.views.resources import resources
from bootstrap.core import constants
from bootstrap.core.errors import BootstrapError
from bootstrap.core.model import Object, Secret
from bootstrap.incluster import poll_state
from bootstrap.objects import run_spec
from bootstrap.objects.readiness import at
from bootstrap.objects.run_status import Run
from bootstrap.settings.config import Config, secrets
from bootstrap.world import World

if TYPE_CHECKING:
    from bootstrap.steps.reconcile import Outcome

Document = dict[str, Any]
DELIVERIES = 50
AT_ONCE = 4
LOOK_SECONDS = 2.0
"""What was looked at is kept so long for further readers; what takes longer is kept three times as long as it took."""


class Sources:
    """look: checks every step of the environment. Every method raises BootstrapError; threads may share it.

    Nothing is masked here.
    """

    def __init__(self, world: World, look: Callable[[], Sequence[Outcome]]) -> None:
        self._world = world
        self._look = look
        self._cache = Cache(world.clock.now, LOOK_SECONDS)

    def secrets(self) -> list[Secret]:
        """All that is known to be one."""
        return [*secrets(self._world.config), *self._world.identity.passwords()]

    def steps(self, runs: Sequence[Run]) -> Document:
        """As `invoke status --json`, with "next" (command, why) and "read" (when it was looked at)."""
        from bootstrap.commands import status
        from bootstrap.console.next_command import advise

        outcomes, read = self._cache.get("steps", lambda: (self._look(), datetime.now(UTC)))
        advice = advise(outcomes, runs, flags(self._world.config))
        document = self._cache.get("describe", lambda: status.describe(self._world, outcomes))
        return document | {
            "next": {"command": advice.command, "why": advice.why},
            "read": read.isoformat(timespec="seconds"),
        }

    def doctor(self) -> list[Document]:
        """The findings that are no "ok": "level", "name", "what", "fix"."""
        from bootstrap.commands import machine_checks

        world = self._world

        def examine() -> list[Document]:
            found = machine_checks.examine(
                world.shell, world.engine, world.config, world.paths, cold=machine_checks.is_cold(world)
            )
            return [
                {"level": each.level, "name": each.name, "what": each.what, "fix": each.fix}
                for each in found
                if each.level != "ok"
            ]

        return self._cache.get("doctor", examine)

    def last_up(self) -> Document:
        from bootstrap.commands import up

        return up.last_up(self._world)

    def images(self) -> list[Document]:
        """ "name", "digest", "size" (a text), "aliases"."""
        locked = self._cache.get(
            "images", lambda: sorted(self._world.images.lock().images.values(), key=lambda i: i.name)
        )
        return [
            {"name": i.name, "digest": i.digest, "size": f"{i.size / 1e6:.1f} MB", "aliases": ", ".join(i.aliases)}
            for i in locked
        ]

    def resources(self) -> list[Document]:
        """See `views.resources`."""
        return self._cache.get("resources", self._resources)

    def _resources(self) -> list[Document]:
        kube = self._world.kube
        nodes = kube.list("v1", "Node")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            stats = dict(pool.map(self._stats, (str(each["metadata"]["name"]) for each in nodes)))
        return resources(nodes, kube.list("v1", "Pod"), stats)

    def _stats(self, node: str) -> tuple[str, Object]:
        try:
            return node, self._world.kube.node_summary(node)
        except BootstrapError:  # its kubelet does not answer, or we may not ask it
            return node, {}

    def deliveries(self) -> Document:
        """{"rows": [...] as of `invoke webhook --json`, "strangers": [texts]}, newest first."""

        from bootstrap.commands import webhook

        def read() -> Document:
            _, told, strangers = webhook.newest(self._world, DELIVERIES)
            return {"rows": [webhook.as_row(*each) for each in told], "strangers": list(strangers)}

        return self._cache.get("deliveries", read)

    def polls(self) -> Document:
        """{"minutes", "rows": [{"repository", "branches" (name -> commit), "why", "seen"}]}."""
        from bootstrap.steps import poller

        world = self._world
        kept = self._cache.get("polls", lambda: world.kube.get("v1", "ConfigMap", poller.STATE, constants.RUNS))
        data = at(kept, "data") or {}
        rows = []
        for url in poller.repositories(world.config):
            state, _ = poll_state.load(data.get(poll_state.key_of(url)))
            rows.append({"repository": url, "branches": dict(state.branches), "why": state.why, "seen": state.seen})
        return {"minutes": world.config.poll.minutes, "rows": rows}

    def doorbells(self) -> list[tuple[str, str]]:
        """(namespace, pod) of the interceptors, in whose log every delivery leaves a line."""
        from bootstrap.commands import webhook

        found = self._world.kube.list("v1", "Pod", constants.TEKTON, labels=webhook.INTERCEPTORS)
        return [(constants.TEKTON, str(each["metadata"]["name"])) for each in found]

    def events(self, run: Run) -> list[Document]:
        """Those of the run, its tasks and its pods, the newest last."""
        own = [run.name, *(task.task_run for task in run.tasks), *(task.pod for task in run.tasks)]
        found = self._cache.get("events", lambda: self._world.kube.list("v1", "Event", constants.RUNS))
        return events(found, own)

    def version(self) -> Document:
        """What /version of the deployed application answers, {} if it does not answer JSON."""
        target = self._world.config.target
        try:
            text = self._world.target.proxy_get(
                target.namespace, self._world.config.pipeline.deployment, 80, "/version"
            )
            answer = json.loads(text)
        except (BootstrapError, ValueError):
            return {}
        return answer if isinstance(answer, dict) else {"version": str(answer)}

    def parameters(self) -> list[Document]:
        """The pipeline's: "name", "about", "default", each with the value that a run would be given by the settings."""
        pipeline = self._world.kube.get("tekton.dev/v1", "Pipeline", constants.PIPELINE, constants.RUNS)
        config = self._world.config
        given = run_spec.parameters(config, run_spec.repository(config), config.git.revision)
        return [
            {
                "name": str(each["name"]),
                "about": str(each.get("description") or ""),
                "value": given.get(each["name"], str(each.get("default") or "")),
            }
            for each in at(pipeline, "spec", "params") or ()
        ]


def flags(config: Config) -> str:
    """What a command needs in order to mean this environment."""
    return f" --name {config.name}" if config.origin("name").startswith("--") else ""
