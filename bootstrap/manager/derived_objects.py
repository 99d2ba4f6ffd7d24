"""The objects that an Application becomes. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from bootstrap.incluster.applications import (
    ACCOUNT,
    API_VERSION,
    KIND,
    Application,
    Environment,
    make_parameters,
    make_run_prefix,
    make_target_name,
)
from bootstrap.incluster.branch_patterns import build_branch_regex
from bootstrap.incluster.json_object import Object
from bootstrap.incluster.path_patterns import build_path_regex
from bootstrap.incluster.repository_address import is_ssh
from bootstrap.incluster.run_names import APPLICATION, ENVIRONMENT, SHORT_COMMIT, normalize_url
from bootstrap.incluster.trigger_template import FILLED, LOGIN_SECRET, TEMPLATE

LABELS = {"app.kubernetes.io/managed-by": "tekton-bootstrap-manager"}
"""Not the label of what `up` applies: `down` on a cluster of the user leaves the namespaces of applications alone."""
ROLE = "tekton-bootstrap-deployer"
"""The ClusterRole with what a run may do in a namespace that it deploys to; the manager binds it, and no other."""
SAME_CLUSTER = "https://kubernetes.default.svc"
STARTER = "starter"
"""ServiceAccount of the listener's triggers."""
FROM_EVENT = {
    "commit": "$(extensions.event.commit)",
    "branch": "$(extensions.branch)",
    "run": "$(extensions.run)",
    "commit-label": "$(extensions.commit_label)",
    "branch-label": "$(extensions.branch_label)",
    "delivery": "$(extensions.delivery)",
}
"""What a run takes from its event: all that the listener's binding `event` gives, but for the address, for an event may
tell that of another protocol than the application's.
"""
SUFFIX_LENGTH = 8
FILE_LISTS = ("added", "modified", "removed")
"""Of a commit in the event of a push, at every git host."""
MOST_COMMITS, MOST_FILES = 2048, 300
"""From how many commits of an event on, and files of a commit, some may be left out. GitHub documents the first; the
other is where its comparisons end."""


def list_namespaces(application: Application) -> list[str]:
    """The namespaces that it deploys to, each once."""
    return [*dict.fromkeys(each.namespace for each in application.environments)]


def make_namespace(name: str) -> Object:
    """A namespace for deployments. Any image has to run in it, also one whose program is root."""
    labels = LABELS | {f"pod-security.kubernetes.io/{each}": "baseline" for each in ("enforce", "warn")}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def make_deployer(namespace: str) -> list[Object]:
    """Who runs are in a namespace that they deploy to."""
    metadata = {"name": ACCOUNT, "namespace": namespace, "labels": LABELS}
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata,
            "automountServiceAccountToken": False,
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ROLE},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
        },
    ]


