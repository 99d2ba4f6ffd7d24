"""What OpenShift requires of our objects: each pod is admitted by a SecurityContextConstraints. Pure.

`restricted-v2`, which every account may use, takes only user ids of the namespace's own range. Ours are fixed: images,
volumes and the pods of one run agree on them. So our accounts may use `nonroot-v2`, which OpenShift brings along and
which differs in the user id alone; BuildKit's gets one of its own; and a pod without an account of ours, the
application's, leaves its ids to OpenShift.
Source: OpenShift's documentation, "Managing security context constraints"; docs/openshift.md says what was tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from bootstrap.core import constants
from bootstrap.core.model import Object
from bootstrap.objects.manifests import get_pod_spec

SECURITY = "security.openshift.io/v1"
"""The group version by which such a cluster is known."""
RBAC = "rbac.authorization.k8s.io/v1"
NONROOT = "system:openshift:scc:nonroot-v2"
"""OpenShift keeps a ClusterRole of that name for each of its own constraints."""
BUILDER = ("buildkitd", constants.BUILD)
"""Account and namespace that need more than that."""
SCC = "tekton-bootstrap-buildkit"
IDS = ("runAsUser", "runAsGroup", "fsGroup", "supplementalGroups")
FIXED_ID = 1000
"""BuildKit's user, as in images/buildkit and in the id maps there."""


def adapt(objects: Iterable[Object]) -> list[Object]:
    """The objects, changed in place, each account followed by the objects that let OpenShift admit its pods."""
    found: list[Object] = []
    for each in objects:
        pod = get_pod_spec(each)
        if pod is not None and not pod.get("serviceAccountName"):
            _remove_ids(pod)
        found.append(each)
        found += _make_admission(each)
    return found


def _remove_ids(pod: Any) -> None:
    for holder in (pod, *pod.get("initContainers", ()), *pod["containers"]):
        context = holder.get("securityContext") or {}
        for key in IDS:
            context.pop(key, None)


def _make_admission(obj: Object) -> Iterator[Object]:
    """The objects that let OpenShift admit an account's pods; none for other kinds."""
    if obj["kind"] != "ServiceAccount":
        return
    account, namespace = obj["metadata"]["name"], obj["metadata"]["namespace"]
    if (account, namespace) != BUILDER:
        yield _make_binding(account, namespace, NONROOT)
        return
    yield make_builder_constraints()
    yield {
        "apiVersion": RBAC,
        "kind": "ClusterRole",
        "metadata": {"name": SCC},
        "rules": [
            {
                "apiGroups": ["security.openshift.io"],
                "resources": ["securitycontextconstraints"],
                "resourceNames": [SCC],
                "verbs": ["use"],
            }
        ],
    }
    yield _make_binding(account, namespace, SCC)


def _make_binding(account: str, namespace: str, role: str) -> Object:
    return {
        "apiVersion": RBAC,
        "kind": "RoleBinding",
        "metadata": {"name": f"{account}-scc", "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }


def make_builder_constraints() -> Object:
    """The SecurityContextConstraints of rootless BuildKit.

    One fixed user, two capabilities for the programs that map its ids, no seccomp filter. No root, nothing of the host.
    container_engine_t is the SELinux type that may mount within a user namespace of its own.
    """
    return {
        "apiVersion": SECURITY,
        "kind": "SecurityContextConstraints",
        "metadata": {"name": SCC},
        "allowHostDirVolumePlugin": False,
        "allowHostIPC": False,
        "allowHostNetwork": False,
        "allowHostPID": False,
        "allowHostPorts": False,
        "allowPrivilegedContainer": False,
        "allowPrivilegeEscalation": True,
        "allowedCapabilities": ["SETUID", "SETGID"],
        "defaultAddCapabilities": None,
        "requiredDropCapabilities": None,
        "readOnlyRootFilesystem": True,
        "runAsUser": {"type": "MustRunAs", "uid": FIXED_ID},
        "fsGroup": {"type": "MustRunAs", "ranges": [{"min": FIXED_ID, "max": FIXED_ID}]},
        "supplementalGroups": {"type": "RunAsAny"},
        "seLinuxContext": {"type": "MustRunAs", "seLinuxOptions": {"type": "container_engine_t"}},
        "seccompProfiles": ["unconfined"],
        "users": [],
        "groups": [],
        "volumes": ["configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"],
    }
