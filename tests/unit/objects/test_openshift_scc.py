"""What OpenShift is given beside our objects, and what it decides itself."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from bootstrap.core import constants
from bootstrap.core.model import Object
from bootstrap.objects import openshift_scc
from bootstrap.steps.manifest_step import ManifestStep
from tests.golden.rendered import everything, rendered
from tests.unit.step_world import make


def kinds(objects: list[Object], kind: str) -> list[Object]:
    return [each for each in objects if each["kind"] == kind]


def test_every_account_of_ours_is_let_in_and_no_other() -> None:
    found = openshift_scc.adapt(deepcopy(everything()))
    accounts = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in kinds(found, "ServiceAccount")}
    bound = [each for each in kinds(found, "RoleBinding") if each["metadata"]["name"].endswith("-scc")]
    assert {(each["subjects"][0]["namespace"], each["subjects"][0]["name"]) for each in bound} == accounts
    assert all(each["metadata"]["namespace"] == each["subjects"][0]["namespace"] for each in bound)
    roles = {each["subjects"][0]["name"]: each["roleRef"]["name"] for each in bound}
    assert roles.pop("buildkitd") == openshift_scc.SCC
    assert set(roles.values()) == {"system:openshift:scc:nonroot-v2"}


def test_the_builder_gets_what_its_pod_asks_for_and_nothing_of_the_host() -> None:
    [pod] = [each["spec"]["template"]["spec"] for each in kinds(rendered("builder"), "Deployment")]
    scc, [container] = openshift_scc.make_builder_constraints(), pod["containers"]
    assert scc["runAsUser"]["uid"] == pod["securityContext"]["runAsUser"]
    assert scc["fsGroup"]["ranges"] == [{"min": 1000, "max": 1000}]
    assert pod["securityContext"]["fsGroup"] == 1000
    assert set(scc["allowedCapabilities"]) == set(container["securityContext"]["capabilities"]["add"])
    assert scc["allowPrivilegeEscalation"] is container["securityContext"]["allowPrivilegeEscalation"] is True
    assert scc["readOnlyRootFilesystem"] is container["securityContext"]["readOnlyRootFilesystem"] is True
    assert scc["seccompProfiles"] == [pod["securityContext"]["seccompProfile"]["type"].lower()]
    used = {key for volume in pod["volumes"] for key in volume if key != "name"}
    assert used | {"projected"} - {"persistentVolumeClaim"} <= {*scc["volumes"], "persistentVolumeClaim"}
    assert not any(
        value for key, value in scc.items() if key.startswith("allowHost") or key == "allowPrivilegedContainer"
    )


def test_the_applications_ids_are_left_to_the_cluster() -> None:
    found = openshift_scc.adapt(deepcopy(rendered("go-echo")))
    [app] = kinds(found, "Deployment")
    context = app["spec"]["template"]["spec"]["securityContext"]
    assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert kinds(found, "RoleBinding") == []


def test_no_account_has_a_name_that_openshift_gives_itself() -> None:
    accounts = {each["metadata"]["name"] for each in kinds(everything(), "ServiceAccount")}
    assert not accounts & {"default", "builder", "deployer"}


def account(namespace: str) -> Object:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "controller", "namespace": namespace}}


def test_steps_adapt_where_the_cluster_is_one(tmp_path: Path) -> None:
    for groups, further in ((frozenset[str](), 0), (frozenset({openshift_scc.SECURITY}), 1)):
        world = make(tmp_path)
        world.kube.groups = groups
        given = [account(constants.TEKTON)]
        step = ManifestStep("tekton", lambda _, given=given: given)  # type: ignore[misc]
        step.apply(world.open())
        assert len(world.kube.objects) == 1 + further
        assert len(given) == 1
