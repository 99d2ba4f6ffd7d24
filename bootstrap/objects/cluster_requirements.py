"""Whether an existing cluster fits an environment: verdicts, each with a hint at what to change. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from bootstrap.core.model import Failed, Object, Ready, Verdict
from bootstrap.objects.readiness import at

KUBERNETES = (1, 31)
"""The oldest that Tekton's webhooks start on (knative.dev/pkg, version/version.go: defaultMinimumVersion)."""
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
CONTEXTS = "set-security-context"

RIGHTS = (
    ("create", "", "namespaces"),
    ("create", "", "secrets"),
    ("create", "", "persistentvolumeclaims"),
    ("create", "", "serviceaccounts/token"),
    ("create", "apps", "deployments"),
    ("create", "batch", "cronjobs"),
    ("create", "rbac.authorization.k8s.io", "clusterroles"),
    ("bind", "rbac.authorization.k8s.io", "clusterroles"),
    ("create", "rbac.authorization.k8s.io", "clusterrolebindings"),
    ("create", "apiextensions.k8s.io", "customresourcedefinitions"),
    ("create", "admissionregistration.k8s.io", "validatingwebhookconfigurations"),
)
"""Verb, group, resource: what `up` does everywhere in the cluster; each kind stands for those like it."""


def check_kubernetes(version: str) -> Verdict:
    """Whether that version of Kubernetes is new enough. version: as the API server answers it, "v1.33.1-eks-1234"."""
    found = _parse_version(version)
    if found[:2] >= KUBERNETES:
        return Ready()
    wanted = ".".join(map(str, KUBERNETES))
    return Failed(f"Kubernetes {version} is older than {wanted}, which Tekton needs", hint="another --context")


def check_rights(missing: Iterable[tuple[str, str, str]], context: str) -> Verdict:
    """Whether the user of the context may do what `up` does. missing: the entries of RIGHTS that they may not."""
    told = [f"{verb} {f'{resource}.{group}' if group else resource}" for verb, group, resource in missing]
    if not told:
        return Ready()
    return Failed(
        f"the user of {context} may not {', '.join(told)}", hint=f"kubectl --context {context} auth can-i --list"
    )


def list_openshift_rights() -> tuple[tuple[str, str, str], ...]:
    """The rights that `up` needs on OpenShift besides RIGHTS."""
    group = "security.openshift.io"
    return (("create", group, "securitycontextconstraints"), ("use", group, "securitycontextconstraints"))


def check_storage(classes: Iterable[Object]) -> Verdict:
    """Whether a StorageClass is the default, for our volumes name none. classes: every StorageClass of the cluster."""
    known = [*classes]
    if any((at(each, "metadata", "annotations") or {}).get(DEFAULT_CLASS) == "true" for each in known):
        return Ready()
    names = ", ".join(str(each["metadata"]["name"]) for each in known) or "none at all"
    hint = f"kubectl annotate storageclass NAME {DEFAULT_CLASS}=true"
    return Failed(f"no storage class is the default, and volumes name none (there is {names})", hint=hint)


def check_installed(wanted: Mapping[str, str], found: Mapping[str, str], flags: Mapping[str, str]) -> Verdict:
    """Whether a Tekton that was there before can be used as it is.

    wanted, found: "Pipelines" and "Triggers" -> version ("v1.9.0"), "" for one that is not there. The same major
    version, and the minor that this product is built for or a later one. flags: data of its ConfigMap feature-flags.
    """
    unfit = [
        name
        for name, version in wanted.items()
        if not _is_compatible(_parse_version(version), _parse_version(found.get(name, "")))
    ]
    if unfit:
        there = ", ".join(f"{name} {found.get(name) or 'missing'}" for name in wanted)
        needed = " and ".join(f"{name} {version} or later" for name, version in wanted.items())
        return Failed(
            f"this cluster has a Tekton that does not fit ({there}); needed: {needed}, of the same major version",
            hint="upgrade it, or use another cluster",
        )
    if flags.get(CONTEXTS) != "true":
        patch = f"""'{{"data":{{"{CONTEXTS}":"true"}}}}'"""
        return Failed(
            f"this cluster's Tekton has {CONTEXTS} off: its pods may not run in namespaces that enforce `restricted`",
            hint=f"kubectl patch configmap feature-flags -n tekton-pipelines --type merge -p {patch}",
        )
    return Ready()


def refuse_older(found: Mapping[str, str], wanted: Mapping[str, str]) -> Failed | None:
    """Why the installed Tekton cannot be replaced by the wanted one, which is older; None if it can.

    found, wanted: as in `check_installed`. Releases of one minor version store the same kinds, so they may go either
    way.
    """
    older = [name for name in wanted if _parse_version(wanted[name]) < _parse_version(found.get(name, ""))]
    if not older:
        return None
    told = ", ".join(f"{name} {found[name]} runs here and {wanted[name]} is wanted" for name in older)
    return Failed(
        f"{told}: an older one may not read what a newer one has stored",
        hint="a checkout with the newer version in images/tekton/go.mod, or invoke down, then invoke up",
    )


def _is_compatible(wanted: tuple[int, ...], found: tuple[int, ...]) -> bool:
    """Whether the major version is the wanted one, and the minor one not older."""
    return found[:1] == wanted[:1] and found[:2] >= wanted[:2]


def _parse_version(version: str) -> tuple[int, ...]:
    """(major, minor); () for a text that is no version."""
    match = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else ()
