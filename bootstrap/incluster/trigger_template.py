"""The TriggerTemplate that the Triggers of all applications share. Pure."""

from __future__ import annotations

from bootstrap.incluster.applications import DEFAULT_NOTIFY
from bootstrap.incluster.git_login import NO_LOGIN
from bootstrap.incluster.json_object import Object

TEMPLATE = "application"
FILLED = {
    "REPO": "repository",
    "REVISION": "commit",
    "IMAGE": "image",
    "NAMESPACE": "namespace",
    "NAME": "deployment",
    "CONTAINER": "container",
    "DOCKERFILE": "dockerfile",
    "CONTEXT": "context",
    "TARGET": "stage",
    "BUILD_ARGS": "build-args",
    "PORT": "port",
    "ROLLOUT_SECONDS": "rollout-seconds",
    "NOTIFY": "notify",
    "LOGIN": "login",
}
"""Parameter of the pipeline -> that of the TriggerTemplate."""
LOGIN_SECRET = "login-secret"  # noqa: S105  a name
"""Another one than `login`, for that is empty where there is none, and the name of a Secret cannot be."""


def make_trigger_template(run: Object, namespace: str, rollout_seconds: str) -> Object:
    """The TriggerTemplate that all of these Triggers share. run: one that `applications.fill_run` has prepared.

    rollout_seconds: the limit of a rollout where an application names none.
    """
    names = ["repository", "commit", "branch", "run", "commit-label", "branch-label", "delivery", "target"]
    names += [LOGIN_SECRET]
    names += [each for each in FILLED.values() if each not in names]
    names += ["application", "environment"]
    defaults = {
        "delivery": "",
        "rollout-seconds": rollout_seconds,
        "notify": DEFAULT_NOTIFY,
        "login": "",
        "stage": "",
        "build-args": "",
        LOGIN_SECRET: NO_LOGIN,
    }
    params = [{"name": each, **({"default": defaults[each]} if each in defaults else {})} for each in names]
    return {
        "apiVersion": "triggers.tekton.dev/v1beta1",
        "kind": "TriggerTemplate",
        "metadata": {"name": TEMPLATE, "namespace": namespace},
        "spec": {"params": params, "resourcetemplates": [run]},
    }
