from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bootstrap.core.errors import ApiError, BootstrapError, StepError, TimedOut
from bootstrap.core.model import Failed, Lock, LockedImage, Object, Pending, Ready, Verdict
from bootstrap.core.paths import PRODUCT
from bootstrap.objects.apply_plan import Change, Plan
from bootstrap.objects.manifests import DIGEST, stamp
from bootstrap.objects.patches import Patch, Select, put
from bootstrap.steps.manifest_step import Keep, ManifestStep, render
from bootstrap.world import World
from tests.unit.fakes import FakeReport

IMAGE = ("spec", "template", "spec", "containers", "app", "image")


def namespace() -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}}


def config() -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "demo"}, "data": {"a": "1"}}


def deployment(replicas: int = 2, image: str = "first") -> Object:
    container = {"name": "app", "image": image}
    spec = {"replicas": replicas, "template": {"spec": {"containers": [container]}}}
    metadata = {"name": "app", "namespace": "demo"}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


class Kube:
    """An API server of a dictionary, with the calls that a step makes."""

    def __init__(self, *faults: ApiError) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.faults = list(faults)
        self.applied: list[list[str]] = []
        self.listed: list[str] = []
        self.tried: list[str] = []
        self.refusal: ApiError | None = None
        self.rolls = True

    def serves(self, group_version: str) -> bool:
        assert group_version == "security.openshift.io/v1"
        return False

    def put(self, obj: Object, **status: Any) -> None:
        ready = {"observedGeneration": 1, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 2}
        by_kind: dict[str, dict[str, Any]] = {"Deployment": ready, "Namespace": {"phase": "Active"}}
        kept = by_kind.get(obj["kind"], {})
        live = {**copy.deepcopy(obj), "status": kept | status}
        live["metadata"]["generation"] = 1
        self.objects[self._key(obj["kind"], obj["metadata"])] = live

    @staticmethod
    def _key(kind: str, metadata: dict[str, Any]) -> tuple[str, str, str]:
        return kind, metadata.get("namespace", ""), metadata["name"]

    def list(self, api_version: str, kind: str, namespace: str = "") -> list[Object]:
        self.listed.append(kind)
        return [each for key, each in self.objects.items() if key[:2] == (kind, namespace)]

    def get(self, api_version: str, kind: str, name: str, namespace: str = "") -> Object | None:
        return self.objects.get((kind, namespace, name))

    def apply(self, objects: Sequence[Object], *, dry_run: bool = False) -> Sequence[Object]:
        """A dry run answers what would be. rolls: whether pods are replaced at once."""
        if dry_run:
            self.tried += [each["kind"] for each in objects]
            if self.refusal:
                raise self.refusal
            return [copy.deepcopy(each) for each in objects]
        if self.faults:
            raise self.faults.pop(0)
        self.applied.append([each["kind"] for each in objects])
        for each in objects:
            self.put(each, **({} if self.rolls else {"updatedReplicas": 0}))
        return []

    def delete(self, api_version: str, kind: str, name: str, namespace: str = "") -> bool:
        del self.objects[kind, namespace, name]
        return True


def world(kube: Kube) -> World:
    return cast(World, SimpleNamespace(kube=kube, clock=Clock(), report=FakeReport()))


def step(*objects: Object, **more: Any) -> ManifestStep:
    wanted = objects or (deployment(), config(), namespace())
    return ManifestStep("demo", lambda _: wanted, **more)


def test_what_is_missing_is_pending_and_is_made_in_order() -> None:
    kube = Kube()
    assert step().check(world(kube)) == Pending("Deployment demo/app is missing")
    step().apply(world(kube))
    assert kube.applied == [["Namespace", "ConfigMap", "Deployment"]]
    assert step().check(world(kube)) == Ready("2 of 2 pods")


def test_nothing_is_applied_twice() -> None:
    kube = Kube()
    step().apply(world(kube))
    step().apply(world(kube))
    assert kube.applied == [["Namespace", "ConfigMap", "Deployment"], []]


def test_while_workloads_start_the_rest_is_not_read() -> None:
    kube = Kube()
    kube.put(stamp(deployment()), availableReplicas=1)
    assert step().check(world(kube)) == Pending("Deployment demo/app: 1 of 2 pods available")
    assert kube.listed == ["Deployment"]


def test_an_edit_by_hand_is_told_and_only_that_object_is_repaired() -> None:
    kube = Kube()
    step().apply(world(kube))
    kube.objects["Deployment", "demo", "app"]["spec"]["replicas"] = 5
    assert step().check(world(kube)) == Pending("Deployment demo/app differs at spec.replicas")
    step().apply(world(kube))
    assert kube.applied[1:] == [["Deployment"]]


