"""A Deployment and its pods, as the API gives them: what they say of a rollout, and the patches of one. Pure.

What counts as rolled out is what `kubectl rollout status` waits for (kubectl/pkg/polymorphichelpers/rollout_status.go).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from bootstrap.incluster.run_names import ARRIVAL

Object = dict[str, Any]
LAST_GOOD = "tekton-bootstrap.dev/last-good-image"
"""Annotation of the Deployment: CONTAINER=IMAGE that rolled out well last, which a failed rollout goes back to."""
HISTORY = "tekton-bootstrap.dev/rollouts"
"""Annotation of the Deployment, JSON, newest first: which image of which commit it was given when and how, by whom or
which run."""
RECORDS = 20
"""How many of these are kept."""
RUN, ROLLBACK, UNDO = "run", "rollback", "undo"
"""How a Deployment is given an image: by a run, by a person who goes back to it, or by a run whose own image failed."""
ARRIVAL_DIGITS = re.compile(r"[0-9]{1,30}")
"""Of a run's number in the order of their commits."""
ENDED_OVERDUE = "ProgressDeadlineExceeded"


def containers(deployment: Object) -> list[Object]:
    found: list[Object] = deployment["spec"]["template"]["spec"]["containers"]
    return found


def find_container(deployment: Object, name: str) -> int | None:
    """The index of the container; None if there is none of that name."""
    return next((at for at, each in enumerate(containers(deployment)) if each["name"] == name), None)


def image_of(deployment: Object, container: str) -> str:
    """The image of the container; "" if there is no such container."""
    at = find_container(deployment, container)
    return "" if at is None else str(containers(deployment)[at].get("image", ""))


def last_good(deployment: Object, container: str) -> str:
    """The image to go back to: the one that is noted for this container, else the one that it has now."""
    noted = str((deployment["metadata"].get("annotations") or {}).get(LAST_GOOD, ""))
    of, _, image = noted.partition("=")
    return image if of == container and image else image_of(deployment, container)


def condition(deployment: Object, kind: str) -> Mapping[str, str]:
    """The status condition of that type; {} if the Deployment does not have it."""
    conditions = deployment.get("status", {}).get("conditions") or []
    return next((each for each in conditions if each.get("type") == kind), {})


def is_observed(deployment: Object) -> bool:
    """Whether the status is about the newest specification."""
    return int(deployment.get("status", {}).get("observedGeneration", 0)) >= int(deployment["metadata"]["generation"])


def is_rolled_out(deployment: Object) -> bool:
    """Whether every wanted pod is of the newest specification and available, and no other is left."""
    status = deployment.get("status", {})
    wanted = int(deployment["spec"].get("replicas", 1))
    counts = {int(status.get(name, 0)) for name in ("updatedReplicas", "replicas", "availableReplicas")}
    return is_observed(deployment) and counts == {wanted}


def is_overdue(deployment: Object, stale: str) -> bool:
    """Whether the controller gave the rollout up. stale: `lastUpdateTime` of a failure that is an earlier rollout's."""
    progress = condition(deployment, "Progressing")
    given_up = progress.get("reason") == ENDED_OVERDUE and progress.get("lastUpdateTime", "") != stale
    return is_observed(deployment) and given_up


def describe_progress(deployment: Object) -> str:
    """ "1 of 3 pods updated, 0 available"."""
    status = deployment.get("status", {})
    if not is_observed(deployment):
        return "waiting for the Deployment's controller"
    wanted, updated = deployment["spec"].get("replicas", 1), status.get("updatedReplicas", 0)
    return f"{updated} of {wanted} pods updated, {status.get('availableReplicas', 0)} available"


def set_image(deployment: Object, container: str, image: str, instead_of: str = "") -> list[Object]:
    """A JSON patch (RFC 6902). instead_of: the image that the container must have; "" takes any."""
    at = find_container(deployment, container)
    path = f"/spec/template/spec/containers/{at}"
    tests = [{"op": "test", "path": f"{path}/name", "value": container}]
    if instead_of:
        tests.append({"op": "test", "path": f"{path}/image", "value": instead_of})
    return [*tests, {"op": "replace", "path": f"{path}/image", "value": image}]


