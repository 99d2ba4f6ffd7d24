"""The right of the manager to read one Secret: the login of a repository, which an Application names. Pure.

No name of one is known beforehand, and no rule of RBAC means "those that are logins". So each has a Role of its own,
which `up` and `app-add` apply: what is not named there the manager cannot get.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bootstrap.core import constants
from bootstrap.core.model import Object
from bootstrap.objects.readiness import at

MANAGER = "manager"
"""Its ServiceAccount."""
RBAC = "rbac.authorization.k8s.io"


def list_logins(applications: Iterable[Mapping[str, Any]]) -> list[str]:
    """The Secrets that Applications name as their logins, each once, sorted."""
    found = {at(each, "spec", "repository", "login") for each in applications}
    return sorted(each for each in found if isinstance(each, str) and each)


def make_login_grant(secret: str) -> list[Object]:
    """Role and RoleBinding by which the manager may get that Secret."""
    metadata = {"name": f"git-login.{secret}", "namespace": constants.RUNS}
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [secret], "verbs": ["get"]}
    return [
        {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": {**metadata}, "rules": [rule]},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": {**metadata},
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": metadata["name"]},
            "subjects": [{"kind": "ServiceAccount", "name": MANAGER, "namespace": constants.RUNS}],
        },
    ]
