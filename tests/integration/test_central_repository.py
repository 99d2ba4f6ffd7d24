"""The central repository, a real git host and a real API server, by the manager's own account."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.core.clock import SystemClock
from bootstrap.core.model import Pending, Ready
from bootstrap.core.paths import PROJECT
from bootstrap.core.wait import until
from bootstrap.incluster.application_source import APPLIED, REFUSED, STATE, UNFINISHED, Source
from bootstrap.incluster.applications import API_VERSION, KIND
from bootstrap.incluster.kube_api import ApiFailure
from bootstrap.manager.cluster import Cluster
from bootstrap.manager.repositories import Repositories
from bootstrap.manager.repository_watch import RepositoryWatch
from bootstrap.world.kube.client import Kube
from tests.central_repository import declare, push
from tests.git_host import Bare, GitHost, git_host
from tests.integration.agent_door import agent_door
from tests.integration.control_plane import ControlPlane
from tests.integration.patience import await_kind

pytestmark = pytest.mark.integration
CRD = PROJECT / "manifests/manager/application-crd.yaml"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GitHost]:
    with git_host(tmp_path / "git") as running:
        yield running


class Watch:
    """A watch of the repository `platform`, which looks whenever it is asked to."""

    def __init__(self, kube: Kube, cluster: Cluster, host: GitHost, namespace: str) -> None:
        self.kube, self._cluster, self.namespace = kube, cluster, namespace
        self.bare = Bare(host.folder / "platform.git")
        self._source = Source(host.url("platform"), "main", "apps")
        self._now = 0.0
        self.restart()

    def restart(self) -> None:
        reader = Repositories({"PATH": os.environ["PATH"]}, self._cluster.read_login)
        self._watch = RepositoryWatch(
            self._cluster, reader, self._source, self.namespace, "registry:5000", lambda: self._now
        )

    def look(self) -> dict[str, str]:
        """What the ConfigMap says after a look."""
        self._now += 1000
        self._watch.look()
        found = self.kube.get("v1", "ConfigMap", STATE, self.namespace)
        return dict((found or {})["data"])

    @property
    def applications(self) -> dict[str, Any]:
        """Name -> what is set of its port and owner."""
        found = self.kube.list(API_VERSION, KIND, self.namespace)
        return {
            str(each["metadata"]["name"]): {key: each["spec"][key] for key in ("port", "owner") if key in each["spec"]}
            for each in found
        }


@pytest.fixture
def watch(kube: Kube, plane: ControlPlane, namespace: str, host: GitHost, tmp_path: Path) -> Iterator[Watch]:
    kube.apply([yaml.safe_load(CRD.read_text())])
    await_kind(kube, API_VERSION, KIND)
    with closing(agent_door(kube, plane, "manager", namespace, tmp_path, manifest="manager/manager.yaml")) as api:
        cluster = Cluster(api, namespace, token_seconds=3600, login=tmp_path, account=tmp_path)
        until(
            lambda: _ask_for_storage(cluster, namespace),
            clock=SystemClock(),
            limit=30,
            every=0.2,
            what="the storage of the new kind",
        )
        yield Watch(kube, cluster, host, namespace)


def _ask_for_storage(cluster: Cluster, namespace: str) -> Ready | Pending:
    metadata = {"name": "orders", "namespace": namespace}
    try:
        cluster.declare({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata}, dry_run=True)
    except ApiFailure as error:
        return Pending(str(error.strerror))
    return Ready()


def test_a_bad_file_leaves_all_others_untouched(watch: Watch) -> None:
    first = push(watch.bare, {"apps/orders.yaml": declare("orders", "  port: 9000"), "apps/web.yml": declare("web")})
    told = watch.look()
    assert (told["state"], told["applied"], told["applications"]) == (APPLIED, first, "2")
    assert watch.applications == {"orders": {"port": 9000}, "web": {}}
    wrong = "  port: 1\n  environments:\n  - name: staging\n    branchs: [main]"
    second = push(
        watch.bare,
        {
            "apps/orders.yaml": declare("orders", "  port: 9001"),
            "apps/sales/stock.yaml": declare("stock", wrong),
            "apps/z.yaml": declare("z", "  owner: 7\n  port: 99999"),
        },
    )
    told = watch.look()
    assert (told["state"], told["commit"], told["applied"]) == (REFUSED, second, first)
    stock, z = told["faults"].splitlines()
    assert stock.startswith("apps/sales/stock.yaml:9: ")
    assert "branchs" in stock
    assert z.startswith("apps/z.yaml:")
    assert watch.applications == {"orders": {"port": 9000}, "web": {}}
    events = watch.kube.list("v1", "Event", watch.namespace)
    assert sorted((each["type"], each["reason"]) for each in events) == [("Normal", APPLIED), ("Warning", REFUSED)]
    third = push(watch.bare, {"apps/orders.yaml": declare("orders", "  owner: sales")})
    assert (watch.look()["state"], watch.look()["applied"]) == (APPLIED, third)
    assert watch.applications == {"orders": {"owner": "sales"}}, "what the file no longer says is gone as well"


def test_what_is_changed_by_hand_becomes_as_the_repository_says(watch: Watch) -> None:
    push(watch.bare, {"apps/orders.yaml": declare("orders", "  port: 9000"), "apps/web.yaml": declare("web")})
    watch.look()
    watch.kube.delete(API_VERSION, KIND, "web", watch.namespace)
    watch.look()
    assert set(watch.applications) == {"orders", "web"}


def test_nothing_is_deleted_by_a_look_that_fails(watch: Watch, host: GitHost) -> None:
    first = push(watch.bare, {"apps/orders.yaml": declare("orders")})
    watch.look()
    watch.bare.git("update-ref", "-d", "refs/heads/main")
    assert watch.look()["state"] == UNFINISHED
    push(watch.bare, {"README": "moved"})
    told = watch.look()
    assert (told["state"], told["applied"]) == (REFUSED, first)
    assert "there is no folder apps" in told["faults"]
    assert set(watch.applications) == {"orders"}
    push(watch.bare, {"apps/README": "there will be some"})
    watch.restart()
    assert (watch.look()["state"], watch.look()["applications"]) == (APPLIED, "0")
    assert watch.applications == {}


def test_one_that_somebody_else_made_is_refused_until_it_is_handed_over(watch: Watch) -> None:
    metadata: dict[str, Any] = {"name": "orders", "namespace": watch.namespace}
    mine: dict[str, Any] = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": {"port": 9000}}
    watch.kube.apply([mine])
    push(watch.bare, {"apps/orders.yaml": declare("orders", "  port: 9001"), "apps/web.yaml": declare("web")})
    told = watch.look()
    assert told["faults"].startswith("apps/orders.yaml:4: application orders is there already")
    assert watch.applications == {"orders": {"port": 9000}}
    watch.kube.apply([{**mine, "metadata": {**metadata, "labels": {"tekton-bootstrap.dev/source": "repository"}}}])
    assert watch.look()["state"] == APPLIED
    assert watch.applications == {"orders": {"port": 9001}, "web": {}}