def test_a_changed_setting_is_told_as_such_also_when_it_only_removes() -> None:
    kube = Kube()
    step().apply(world(kube))
    assert step(deployment(replicas=3)).check(world(kube)) == Pending("Deployment demo/app: changed settings")
    smaller = config()
    smaller["data"] = {}
    assert step(smaller).check(world(kube)) == Pending("ConfigMap demo/c: changed settings")


def test_what_is_kept_stays_as_the_pipeline_set_it() -> None:
    kube = Kube()
    keep = (Keep(Select("Deployment", "app"), IMAGE),)
    step(deployment(), keep=keep).apply(world(kube))
    live = kube.objects["Deployment", "demo", "app"]
    live["spec"]["template"]["spec"]["containers"][0]["image"] = "by-the-pipeline"
    assert isinstance(step(deployment(), keep=keep).check(world(kube)), Ready)
    step(deployment(replicas=3, image="second"), keep=keep).apply(world(kube))
    changed = kube.objects["Deployment", "demo", "app"]["spec"]
    assert changed["replicas"] == 3
    assert changed["template"]["spec"]["containers"][0]["image"] == "by-the-pipeline"


def test_somebody_elses_object_is_left_alone() -> None:
    kube = Kube()
    kube.put(deployment(replicas=1))
    verdict = step().check(world(kube))
    assert isinstance(verdict, Failed)
    assert "Deployment demo/app is there already and was not made by us" in verdict.why
    with pytest.raises(StepError, match="left alone"):
        step().apply(world(kube))
    step().undo(world(kube))
    assert list(kube.objects) == [("Deployment", "demo", "app")]
    assert kube.applied == []


def test_a_namespace_that_was_there_is_used_and_stays() -> None:
    kube = Kube()
    kube.put(namespace())
    step().apply(world(kube))
    assert kube.applied == [["ConfigMap", "Deployment"]]
    assert isinstance(step().check(world(kube)), Ready)
    step().undo(world(kube))
    assert list(kube.objects) == [("Namespace", "", "demo")]


def test_undo_removes_what_was_made_the_last_first_and_again_is_fine() -> None:
    kube = Kube()
    step().apply(world(kube))
    step().undo(world(kube))
    step().undo(world(kube))
    assert kube.objects == {}


@pytest.mark.parametrize(
    "fault",
    [
        ApiError("the cluster does not know the kind Task", status=404, reason="UnknownKind"),
        ApiError('failed calling webhook "x": connection refused', status=500, reason="InternalError"),
        ApiError("no endpoints available for service", status=503),
        ApiError("no answer", status=0),
    ],
)
def test_a_cluster_that_still_starts_is_asked_again(fault: ApiError) -> None:
    kube = Kube(fault, fault)
    step().apply(world(kube))
    assert len(kube.applied) == 1


@pytest.mark.parametrize("status", [400, 403, 409, 422, 500])
def test_a_refusal_is_final(status: int) -> None:
    with pytest.raises(ApiError, match="no"):
        step().apply(world(Kube(ApiError("no", status=status))))


def test_asking_again_has_a_limit_and_tells_the_last_cause() -> None:
    fault = ApiError("webhook is away", status=503)
    with pytest.raises(TimedOut) as caught:
        step().apply(world(Kube(*[fault] * 1000)))
    assert caught.value.evidence == "webhook is away"


def test_ready_is_proved_last() -> None:
    asked: list[str] = []

    def prove(_: World) -> Verdict:
        asked.append("proof")
        return Pending("dry run refused")

    kube = Kube()
    assert isinstance(step(prove=prove).check(world(kube)), Pending)
    assert asked == []
    step().apply(world(kube))
    assert step(prove=prove).check(world(kube)) == Pending("dry run refused")


def test_objects_are_asked_for_once() -> None:
    count: list[int] = []

    def objects(_: World) -> list[Object]:
        count.append(1)
        return [config()]

    one = ManifestStep("x", objects)
    kube = Kube()
    one.check(world(kube))
    one.apply(world(kube))
    one.check(world(kube))
    assert count == [1]
    assert DIGEST in kube.objects["ConfigMap", "demo", "c"]["metadata"]["annotations"]


# -- over an environment that is there -----------------------------------------------------------------


def admission(name: str = "hooks") -> Object:
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    return {**kind, "metadata": {"name": name}, "webhooks": [{"name": "a"}]}


def test_the_plan_of_a_new_environment_creates() -> None:
    plan = step().plan(world(Kube()))
    names = ["Namespace demo", "ConfigMap demo/c", "Deployment demo/app"]
    assert plan == Plan("demo", tuple(Change("create", name) for name in names))


