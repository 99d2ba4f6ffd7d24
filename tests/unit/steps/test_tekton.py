"""What we change in Tekton's release, and when it counts as ready."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap.core import constants
from bootstrap.core.errors import ApiError, BootstrapError, PreconditionError, StepError
from bootstrap.core.model import Failed, LockedImage, Object, Pending, Ready
from bootstrap.core.paths import PRODUCT
from bootstrap.objects.apply_plan import Plan
from bootstrap.objects.manifests import stamp
from bootstrap.settings.config import Config, TektonSettings
from bootstrap.steps import tekton
from tests.unit.step_world import TOOLBOX, FakeImages, StepWorld, make

CONTROLLER = LockedImage("tekton-pipelines-controller", f"{constants.REPOSITORY}/c", "sha256:" + "c" * 64)


def config_map(name: str, **data: str) -> Object:
    metadata = {"name": name, "namespace": constants.TEKTON}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def deployment(name: str, *args: str, part_of: str = "tekton-pipelines") -> Object:
    labels = {"app.kubernetes.io/part-of": part_of, "app.kubernetes.io/version": "devel", "version": "devel"}
    container = {"name": "c", "image": "image.local/tekton-pipelines-controller", "args": list(args)}
    template = {"metadata": {"labels": dict(labels)}, "spec": {"containers": [container]}}
    metadata = {"name": name, "namespace": constants.TEKTON, "labels": dict(labels)}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"template": template}}


def release() -> list[Object]:
    """As much of a release as we touch."""
    return [
        deployment(
            "tekton-pipelines-controller", "-shell-image", "busybox@sha256:1", "-shell-image-win", "powershell@sha256:2"
        ),
        deployment("tekton-triggers-controller", part_of="tekton-triggers"),
        {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "webhook"}},
        config_map("feature-flags", **{"coschedule": "workspaces", "set-security-context": "false", "kept": "so"}),
        config_map("resolvers-feature-flags", **{"enable-git-resolver": "true", "enable-hub-resolver": "true"}),
        config_map("config-defaults"),
        config_map("config-registry-cert"),
        config_map("pipelines-info", version="devel"),
        config_map("triggers-info", version="devel"),
    ]


class Images(FakeImages):
    """Images with a release of Tekton."""

    released: list[Object]

    def list_tekton_objects(self) -> list[Object]:
        return copy.deepcopy(self.released)


@pytest.fixture
def world(tmp_path: Path) -> StepWorld:
    world = make(tmp_path)
    images = Images({"toolbox": TOOLBOX, CONTROLLER.name: CONTROLLER})
    images.released = release()
    world.images = images
    return world


def rendered(world: StepWorld) -> dict[tuple[str, str], Object]:
    return {(each["kind"], each["metadata"]["name"]): each for each in tekton.render_objects(world.open())}


def container(found: Object) -> Any:
    return found["spec"]["template"]["spec"]["containers"][0]


def test_no_image_comes_from_elsewhere(world: StepWorld) -> None:
    controller = container(rendered(world)["Deployment", "tekton-pipelines-controller"])
    assert controller["image"] == CONTROLLER.reference
    arguments = controller["args"]
    assert arguments[:4] == ["-shell-image", TOOLBOX.reference, "-shell-image-win", TOOLBOX.reference]
    assert arguments[4:] == ["-kube-api-qps", "50", "-kube-api-burst", "100"]


def test_every_workload_is_bounded(world: StepWorld) -> None:
    for (kind, _), found in rendered(world).items():
        if kind == "Deployment":
            assert {"requests", "limits"} == set(container(found)["resources"])


def test_its_containers_fit_restricted_namespaces(world: StepWorld) -> None:
    flags = rendered(world)["ConfigMap", "feature-flags"]["data"]
    assert flags["set-security-context"] == "true"
    assert flags["coschedule"] == "disabled"
    assert flags["kept"] == "so"


def test_no_remote_resolver_answers_but_those_of_the_settings(world: StepWorld) -> None:
    """Each of them fetches what a run names, with the rights and from the place of its own pod."""
    found = rendered(world)["ConfigMap", "resolvers-feature-flags"]["data"]
    assert found == {f"enable-{name}-resolver": "false" for name in ("bundles", "cluster", "git", "http", "hub")}
    world.config = Config(tekton=TektonSettings(resolvers=("cluster", "git")))
    found = rendered(world)["ConfigMap", "resolvers-feature-flags"]["data"]
    answering = {name for name, value in found.items() if value == "true"}
    assert answering == {"enable-cluster-resolver", "enable-git-resolver"}


def test_the_controller_trusts_the_registry(world: StepWorld) -> None:
    found = rendered(world)["ConfigMap", "config-registry-cert"]["data"]["cert"]
    assert found == world.identity.ensure_ca().certificate.decode()


def test_the_versions_of_go_mod_take_the_place_of_devel(world: StepWorld) -> None:
    wanted, found = tekton.read_versions(world.open()), rendered(world)
    assert wanted.pipelines.startswith("v1.")
    assert wanted.triggers.startswith("v0.")
    assert found["ConfigMap", "pipelines-info"]["data"]["version"] == wanted.pipelines
    assert found["ConfigMap", "triggers-info"]["data"]["version"] == wanted.triggers
    for name, version in (
        ("tekton-pipelines-controller", wanted.pipelines),
        ("tekton-triggers-controller", wanted.triggers),
    ):
        workload = found["Deployment", name]
        for metadata in (workload["metadata"], workload["spec"]["template"]["metadata"]):
            assert (metadata["labels"]["version"], metadata["labels"]["app.kubernetes.io/version"]) == (version,) * 2


def test_what_needs_a_metrics_server_is_left_out(world: StepWorld) -> None:
    assert not [kind for kind, _ in rendered(world) if kind == "HorizontalPodAutoscaler"]


@pytest.mark.parametrize("lost", ["feature-flags", "config-registry-cert", "tekton-pipelines-controller"])
def test_a_release_that_lacks_what_is_changed_is_refused(world: StepWorld, lost: str) -> None:
    images = world.images
    assert isinstance(images, Images)
    images.released = [each for each in images.released if each["metadata"]["name"] != lost]
    with pytest.raises(BootstrapError):
        rendered(world)


def test_a_release_without_the_argument_is_refused(world: StepWorld) -> None:
    images = world.images
    assert isinstance(images, Images)
    images.released[0] = deployment("tekton-pipelines-controller", "-shell-image-win", "x")
    with pytest.raises(BootstrapError):
        rendered(world)


def test_an_image_that_the_lock_lacks_is_refused(world: StepWorld) -> None:
    images = world.images
    assert isinstance(images, Images)
    container(images.released[0])["args"] += ["-new-image", "gcr.io/new@sha256:" + "d" * 64]
    with pytest.raises(BootstrapError, match="lock does not hold"):
        rendered(world)


def test_ready_means_that_dry_runs_pass(world: StepWorld) -> None:
    assert tekton.judge_admission(world.open()) == Ready("dry runs accepted")
    assert [each["kind"] for each in world.kube.created] == ["TaskRun", "EventListener"]
    for kind in ("EventListener", "TaskRun"):
        world.kube.refuse = {kind: ApiError('failed calling webhook "webhook.tekton.dev"', status=500)}
        verdict = tekton.judge_admission(world.open())
        assert isinstance(verdict, Pending)
        assert verdict.why.startswith(f"{kind} is not admitted yet: failed calling webhook")


def test_what_the_user_reads_when_it_is_ready(world: StepWorld) -> None:
    found = tekton.read_versions(world.open())
    expected = f"Pipelines {found.pipelines[1:]}, Triggers {found.triggers[1:]}, dry runs accepted"
    step = tekton.make_tekton_step().step
    assert step.prove(world.open()) == Ready(expected)
    world.kube.refuse = {"TaskRun": ApiError("no endpoints available", status=503)}
    assert isinstance(step.prove(world.open()), Pending)


def interceptor(name: str, **config: str) -> Object:
    metadata = {"name": name, "labels": {constants.MANAGED_BY: PRODUCT}}
    return {"kind": "ClusterInterceptor", "metadata": metadata, "spec": {"clientConfig": {"port": 1, **config}}}


def test_interceptors_are_certified_as_soon_as_their_authority_is_there(world: StepWorld) -> None:
    world.kube.put(interceptor("github"), interceptor("cel", caBundle="kept"))
    tekton.certify_interceptors(world.open())
    assert world.kube.patched == []
    metadata = {"name": tekton.INTERCEPTOR_CERTIFICATES, "namespace": constants.TEKTON}
    world.kube.put({"kind": "Secret", "metadata": metadata, "data": {"ca-cert.pem": "Q0E="}})
    tekton.certify_interceptors(world.open())
    assert [name for name, _ in world.kube.patched] == ["github"]
    found = world.kube.objects["ClusterInterceptor", "", "github"]
    assert found["spec"]["clientConfig"] == {"port": 1, "caBundle": "Q0E="}


def test_readiness_is_looked_for_often_where_the_release_looks_at_all(world: StepWorld) -> None:
    images = world.images
    assert isinstance(images, Images)
    probe = {"httpGet": {"path": "/readiness"}, "initialDelaySeconds": 5, "periodSeconds": 10, "failureThreshold": 3}
    container(images.released[0])["readinessProbe"] = probe
    found = rendered(world)
    assert container(found["Deployment", "tekton-pipelines-controller"])["readinessProbe"] == {
        "httpGet": {"path": "/readiness"},
        "initialDelaySeconds": 0,
        "periodSeconds": 2,
        "failureThreshold": 15,
    }
    assert "readinessProbe" not in container(found["Deployment", "tekton-triggers-controller"])


# -- on a cluster of the user's ------------------------------------------------------------------------


def lend(world: StepWorld, pipelines: str = "v1.15.0", triggers: str = "v0.37.0", contexts: str = "true") -> None:
    """A cluster that somebody else has put a Tekton into."""
    world.config = replace(world.config, context="kind-theirs")
    for name, data in (
        ("pipelines-info", {"version": pipelines}),
        ("triggers-info", {"version": triggers}),
        ("feature-flags", {"set-security-context": contexts}),
    ):
        world.kube.put(config_map(name, **data))


def test_a_tekton_that_fits_is_used_and_never_changed(world: StepWorld) -> None:
    lend(world)
    before = dict(world.kube.objects)
    step = tekton.make_tekton_step()
    verdict = step.check(world.open())
    assert verdict == Ready("Pipelines 1.15.0, Triggers 0.37.0 of the cluster, dry runs accepted")
    step.apply(world.open())
    step.undo(world.open())
    assert world.kube.objects == before


def test_a_tekton_that_does_not_fit_is_refused_and_never_changed(world: StepWorld) -> None:
    lend(world, triggers="v0.30.1")
    before = dict(world.kube.objects)
    step = tekton.make_tekton_step()
    verdict = step.check(world.open())
    assert isinstance(verdict, Failed)
    assert "Pipelines v1.15.0, Triggers v0.30.1" in verdict.why
    step.apply(world.open())
    assert world.kube.objects == before


def test_a_tekton_of_ours_is_ours_on_their_cluster_too(world: StepWorld) -> None:
    lend(world)
    for each in world.kube.objects.values():
        each["metadata"]["labels"] = {constants.MANAGED_BY: PRODUCT}
    assert tekton.find_foreign_versions(world.open()) is None


# -- another version over the one that runs ------------------------------------------------------------


def install(world: StepWorld, pipelines: str, triggers: str) -> None:
    """Tekton of ours, in a cluster of ours."""
    for name, version in (("pipelines-info", pipelines), ("triggers-info", triggers)):
        world.kube.put(stamp(config_map(name, version=version)))


def test_the_versions_are_read_from_the_cluster_and_told(world: StepWorld) -> None:
    step, wanted = tekton.make_tekton_step(), tekton.read_versions(world.open())
    assert step.plan(world.open()).versions == ()
    install(world, "v1.2.3", wanted.triggers)
    move = f"Pipelines v1.2.3 -> {wanted.pipelines}"
    plan = step.plan(world.open())
    assert (plan.versions, plan.there, plan.refusals) == ((move,), True, ())
    verdict = tekton.make_tekton_step().check(world.open())
    assert isinstance(verdict, Pending)
    assert verdict.why.startswith(f"{move}: ")


def test_they_are_told_also_when_the_images_are_not_built(world: StepWorld) -> None:
    install(world, "v1.2.3", "v0.3.0")
    images = world.images
    assert isinstance(images, Images)

    def unbuilt() -> list[Object]:
        raise PreconditionError("the images are not built yet")

    images.list_tekton_objects = unbuilt  # type: ignore[method-assign]
    plan = tekton.make_tekton_step().plan(world.open())
    assert len(plan.versions) == 2
    assert plan.unknown == "the images are not built yet"


def test_an_older_one_is_refused_and_nothing_is_touched(world: StepWorld) -> None:
    install(world, "v99.0.0", "v0.1.0")
    before = copy.deepcopy(world.kube.objects)
    step = tekton.make_tekton_step()
    [refusal] = step.plan(world.open()).refusals
    assert "Pipelines v99.0.0 runs here" in refusal.why
    assert step.check(world.open()) == refusal
    with pytest.raises(StepError, match="runs here"):
        step.apply(world.open())
    assert world.kube.objects == before


def test_a_tekton_of_somebody_else_is_in_no_plan(world: StepWorld) -> None:
    lend(world, "v99.0.0")
    assert tekton.make_tekton_step().plan(world.open()) == Plan("tekton")
