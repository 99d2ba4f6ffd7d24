"""The cleanup of images, against a cluster and a registry that behave badly where real ones may."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest

from bootstrap.incluster import image_cleanup
from bootstrap.incluster.image_cleanup import WORKLOADS, ImageCleanup
from bootstrap.incluster.kube_api import Api, ApiFailure
from bootstrap.incluster.registry_api import Manifest, RegistryApi, RegistryFailure

A, B, C = "a" * 40, "b" * 40, "c" * 40
ONE, TWO, CHILD = ("sha256:" + each * 64 for each in "123")


class FakeApi:
    """objects: path -> what is listed there. refused: paths that are refused. asked: in order, of registry too."""

    def __init__(self, asked: list[str]) -> None:
        self.objects: dict[str, list[Any]] = {}
        self.refused: set[str] = set()
        self.events: list[str] = []
        self.asked = asked

    def request(self, method: str, path: str, body: Any = None, kind: str = "") -> dict[str, Any]:
        where = urlsplit(path)
        assert where.path.endswith("/events") or parse_qs(where.query)["limit"]
        if method == "POST":
            self.events.append(body["message"])
            return {}
        self.asked.append(where.path)
        if where.path in self.refused:
            raise ApiFailure(403, f"HTTP 403 from the API: {where.path}")
        return {"items": self.objects.get(where.path, [])}


class FakeRegistry:
    """held: repository -> tag -> what it leads to. refused: what cannot be read or deleted. gone: digests deleted."""

    def __init__(self, asked: list[str]) -> None:
        self.held: dict[str, dict[str, Manifest]] = {}
        self.refused: set[str] = set()
        self.gone: list[str] = []
        self.asked = asked

    def _refuse(self, *names: str) -> None:
        self.asked.append(f"registry {names[-1]}")
        if self.refused & {*names}:
            raise RegistryFailure(500, "HTTP 500 from the registry")

    def list_repositories(self) -> list[str]:
        self._refuse("catalog")
        return [*self.held]

    def list_tags(self, repository: str) -> list[str]:
        self._refuse(repository)
        return [*self.held[repository]]

    def read_manifest(self, repository: str, tag: str) -> Manifest | None:
        self._refuse(tag)
        found = self.held[repository][tag]
        return found if found.digest else None

    def delete_manifest(self, repository: str, digest: str) -> None:
        self._refuse(f"delete {digest}")
        self.gone.append(f"{repository}@{digest}")


class Cluster:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.api, self.registry = FakeApi(self.asked), FakeRegistry(self.asked)
        self.said: list[str] = []
        self.cleanup = ImageCleanup(
            cast(Api, self.api), cast(RegistryApi, self.registry), "cicd", self.said.append, lambda: 0, lambda _: None
        )

    def put(self, path: str, **fields: Any) -> None:
        self.api.objects.setdefault(path, []).append({"metadata": {"uid": f"{path}{fields}"}, **fields})


@pytest.fixture
def cluster() -> Cluster:
    found = Cluster()
    found.registry.held = {
        "apps/x": {A: Manifest(ONE), B: Manifest(TWO, (CHILD,)), "v1": Manifest("sha256:" + "9" * 64)},
        "bootstrap/pause": {C: Manifest(ONE)},
    }
    return found


RUNS = "/apis/tekton.dev/v1/namespaces/cicd/pipelineruns"


def test_what_a_run_names_stays_and_the_rest_goes(cluster: Cluster) -> None:
    cluster.put(RUNS, status={"results": [{"value": A}]})
    assert cluster.cleanup.run() == 0
    assert cluster.registry.gone == [f"apps/x@{CHILD}", f"apps/x@{TWO}"]
    assert cluster.said == [f"deleted apps/x:{B}", "images of builds: 2, needed: 1, deleted: 1"]
    first = cluster.asked.index(RUNS)
    assert all(each.startswith("registry") for each in cluster.asked[:first]), "the registry is looked at before"
    assert not any(each.startswith("/") for each in cluster.asked[: first - 1])


@pytest.mark.parametrize("path", [*WORKLOADS, "/apis/tekton.dev/v1/namespaces/cicd/taskruns"])
def test_any_workload_holds_an_image(cluster: Cluster, path: str) -> None:
    cluster.put(path, metadata={"uid": "u", "annotations": {"record": f'[{{"image":"r/apps/x@{TWO}"}}]'}}, spec=ONE)
    assert cluster.cleanup.run() == 0
    assert cluster.registry.gone == []


def test_a_dry_run_only_tells(cluster: Cluster) -> None:
    assert cluster.cleanup.start({"DRY_RUN": "on"}) == 0
    assert cluster.said[-1] == "images of builds: 2, needed: 0, to delete: 2"
    assert cluster.said[0] == f"would delete apps/x:{A}"
    assert cluster.registry.gone == []


def test_a_repository_that_is_kept_is_not_even_read(cluster: Cluster) -> None:
    assert cluster.cleanup.start({"KEEP_REPOSITORIES": "apps/x"}) == 0
    assert cluster.said == ["images of builds: 0, needed: 0, deleted: 0"]
    assert "registry apps/x" not in cluster.asked


def test_a_variable_that_cannot_be_read_deletes_nothing(cluster: Cluster) -> None:
    assert cluster.cleanup.start({"DRY_RUN": "true"}) == 1
    assert cluster.registry.gone == []
    assert cluster.api.events == cluster.said == ["DRY_RUN is 'true', and not on or off"]


@pytest.mark.parametrize("refused", ["catalog", "apps/x", B])
def test_a_registry_that_cannot_be_read_in_full_loses_nothing(cluster: Cluster, refused: str) -> None:
    cluster.registry.refused = {refused}
    assert cluster.cleanup.run() == 1
    assert cluster.registry.gone == []
    assert cluster.api.events == ["the images could not be compared with what needs them: HTTP 500 from the registry"]


@pytest.mark.parametrize("refused", [RUNS, *WORKLOADS])
def test_one_list_that_is_missing_loses_nothing(cluster: Cluster, refused: str) -> None:
    cluster.api.refused = {refused}
    assert cluster.cleanup.run() == 1
    assert cluster.registry.gone == []
    assert refused in cluster.api.events[0]


def test_a_tag_that_is_gone_meanwhile_is_none(cluster: Cluster) -> None:
    cluster.registry.held["apps/x"][A] = Manifest("")
    assert cluster.cleanup.run() == 0
    assert cluster.said[-1] == "images of builds: 1, needed: 0, deleted: 1"


def test_one_that_cannot_be_deleted_does_not_hold_up_the_others(cluster: Cluster) -> None:
    cluster.registry.refused = {f"delete {ONE}"}
    assert cluster.cleanup.run() == 1
    assert cluster.registry.gone == [f"apps/x@{CHILD}", f"apps/x@{TWO}"]
    assert cluster.said[-1] == "images of builds: 2, needed: 0, deleted: 1, failed: 1"
    assert cluster.api.events == [f"apps/x:{A}: HTTP 500 from the registry"]


def test_what_begins_to_be_needed_meanwhile_stays(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_cleanup, "BATCH", 1)
    delete = cluster.registry.delete_manifest

    def delete_and_build(repository: str, digest: str) -> None:
        delete(repository, digest)
        cluster.put(RUNS, status={"results": [{"value": B}]})

    monkeypatch.setattr(cluster.registry, "delete_manifest", delete_and_build)
    assert cluster.cleanup.run() == 0
    assert cluster.registry.gone == [f"apps/x@{ONE}"]
    assert cluster.said[-1] == "images of builds: 2, needed: 1, deleted: 1"