def test_the_plan_tells_what_changes_and_changes_nothing() -> None:
    kube = Kube()
    step().apply(world(kube))
    assert step().plan(world(kube)) == Plan("demo", there=True)
    before, wrote = copy.deepcopy(kube.objects), len(kube.applied)
    kube.tried.clear()
    more = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d", "namespace": "demo"}}
    plan = step(deployment(replicas=3, image="second"), config(), namespace(), more).plan(world(kube))
    fields = ("spec.replicas", "spec.template.spec.containers[app].image")
    assert plan.changes == (Change("create", "ConfigMap demo/d"), Change("change", "Deployment demo/app", fields))
    assert plan.there
    assert kube.tried == ["Deployment"]
    assert (kube.objects, len(kube.applied)) == (before, wrote)


def test_the_plan_refuses_what_the_server_would() -> None:
    kube = Kube()
    step().apply(world(kube))
    kube.refusal = ApiError("Deployment demo/app: spec.selector: field is immutable", status=422)
    plan = step(deployment(replicas=3)).plan(world(kube))
    [refusal] = plan.refusals
    assert "field is immutable" in refusal.why
    assert refusal.hint == "kubectl delete deployment app --namespace demo; then invoke up"
    kube.refusal = ApiError("the webhook is away", status=500)
    assert step(deployment(replicas=3)).plan(world(kube)).changes == (
        Change("change", "Deployment demo/app", ("spec.replicas",)),
    )


def test_the_plan_refuses_what_somebody_else_made() -> None:
    kube = Kube()
    kube.put(config())
    [refusal] = step(config()).plan(world(kube)).refusals
    assert "was not made by us" in refusal.why


def test_where_pods_are_replaced_admission_waits_for_the_new_ones() -> None:
    kube = Kube()
    parts = (deployment(), config(), admission())
    step(*parts).apply(world(kube))
    assert kube.applied == [["ConfigMap", "Deployment", "ValidatingWebhookConfiguration"]], "at once when it is new"
    changed = admission()
    changed["webhooks"][0]["name"] = "b"
    kube.applied.clear()
    step(deployment(image="second"), config(), changed).apply(world(kube))
    assert kube.applied == [["Deployment"], ["ValidatingWebhookConfiguration"]]


def test_admission_is_not_changed_while_old_pods_are_there() -> None:
    kube = Kube()
    step(deployment(), admission()).apply(world(kube))
    kube.rolls = False
    kube.applied.clear()
    changed = admission()
    changed["webhooks"][0]["name"] = "b"
    with pytest.raises(TimedOut):
        step(deployment(image="second"), changed, limit=5).apply(world(kube))
    assert kube.applied == [["Deployment"]]


def test_admission_of_an_earlier_version_goes_before_it_stands_in_the_way() -> None:
    kube = Kube()
    step(admission("old"), admission("theirs"), admission()).apply(world(kube))
    for name in ("old", "hooks"):
        metadata = kube.objects["ValidatingWebhookConfiguration", "", name]["metadata"]
        metadata["managedFields"] = [{"manager": PRODUCT, "operation": "Apply"}]
    step(admission()).apply(world(kube))
    assert {name for _, _, name in kube.objects} == {"theirs", "hooks"}


def test_whoever_uses_a_workload_is_waited_for_before_it_is_restarted() -> None:
    kube = Kube()
    step().apply(world(kube))
    kube.applied.clear()
    answers: list[Verdict] = [Pending("TaskRun x still uses it"), Pending("TaskRun x still uses it"), Ready()]

    def at_rest(_: World) -> Verdict:
        assert kube.applied == []
        return answers.pop(0)

    scaled = deployment(replicas=3)
    step(scaled, config(), namespace(), at_rest=at_rest).apply(world(kube))
    assert len(answers) == 3, "nothing is restarted"
    kube.applied.clear()
    step(deployment(image="second"), config(), namespace(), at_rest=at_rest).apply(world(kube))
    assert answers == []
    assert kube.applied[0] == ["Deployment"]


LOCK = Lock({"app": LockedImage("app", "r.test/app", "sha256:" + "0" * 64)})


def test_render_patches_rewrites_and_orders(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {i: image.local/app}\n"
    )
    patch = Patch(Select("ConfigMap"), put("data", "more", value="1"))
    found = render(LOCK, tmp_path, [namespace()], patches=[patch])
    assert [each["kind"] for each in found] == ["Namespace", "ConfigMap"]
    assert found[1]["data"] == {"i": LOCK.images["app"].reference, "more": "1"}


def test_render_refuses_an_image_that_the_lock_does_not_hold() -> None:
    with pytest.raises(BootstrapError, match="the lock does not hold the image nginx"):
        render(LOCK, [deployment(image="nginx")])
