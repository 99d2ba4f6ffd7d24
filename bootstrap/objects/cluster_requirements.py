"""Whether a cluster that somebody else made can carry an environment: judgements, each with its way out."""

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


def kubernetes(version: str) -> Verdict:
    """version: as the API server says it, "v1.36.3" or "v1.33.1-eks-1234"."""
    found = _numbers(version)
    if found[:2] >= KUBERNETES:
        return Ready()
    wanted = ".".join(map(str, KUBERNETES))
    return Failed(f"Kubernetes {version} is older than {wanted}, which Tekton needs", hint="another --context")


def rights(missing: Iterable[tuple[str, str, str]], context: str) -> Verdict:
    """missing: those of RIGHTS that the user of the context has not."""
    told = [f"{verb} {f'{resource}.{group}' if group else resource}" for verb, group, resource in missing]
    if not told:
        return Ready()
    return Failed(
        f"the user of {context} may not {', '.join(told)}", hint=f"kubectl --context {context} auth can-i --list"
    )


def on_openshift() -> tuple[tuple[str, str, str], ...]:
    """Further rights that `up` needs where the cluster is OpenShift."""
    group = "security.openshift.io"
    return (("create", group, "securitycontextconstraints"), ("use", group, "securitycontextconstraints"))


def storage(classes: Iterable[Object]) -> Verdict:
    """classes: every StorageClass."""
    known = [*classes]
    if any((at(each, "metadata", "annotations") or {}).get(DEFAULT_CLASS) == "true" for each in known):
        return Ready()
    names = ", ".join(str(each["metadata"]["name"]) for each in known) or "none at all"
    hint = f"kubectl annotate storageclass NAME {DEFAULT_CLASS}=true"
    return Failed(f"no storage class is the default, and volumes name none (there is {names})", hint=hint)


def installed(wanted: Mapping[str, str], found: Mapping[str, str], flags: Mapping[str, str]) -> Verdict:
    """Whether a Tekton that was there before can be used as it is.

    wanted, found: "Pipelines" and "Triggers" -> version ("v1.9.0"), "" for one that is not there. The same major
    version, and the minor that this product is built for or a later one. flags: data of its ConfigMap feature-flags.
    """
    unfit = [name for name, version in wanted.items() if not _fits(_numbers(version), _numbers(found.get(name, "")))]
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


def not_older(found: Mapping[str, str], wanted: Mapping[str, str]) -> Failed | None:
    """Why the Tekton of ours that runs cannot be replaced by the wanted one, which is older; None if it can.

    found, wanted: as in `installed`. Releases of one minor version hold the same kinds, so these may go either way.
    """
    older = [name for name in wanted if _numbers(wanted[name]) < _numbers(found.get(name, ""))]
    if not older:
        return None
    told = ", ".join(f"{name} {found[name]} runs here and {wanted[name]} is wanted" for name in older)
    return Failed(
        f"{told}: an older one may not read what a newer one has stored",
        hint="a checkout with the newer version in images/tekton/go.mod, or invoke down, then invoke up",
    )


def _fits(wanted: tuple[int, ...], found: tuple[int, ...]) -> bool:
    return found[:1] == wanted[:1] and found[:2] >= wanted[:2]


def _numbers(version: str) -> tuple[int, ...]:
    """() for what is no version."""
    match = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else ()
