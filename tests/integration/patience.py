"""Waits for what an API server itself only hears of by a watch: kinds that are new, rights that were given."""

from __future__ import annotations

from collections.abc import Iterable

from bootstrap.core.clock import SystemClock
from bootstrap.core.errors import ApiError
from bootstrap.core.model import Object, Pending, Ready, Verdict
from bootstrap.core.wait import until
from bootstrap.world.kube.client import Kube

LIMIT = 30.0


def await_kind(kube: Kube, api_version: str, kind: str) -> None:
    """A CRD is established some milliseconds before its versions are listed."""

    def listed() -> Verdict:
        try:
            kube._kinds.find(api_version, kind)
        except ApiError as error:
            return Pending(error.message)
        return Ready()

    until(listed, clock=SystemClock(), limit=LIMIT, every=0.05, what=f"the kind {kind} of {api_version}")


def await_rights(kube: Kube, namespace: str, account: str, objects: Iterable[Object]) -> None:
    """What the Role among `objects` gives is granted a moment after it was applied."""
    [rule] = [each["rules"][0] for each in objects if each["kind"] == "Role"]
    attributes = {
        "namespace": namespace,
        "verb": rule["verbs"][0],
        "group": rule["apiGroups"][0],
        "resource": rule["resources"][0],
        "name": rule.get("resourceNames", [""])[0],
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": {"user": f"system:serviceaccount:{namespace}:{account}", "resourceAttributes": attributes},
    }

    def granted() -> Verdict:
        return Ready() if kube.create(review)["status"]["allowed"] else Pending("not granted yet")

    until(granted, clock=SystemClock(), limit=LIMIT, every=0.05, what=f"the rights of {account}")
