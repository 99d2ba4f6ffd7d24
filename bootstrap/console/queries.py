"""What the pages show besides the content of the watch cache. It is read when a page asks for it.

Modules that only one query needs (every step of `up`, for example) are imported by that query: the first page is shown
without them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bootstrap.console.read_cache import ReadCache
from bootstrap.console.views.events import list_events
from bootstrap.console.views.resources import sum_resources
from bootstrap.core import constants
from bootstrap.core.errors import BootstrapError
from bootstrap.core.model import Object, Secret
from bootstrap.incluster import poll_state
from bootstrap.objects import run_spec
from bootstrap.objects.readiness import at
from bootstrap.objects.run_status import Run
from bootstrap.settings import config as settings
from bootstrap.settings.config import Config
from bootstrap.world import World

if TYPE_CHECKING:
    from bootstrap.steps.reconcile import Outcome

Document = dict[str, Any]
DELIVERIES = 50
"""How many of the newest webhook deliveries are listed."""
AT_ONCE = 4
"""Nodes whose kubelets are asked at the same time."""
LOOK_SECONDS = 2.0
"""How long an answer is kept for further readers. What takes long to read is kept longer, see `read_cache`."""


class Queries:
    """Reads from the cluster, the environment's folder and the engine. Every method blocks, and raises BootstrapError.

    check_steps: looks at every step of the environment. The answers are not masked. Threads may share it.
    """

    def __init__(self, world: World, check_steps: Callable[[], Sequence[Outcome]]) -> None:
        self._world = world
        self._check_steps = check_steps
        self._cache = ReadCache(world.clock.now, LOOK_SECONDS)

    def list_secrets(self) -> list[Secret]:
        """All secrets that are known: those of the settings and the generated passwords."""
        return [*settings.list_secrets(self._world.config), *self._world.identity.list_passwords()]

    def check_steps(self, runs: Sequence[Run]) -> Document:
        """The document of `invoke status --json`, with "next" ({"command", "why"}, see `next_command`) and "read" (ISO
        8601, when the steps were checked). runs: newest first."""
        from bootstrap.commands import status
        from bootstrap.console.next_command import choose_next_command

        outcomes, read = self._cache.get("steps", lambda: (self._check_steps(), datetime.now(UTC)))
        advice = choose_next_command(outcomes, runs, format_flags(self._world.config))
        document = self._cache.get("describe", lambda: status.make_document(self._world, outcomes))
        return document | {
            "next": {"command": advice.command, "why": advice.why},
            "read": read.isoformat(timespec="seconds"),
        }

    def examine_machine(self) -> list[Document]:
        """What `invoke doctor` warns of on this machine: "level" (warn or fail), "name", "what", "fix"."""
        from bootstrap.commands import machine_checks

        world = self._world

        def examine() -> list[Document]:
            findings = machine_checks.examine(
                world.shell, world.engine, world.config, world.paths, cold=machine_checks.is_cold(world)
            )
            return [
                {"level": each.level, "name": each.name, "what": each.what, "fix": each.fix}
                for each in findings
                if each.level != "ok"
            ]

        return self._cache.get("doctor", examine)

    def read_last_up(self) -> Document:
        """The record of the last `up` that changed something, {} if there is none; see `views.timeline`."""
        from bootstrap.commands import up

        return up.read_last_up(self._world)

    def list_images(self) -> list[Document]:
        """Images of the environment by name: "name", "digest", "size" ("12.3 MB"), "aliases" (separated by commas)."""
        locked = self._cache.get(
            "images", lambda: sorted(self._world.images.read_lock().images.values(), key=lambda i: i.name)
        )
        return [
            {"name": i.name, "digest": i.digest, "size": f"{i.size / 1e6:.1f} MB", "aliases": ", ".join(i.aliases)}
            for i in locked
        ]

    def measure_resources(self) -> list[Document]:
        """What the nodes have of CPU and memory and what is used, as `views.resources.sum_resources` returns it."""
        return self._cache.get("resources", self._measure_resources)

    def _measure_resources(self) -> list[Document]:
        kube = self._world.kube
        nodes = kube.list("v1", "Node")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            stats = dict(pool.map(self._read_stats, (str(each["metadata"]["name"]) for each in nodes)))
        return sum_resources(nodes, kube.list("v1", "Pod"), stats)

    def _read_stats(self, node: str) -> tuple[str, Object]:
        try:
            return node, self._world.kube.read_node_summary(node)
        except BootstrapError:  # its kubelet does not answer, or we may not ask it
            return node, {}

    def list_deliveries(self) -> Document:
        """The newest webhook deliveries: {"rows": as `invoke webhook --json` has them, "strangers": log lines of
        requests without a delivery id}, both newest first."""
        from bootstrap.commands import webhook

        def read() -> Document:
            _, told, strangers = webhook.list_newest(self._world, DELIVERIES)
            return {"rows": [webhook.make_row(*each) for each in told], "strangers": list(strangers)}

        return self._cache.get("deliveries", read)

    def list_polls(self) -> Document:
        """The state of polling: {"minutes": between two polls, 0 for none, "rows": one per repository with
        "repository", "branches" (name -> commit), "why" (the last error, or "") and "seen" (whether it ever
        answered)}."""
        from bootstrap.steps import poller

        world = self._world
        kept = self._cache.get("polls", lambda: world.kube.get("v1", "ConfigMap", poller.STATE, constants.RUNS))
        data = at(kept, "data") or {}
        rows = []
        for url in poller.list_repositories(world.config):
            state, _ = poll_state.load_state(data.get(poll_state.make_key(url)))
            rows.append({"repository": url, "branches": dict(state.branches), "why": state.why, "seen": state.seen})
        return {"minutes": world.config.poll.minutes, "rows": rows}

    def list_interceptors(self) -> list[tuple[str, str]]:
        """(namespace, name) of the interceptors' pods, in whose logs every webhook delivery leaves a line."""
        from bootstrap.commands import webhook

        pods = self._world.kube.list("v1", "Pod", constants.TEKTON, labels=webhook.INTERCEPTORS)
        return [(constants.TEKTON, str(pod["metadata"]["name"])) for pod in pods]

    def list_events(self, run: Run) -> list[Document]:
        """Kubernetes events of the run, its TaskRuns and its pods; see `views.events`."""
        own = {run.name: ""}
        for task in run.tasks:
            own |= {name: task.name for name in (task.task_run, task.pod) if name}
        all_events = self._cache.get("events", lambda: self._world.kube.list("v1", "Event", constants.RUNS))
        return list_events(all_events, own)

    def read_version(self) -> Document:
        """What /version of the deployed application answers; {} if it does not answer with JSON. Raises nothing."""
        target = self._world.config.target
        try:
            text = self._world.target.get_from_service(
                target.namespace, self._world.config.pipeline.deployment, 80, "/version"
            )
            answer = json.loads(text)
        except (BootstrapError, ValueError):
            return {}
        return answer if isinstance(answer, dict) else {"version": str(answer)}

    def list_parameters(self) -> list[Document]:
        """Parameters of the pipeline: "name", "about" (its description), and "value", which the settings would give a
        run."""
        pipeline = self._world.kube.get("tekton.dev/v1", "Pipeline", constants.PIPELINE, constants.RUNS)
        config = self._world.config
        given = run_spec.make_parameters(config, run_spec.get_repository(config), config.git.revision)
        return [
            {
                "name": str(each["name"]),
                "about": str(each.get("description") or ""),
                "value": given.get(each["name"], str(each.get("default") or "")),
            }
            for each in at(pipeline, "spec", "params") or ()
        ]


def format_flags(config: Config) -> str:
    """The flags with which a command means this environment: " --name NAME" if the console was given one, else ""."""
    return f" --name {config.name}" if config.origin("name").startswith("--") else ""