def annotate(deployment: Object, annotations: Mapping[str, str]) -> list[Object]:
    """A JSON patch that sets these annotations; others stay."""
    if annotations and not deployment["metadata"].get("annotations"):
        return [{"op": "add", "path": "/metadata/annotations", "value": dict(annotations)}]
    return [{"op": "add", "path": _point_to(key), "value": value} for key, value in annotations.items()]


def _point_to(annotation: str) -> str:
    """The JSON pointer (RFC 6901) of an annotation."""
    return "/metadata/annotations/" + annotation.replace("~", "~0").replace("/", "~1")


def read_arrival(deployment: Object) -> int:
    """The number of the run that set the image last; -1 if none is noted, or what is noted is no number."""
    noted = str((deployment["metadata"].get("annotations") or {}).get(ARRIVAL, ""))
    return int(noted) if ARRIVAL_DIGITS.fullmatch(noted) else -1


def require_arrival(deployment: Object) -> list[Object]:
    """A JSON patch that changes nothing, and fails once another run's number is noted than there is now.

    That there is none is tested by null: so the API server takes it (evanphx/json-patch v4, `Patch.test`), as long as
    what the annotation would stand in is there.
    """
    annotations = deployment["metadata"].get("annotations")
    if not annotations:
        return [{"op": "test", "path": "/metadata/annotations", "value": None}]
    return [{"op": "test", "path": _point_to(ARRIVAL), "value": annotations.get(ARRIVAL)}]


def make_note(container: str, image: str) -> dict[str, str]:
    """The annotation that notes the image as the last good one of the container."""
    return {LAST_GOOD: f"{container}={image}"}


def make_record(
    deployment: Object, container: str, image: str, how: str, by: str = "", *, commit: str = "", run: str = ""
) -> dict[str, str]:
    """The annotation that records that the container is given this image now; {} if it has it already.

    how: RUN, ROLLBACK or UNDO. by: who did it; "" where the image tells, as it does of a run. commit: that the image
    was built from, "" if only an earlier record of the image can tell. run: that did it.
    """
    if image_of(deployment, container) == image:
        return {}
    earlier = read_history(deployment)
    commit = commit or next((each["commit"] for each in earlier if each["image"] == image and each["commit"]), "")
    when = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"when": when, "image": image, "how": how, "by": by, "commit": commit, "run": run}
    return {HISTORY: json.dumps([record, *earlier][:RECORDS])}


def read_history(deployment: Object) -> list[dict[str, str]]:
    """What was recorded by `make_record`, newest first; [] if there is nothing that can be read."""
    try:
        found = json.loads((deployment["metadata"].get("annotations") or {}).get(HISTORY, "[]"))
    except ValueError:
        return []
    records = found if isinstance(found, list) else []
    keys = ("when", "image", "how", "by", "commit", "run")
    return [{key: str(each.get(key, "")) for key in keys} for each in records if isinstance(each, dict)]


def note_good(deployment: Object, container: str, image: str) -> list[Object]:
    """A JSON patch that notes the image as the last good one, if the container still has it."""
    path = f"/spec/template/spec/containers/{find_container(deployment, container)}"
    return [
        {"op": "test", "path": f"{path}/name", "value": container},
        {"op": "test", "path": f"{path}/image", "value": image},
        *annotate(deployment, make_note(container, image)),
    ]


def describe_pod(pod: Object) -> Iterator[str]:
    """A line for each thing that keeps the pod from being ready."""
    name, status = pod["metadata"]["name"], pod.get("status", {})
    for each in status.get("conditions") or []:
        if each.get("type") == "PodScheduled" and each.get("status") == "False":
            yield f"{name}: {each.get('message', 'it is not scheduled')}"
    for each in status.get("containerStatuses") or []:
        if each.get("ready"):
            continue
        container, state = f"{name}/{each['name']}", each.get("state") or {}
        waiting = state.get("waiting")
        if waiting is not None:
            message = f" ({waiting['message']})" if waiting.get("message") else ""
            yield f"{container} waits: {waiting.get('reason', 'no reason is told')}{message}"
        if state.get("running") is not None:
            yield f"{container} runs, but is not ready"
        ended = state.get("terminated") or (each.get("lastState") or {}).get("terminated")
        if ended:
            yield f"{container} ended: {ended.get('reason', '')}, exit {ended.get('exitCode')}"
