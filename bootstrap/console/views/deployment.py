"""What is deployed, the rollout under way, and what was deployed before."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bootstrap.console.rollout import Rollout
from bootstrap.core.model import Object
from bootstrap.incluster import rollout as rollout_records
from bootstrap.objects.deployment_history import list_undone
from bootstrap.objects.readiness import at, condition, explain_pod
from bootstrap.objects.run_status import Run

Document = dict[str, Any]


def describe_deployment(rollout: Rollout, container: str, runs: Sequence[Run], version: Mapping[str, Any]) -> Document:
    """Describe what is deployed: "there", "name", "namespace", "image", "digest", "commit", "run", "since", "version",
    "ready", "wanted", "state" (serving, rolling, stuck, none), "why", "pods" and "history" (newest first; "how" and
    "by" as of `incluster.rollout.make_record`, "" for what was before it; "failed": whether it was undone at once;
    "kept": whether one can go back to it).

    container: of the Deployment's pods, whose image is the application's. runs: newest first; the commit of an image is
    that of the newest run that built it. version: what /version answers, {} if it does not. Without a Deployment there
    are only "there" (False), "pods" and "history".
    """
    deployment = rollout.deployment
    if deployment is None:
        return {"there": False, "history": [], "pods": []}
    built = find_builds(runs)
    image = read_image(deployment, container)
    history = _list_history(deployment, rollout.replica_sets, container, built)
    current = next((row for row in history if row["image"] == image), None)
    state, why = _judge_rollout(deployment, rollout.pods)
    return {
        "there": True,
        "name": str(at(deployment, "metadata", "name")),
        "namespace": str(at(deployment, "metadata", "namespace")),
        "image": image,
        "digest": image.partition("@")[2],
        "commit": built[image].commit if image in built else str(version.get("commit") or ""),
        "run": built[image].name if image in built else "",
        "since": current["since"] if current else "",
        "version": str(version.get("version") or ""),
        "answers": str(version.get("commit") or ""),
        "ready": int(at(deployment, "status", "readyReplicas") or 0),
        "updated": int(at(deployment, "status", "updatedReplicas") or 0),
        "wanted": _read_replicas(deployment),
        "state": state,
        "why": why,
        "pods": [_describe_pod(each, container) for each in _select_pods(deployment, rollout.pods)],
        "history": [row | {"current": row is current} for row in history],
    }


def _list_history(
    deployment: Object, sets: Iterable[Object], container: str, built: Mapping[str, Run]
) -> list[Document]:
    """What was recorded, and before that, or without records, what the ReplicaSets tell; newest first.

    The ReplicaSets alone do not tell it: Kubernetes uses one again, with its old time of creation, when a Deployment
    goes back to an image.
    """
    own = _select_replica_sets(deployment, sets)
    kept = {read_image(each, container) for each in own}
    records = list_rollouts(deployment)
    recorded = {each["image"] for each in records}
    first = _parse_time(records[-1]["when"]) if records else None
    rows = [
        _describe_image(each["image"], each["when"], built, each["how"], each["by"], failed=undone)
        for each, undone in zip(records, list_undone(records), strict=True)
    ]
    for each in own:
        created, image = str(at(each, "metadata", "creationTimestamp") or ""), read_image(each, container)
        if first is None or image not in recorded or _parse_time(created) < first:
            rows.append(_describe_image(image, created, built))
    rows.sort(key=lambda row: _parse_time(row["since"]), reverse=True)
    return [
        row | {"number": len(rows) - place, "kept": row["image"] in kept and not row["failed"]}
        for place, row in enumerate(rows)
    ]


def _parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text) if text else datetime.min.replace(tzinfo=UTC)


def list_rollouts(deployment: Object) -> list[dict[str, str]]:
    """The records of `incluster.rollout` with a time that can be read, newest first."""
    found = []
    for each in rollout_records.read_history(deployment):
        with contextlib.suppress(ValueError):
            if datetime.fromisoformat(each["when"]).tzinfo:
                found.append(each)
    return found


def find_builds(runs: Sequence[Run]) -> dict[str, Run]:
    """The newest run that built each image, by the image with its digest. runs: newest first."""
    return {run.image: run for run in reversed(runs) if run.image and run.builds}


def read_image(workload: Object, container: str) -> str:
    """The image of a container in the pod template of a Deployment or ReplicaSet; "" if there is none of that name."""
    containers = at(workload, "spec", "template", "spec", "containers") or []
    return next((str(each.get("image", "")) for each in containers if each.get("name") == container), "")


def _read_replicas(deployment: Object) -> int:
    replicas = at(deployment, "spec", "replicas")
    return 1 if replicas is None else int(replicas)


def _select_replica_sets(deployment: Object, sets: Iterable[Object]) -> list[Object]:
    uid = at(deployment, "metadata", "uid")
    return [
        each for each in sets if any(owner.get("uid") == uid for owner in at(each, "metadata", "ownerReferences") or ())
    ]


def _describe_image(
    image: str, since: str, built: Mapping[str, Run], how: str = "", by: str = "", *, failed: bool = False
) -> Document:
    run = built.get(image)
    return {
        "image": image,
        "digest": image.partition("@")[2].removeprefix("sha256:")[:12],
        "commit": run.commit if run else "",
        "run": run.name if run else "",
        "author": run.author if run else "",
        "since": since,
        "how": how,
        "by": by,
        "failed": failed,
    }


def _select_pods(deployment: Object, pods: Iterable[Object]) -> list[Object]:
    wanted = (at(deployment, "spec", "selector", "matchLabels") or {}).items()
    own = [each for each in pods if wanted <= (at(each, "metadata", "labels") or {}).items()]
    return sorted(own, key=lambda each: str(at(each, "metadata", "creationTimestamp") or ""))


def _describe_pod(pod: Object, container: str) -> Document:
    images = at(pod, "spec", "containers") or []
    image = next((str(each.get("image", "")) for each in images if each.get("name") == container), "")
    leaving = bool(at(pod, "metadata", "deletionTimestamp"))
    ready = condition(pod, "Ready").get("status") == "True"
    return {
        "name": str(at(pod, "metadata", "name")),
        "state": "leaving" if leaving else "ready" if ready else "starting",
        "why": "" if ready or leaving else explain_pod(pod),
        "digest": image.partition("@")[2].removeprefix("sha256:")[:12],
        "node": str(at(pod, "spec", "nodeName") or ""),
        "since": str(at(pod, "status", "startTime") or ""),
        "restarts": sum(int(each.get("restartCount") or 0) for each in at(pod, "status", "containerStatuses") or ()),
    }


def _judge_rollout(deployment: Object, pods: Iterable[Object]) -> tuple[str, str]:
    wanted, status = _read_replicas(deployment), at(deployment, "status") or {}
    seen = (status.get("observedGeneration") or 0) >= (at(deployment, "metadata", "generation") or 0)
    updated, available = int(status.get("updatedReplicas") or 0), int(status.get("availableReplicas") or 0)
    if seen and updated >= wanted and int(status.get("replicas") or 0) <= updated and available >= wanted:
        return "serving", ""
    causes = (
        explain_pod(each) for each in _select_pods(deployment, pods) if not at(each, "metadata", "deletionTimestamp")
    )
    why = next(filter(None, causes), "")
    if condition(deployment, "Progressing").get("reason") == "ProgressDeadlineExceeded":
        return "stuck", why
    return "rolling", why
