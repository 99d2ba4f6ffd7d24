"""What is known of the target's Deployment, its ReplicaSets and its pods. Only memory: the feed brings the events."""

from __future__ import annotations

from dataclasses import dataclass

from bootstrap.core.model import Object
from bootstrap.world.kube.watch import RESET, SYNCED


@dataclass(frozen=True)
class Rollout:
    """The objects of the target's Deployment. deployment: None when there is none."""

    deployment: Object | None
    replica_sets: tuple[Object, ...]
    pods: tuple[Object, ...]


class Objects:
    """Those of one kind by name, as the events of a watch tell. One thread takes, any may read."""

    def __init__(self) -> None:
        self.by_name: dict[str, Object] = {}
        self._fresh: dict[str, Object] | None = None

    def take(self, event: str, each: Object) -> bool:
        """Whether there is something new to see: what comes after a RESET counts once it is SYNCED."""
        if event == RESET:
            self._fresh = {}
        elif event == SYNCED:
            self.by_name, self._fresh = self._fresh or {}, None
        elif self._fresh is not None:
            _change(self._fresh, event, each)
        else:
            changed = dict(self.by_name)  # another thread may go through the old one
            _change(changed, event, each)
            self.by_name = changed
        return self._fresh is None


def _change(known: dict[str, Object], event: str, each: Object) -> None:
    name = str(each["metadata"]["name"])
    if event == "DELETED":
        known.pop(name, None)
    else:
        each["metadata"].pop("managedFields", None)
        known[name] = each