def make_target_secret(
    application: Application, environment: Environment, token: str, ca: str, namespace: str
) -> Object:
    """The Secret in `namespace` with the kubeconfig for the environment's own. ca: of the API server, PEM in base64."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "target",
        "clusters": [{"name": "target", "cluster": {"server": SAME_CLUSTER, "certificate-authority-data": ca}}],
        "users": [{"name": "target", "user": {"token": token}}],
        "contexts": [
            {
                "name": "target",
                "context": {"cluster": "target", "user": "target", "namespace": environment.namespace},
            }
        ],
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": make_target_name(application, environment),
            "namespace": namespace,
            "labels": LABELS | {APPLICATION: application.name, ENVIRONMENT: environment.name},
            "ownerReferences": [make_owner(application)],
        },
        "type": "Opaque",
        "stringData": {"kubeconfig": json.dumps(document)},
    }


def make_triggers(application: Application, namespace: str) -> list[Object]:
    """The Trigger of each environment that pushes go to by themselves."""
    if not application.webhook:
        return []
    return [_make_trigger(application, each, namespace) for each in application.environments if each.branches]


def make_trigger_name(application: str, environment: str) -> str:
    """ "orders.staging"."""
    return f"{application}.{environment}"


def _make_trigger(application: Application, environment: Environment, namespace: str) -> Object:
    values = make_parameters(application, environment, "")
    given = {FILLED[key]: value for key, value in values.items() if key != "REVISION"}
    given |= {
        "application": application.name,
        "environment": environment.name,
        "target": make_target_name(application, environment),
        **({LOGIN_SECRET: application.login} if application.login else {}),
    }
    return {
        "apiVersion": "triggers.tekton.dev/v1beta1",
        "kind": "Trigger",
        "metadata": {
            "name": make_trigger_name(application.name, environment.name),
            "namespace": namespace,
            "labels": LABELS | {APPLICATION: application.name, ENVIRONMENT: environment.name},
            "ownerReferences": [make_owner(application)],
        },
        "spec": {
            "serviceAccountName": STARTER,
            "interceptors": [
                {
                    "name": "watched",
                    "ref": {"kind": "ClusterInterceptor", "name": "cel"},
                    "params": [
                        {"name": "filter", "value": _make_condition(application, environment.branches)},
                        {"name": "overlays", "value": [*_make_overlays(make_run_prefix(application, environment))]},
                    ],
                }
            ],
            "bindings": [{"name": key, "value": value} for key, value in (FROM_EVENT | given).items()],
            "template": {"ref": TEMPLATE},
        },
    }


def make_owner(application: Application) -> Object:
    """The ownerReference by which what is derived goes when the Application is deleted."""
    return {"apiVersion": API_VERSION, "kind": KIND, "name": application.name, "uid": application.uid}


def _make_condition(application: Application, branches: Sequence[str]) -> str:
    pattern = json.dumps(f"^refs/heads/(?:{build_branch_regex(branches)})$", ensure_ascii=False)
    address = json.dumps(normalize_url(application.url), ensure_ascii=False)
    key = "ssh_address" if is_ssh(application.url) else "address"
    meant = f"extensions.{key} == {address} && extensions.event.ref.matches({pattern})"
    return f"{meant} && {_make_paths_condition(application.paths)}" if application.paths else meant


def _make_paths_condition(paths: Sequence[str]) -> str:
    """True for a push that changes such a file, and for one that does not tell all files that it changes.

    What is told: GitHub lists at most 2048 commits, GitLab 20 and Gitea 15 or fewer, and both say how many there are,
    but for a Gitea before 1.15. None lists the commits that a forced push takes away; GitHub alone says that it was
    one. A commit without files is none that all hosts agree upon, so it counts as not told, as does one with very many.
    A merge is a push as well: its own event, which has no files, starts nothing.

    No part may fail where a field is missing or null: Triggers would drop the event.
    """
    pattern = json.dumps(f"^{build_path_regex(paths)}$", ensure_ascii=False)
    files = " + ".join(f"(has(c.{each}) && type(c.{each}) == list ? c.{each} : [])" for each in FILE_LISTS)
    told = " && ".join(
        (
            "has(body.before) && type(body.before) == string && !body.before.matches('^0*$')",
            "!(has(body.created) && body.created == true) && !(has(body.forced) && body.forced == true)",
            f"has(body.commits) && type(body.commits) == list && size(body.commits) < {MOST_COMMITS}",
            "size(body.commits) > 0",
            "(has(body.total_commits_count) ? int(body.total_commits_count) == size(body.commits)"
            " : has(body.total_commits) ? int(body.total_commits) == size(body.commits)"
            " : header.canonical('X-Gitea-Event') == '')",
            f"body.commits.all(c, size({files}) > 0 && (has(c.files_complete) ? c.files_complete == true"
            f" : size({files}) < {MOST_FILES}))",
        )
    )
    changes = f"body.commits.exists(c, ({files}).exists(f, f.matches({pattern})))"
    push = "(header.match('X-GitHub-Event', 'push') || header.match('X-Gitlab-Event', 'Push Hook'))"
    return f"{push} && (!({told}) || {changes})"


def _make_overlays(prefix: str) -> Iterator[Object]:
    """Of each event that passed; as those of the listener's own interceptor `watched`."""
    branch = "extensions.event.ref.substring(size('refs/heads/'))"
    label = f"{branch}.translate('[^A-Za-z0-9._-]+', '-').translate('^[-_.]+', '').truncate(63)"
    delivery = "extensions.delivery.lowerAscii().translate('[^a-z0-9]+', '')"
    yield {"key": "branch", "expression": branch}
    yield {"key": "branch_label", "expression": f"{label}.translate('[-_.]+$', '')"}
    yield {"key": "commit_label", "expression": "extensions.event.commit.truncate(63)"}
    yield {
        "key": "run",
        "expression": f"{json.dumps(prefix + '-')} + extensions.event.commit.truncate({SHORT_COMMIT})"
        f" + '-' + {delivery}.truncate({SUFFIX_LENGTH})",
    }
