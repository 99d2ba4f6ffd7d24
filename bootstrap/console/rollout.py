"""The target's Deployment, its ReplicaSets and its pods, kept in memory from the events of watches."""

from __future__ import annotations

from dataclasses import dataclass

from bootstrap.core.model import Object
from bootstrap.world.kube.watch import RESET, SYNCED


@dataclass(frozen=True)
class Rollout:
    """What the watch cache knows of the rollout. deployment: None if there is none.

    replica_sets and pods are all those of its namespace; `views.deployment` selects its own.
    """

    deployment: Object | None
    replica_sets: tuple[Object, ...]
    pods: tuple[Object, ...]


class ObjectCache:
    """Objects of one kind by name. One thread applies the events of a watch, any thread may read `by_name`."""

    def __init__(self) -> None:
        self.by_name: dict[str, Object] = {}
        self._fresh: dict[str, Object] | None = None

    def apply_event(self, event: str, document: Object) -> bool:
        """Apply an event of a watch (see world.kube.watch), and return whether `by_name` may have changed.

        Objects that follow a RESET are kept apart until SYNCED, and then replace all others.
        """
        if event == RESET:
            self._fresh = {}
        elif event == SYNCED:
            self.by_name, self._fresh = self._fresh or {}, None
        elif self._fresh is not None:
            _apply(self._fresh, event, document)
        else:
            changed = dict(self.by_name)  # another thread may go through the old one
            _apply(changed, event, document)
            self.by_name = changed
        return self._fresh is None


def _apply(known: dict[str, Object], event: str, document: Object) -> None:
    name = str(document["metadata"]["name"])
    if event == "DELETED":
        known.pop(name, None)
    else:
        document["metadata"].pop("managedFields", None)
        known[name] = document
