"""A deploy's Lease by kubectl, with the rights that the account of the pipeline has, and without them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from bootstrap.core.model import Object
from bootstrap.core.paths import PROJECT
from bootstrap.incluster.deploy import Kubectl, KubectlFailure, KubectlLeases, Turn, run_kubectl
from bootstrap.incluster.lease import make_deploy_name
from bootstrap.incluster.lease_holder import LeaseHolder, Met
from bootstrap.objects import kubeconfig
from bootstrap.world.kube.client import Kube
from tests.integration.conftest import BIN
from tests.integration.control_plane import ControlPlane
from tests.integration.patience import await_rights

pytestmark = pytest.mark.integration
ACCOUNT, NAME = "pipeline-deployer", make_deploy_name("web")
MakeKubectl = Callable[[list[str]], Kubectl]


@pytest.fixture
def make_kubectl(
    kube: Kube, plane: ControlPlane, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> MakeKubectl:
    """kubectl as the task `deploy` calls it. without: resources that the role says nothing of."""
    folder = os.environ.get(BIN, "")
    if not os.access(f"{folder}/kubectl", os.X_OK):
        pytest.skip(f"{BIN} has no kubectl")
    monkeypatch.setenv("PATH", folder, prepend=":")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("HOME", str(tmp_path))

    def make(without: list[str]) -> Kubectl:
        objects: list[Object] = list(yaml.safe_load_all((PROJECT / "manifests/demo/deployer.yaml").read_text()))
        for each in objects:
            for named in (each["metadata"], *each.get("subjects", ())):
                named["namespace"] = namespace
            if each["kind"] == "Role":
                each["rules"] = [rule for rule in each["rules"] if not set(without) & set(rule["resources"])]
        kube.apply(objects)
        await_rights(kube, namespace, ACCOUNT, objects)
        token = kube.request_token(namespace, ACCOUNT, 600)
        made = kubeconfig.make_with_token(plane.server, plane.ca, token, namespace=namespace)
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(made))
        return run_kubectl(namespace)

    return make


def test_it_is_taken_renewed_and_given_back(make_kubectl: MakeKubectl, namespace: str) -> None:
    kubectl = make_kubectl([])
    first, second = (LeaseHolder(KubectlLeases(kubectl, NAME), namespace, NAME, name, 30) for name in ("a", "b"))
    assert first.take() == 0.0
    assert second.take() > 25
    first.renew()
    assert (second.take() > 25, second.other) == (True, "a")
    first.give_back()
    assert second.take() == 0.0
    second.give_back()


def test_what_somebody_else_wrote_meanwhile_is_not_written_over(
    make_kubectl: MakeKubectl, kube: Kube, namespace: str
) -> None:
    leases = KubectlLeases(make_kubectl([]), NAME)
    assert leases.read() is None
    wanted = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NAME}}
    old = leases.write({**wanted, "spec": {"holderIdentity": "a"}})
    with pytest.raises(Met):
        leases.write({**wanted, "spec": {"holderIdentity": "b"}})
    leases.write({**old, "spec": {"holderIdentity": "c"}})
    with pytest.raises(Met):
        leases.write({**old, "spec": {"holderIdentity": "d"}})
    found = leases.read()
    assert found is not None
    assert found["spec"]["holderIdentity"] == "c"
    kube.delete("coordination.k8s.io/v1", "Lease", NAME, namespace)
    with pytest.raises(Met):
        leases.write({**found, "spec": {"holderIdentity": "d"}})


def test_with_the_role_of_an_earlier_version_a_deploy_goes_on_without(
    make_kubectl: MakeKubectl, namespace: str
) -> None:
    kubectl, said = make_kubectl(["leases"]), list[str]()
    with pytest.raises(KubectlFailure, match=r"\(Forbidden\)"):
        KubectlLeases(kubectl, NAME).read()
    turn = Turn(LeaseHolder(KubectlLeases(kubectl, NAME), namespace, NAME, "a", 30), lambda _: None, said.append)
    assert turn.take(60) > 0
    turn.give_back()
    [line] = said
    assert line.startswith(f"going on without the Lease {NAME}, which cannot be used: Error from server (Forbidden)")
    assert line.endswith("; invoke up gives the right to")
