from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.core.errors import UsageError
from bootstrap.core.model import Object
from bootstrap.settings.kind_config import PortMapping, load, parse, render

ROOT = Path(__file__).resolve().parents[3]
HEAD = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"
MAPPINGS = [PortMapping(30300, 0), PortMapping(30880, 8080)]


def rendered(text: str, **options: Any) -> Object:
    wishes: dict[str, Any] = {"name": "demo", "node_image": "node@sha256:ab", "api_port": 0} | options
    return render(parse(text), **wishes)


def faults(text: str, **options: Any) -> list[tuple[int, str]]:
    with pytest.raises(UsageError) as caught:
        rendered(text, **options)
    assert {fault.where for fault in caught.value.faults} == {"kind-config.yaml"}
    return [(fault.line, fault.text) for fault in caught.value.faults]


def kubelet(document: Object) -> list[Object]:
    return [yaml.safe_load(text) for text in document.get("kubeadmConfigPatches", [])]


def test_the_shipped_file_with_our_needs() -> None:
    document = load(ROOT / "kind-config.yaml")
    options: dict[str, Any] = {"name": "demo", "node_image": "node@sha256:ab", "api_port": 6443, "mappings": MAPPINGS}
    found = render(document, fail_cgroup_v1=False, **options)
    assert yaml.safe_dump(found, sort_keys=True) == (
        """\
apiVersion: kind.x-k8s.io/v1alpha4
kind: Cluster
kubeadmConfigPatches:
- 'apiVersion: kubelet.config.k8s.io/v1beta1

  failCgroupV1: false

  kind: KubeletConfiguration

  serializeImagePulls: false

  '
name: demo
networking:
  apiServerAddress: 127.0.0.1
  apiServerPort: 6443
nodes:
- extraPortMappings:
  - containerPort: 30300
    hostPort: 0
    listenAddress: 127.0.0.1
    protocol: TCP
  - containerPort: 30880
    hostPort: 8080
    listenAddress: 127.0.0.1
    protocol: TCP
  image: node@sha256:ab
  role: control-plane
- image: node@sha256:ab
  role: worker
"""
    )
    assert document.data["nodes"] == [{"role": "control-plane"}, {"role": "worker"}]  # the user's stays as it was


def test_the_cluster_of_the_end_to_end_tests_is_the_shipped_one_but_for_its_etcd() -> None:
    tried = load(ROOT / "tests/e2e/two-nodes.yaml").data
    [patch] = tried["nodes"][0].pop("kubeadmConfigPatches")
    assert tried == load(ROOT / "kind-config.yaml").data
    etcd = {"local": {"extraArgs": [{"name": "unsafe-no-fsync", "value": "true"}]}}
    assert yaml.safe_load(patch) == {"kind": "ClusterConfiguration", "etcd": etcd}


def test_without_cgroup_v1_the_kubelet_keeps_its_mind() -> None:
    assert kubelet(rendered(HEAD)) == [
        {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "serializeImagePulls": False}
    ]


def test_unused_images_go_after_a_time_unless_the_user_has_set_one() -> None:
    [ours] = kubelet(rendered(HEAD, unused_image_hours=24))
    assert ours["imageMaximumGCAge"] == "24h"
    own = "kubeadmConfigPatches:\n- |\n  kind: KubeletConfiguration\n  imageMaximumGCAge: 1h\n"
    theirs, ours = kubelet(rendered(HEAD + own, unused_image_hours=24))
    assert theirs["imageMaximumGCAge"] == "1h"
    assert "imageMaximumGCAge" not in ours


def test_no_nodes_means_one_as_kind_does() -> None:
    assert rendered(HEAD)["nodes"] == [{"role": "control-plane", "image": "node@sha256:ab"}]


def test_a_free_api_port_is_left_to_kind() -> None:
    assert rendered(HEAD)["networking"] == {"apiServerAddress": "127.0.0.1"}


def test_what_the_user_set_stays() -> None:
    text = HEAD + (
        "networking: {apiServerPort: 7000, podSubnet: 10.9.0.0/16}\n"
        "featureGates: {SomeGate: true}\n"
        "kubeadmConfigPatches:\n"
        "- |\n"
        "  kind: KubeletConfiguration\n"
        "  serializeImagePulls: true\n"
        "  maxPods: 50\n"
        "nodes:\n"
        "- role: worker\n"
        "- role: control-plane\n"
        "  image: mine:1\n"
        "  labels: {tier: front}\n"
        "  extraPortMappings: [{containerPort: 30300, hostPort: 4000, listenAddress: 127.0.0.1}]\n"
    )
    found = rendered(text, mappings=MAPPINGS, labels={"owner": "us"})
    assert found["networking"] == {"apiServerPort": 7000, "podSubnet": "10.9.0.0/16", "apiServerAddress": "127.0.0.1"}
    assert found["featureGates"] == {"SomeGate": True}
    assert kubelet(found) == [{"kind": "KubeletConfiguration", "serializeImagePulls": True, "maxPods": 50}]
    worker, control = found["nodes"]
    assert worker == {"role": "worker", "image": "node@sha256:ab", "labels": {"owner": "us"}}
    assert (control["image"], control["labels"]) == ("mine:1", {"tier": "front", "owner": "us"})
    assert [each["containerPort"] for each in control["extraPortMappings"]] == [30300, 30880]


def test_the_first_control_plane_publishes() -> None:
    found = rendered(HEAD + "nodes: [{role: worker}, {role: control-plane}]\n", mappings=MAPPINGS)
    assert "extraPortMappings" not in found["nodes"][0]
    assert len(found["nodes"][1]["extraPortMappings"]) == 2


def test_contradictions_are_told_with_their_lines() -> None:
    text = HEAD + (
        "name: other\n"
        "networking:\n"
        "  apiServerAddress: 0.0.0.0\n"
        "  apiServerPort: 7000\n"
        "kubeadmConfigPatches:\n"
        "- |\n"
        "  kind: KubeletConfiguration\n"
        "  failCgroupV1: true\n"
        "- 'a: b: c'\n"
        "nodes:\n"
        "- role: control-plane\n"
        "  labels: {owner: them}\n"
        "  extraPortMappings:\n"
        "  - containerPort: 30300\n"
        "    hostPort: 4000\n"
        "- role: worker\n"
        "  extraPortMappings:\n"
        "  - {containerPort: 99, hostPort: 8080}\n"
        "  - {containerPort: 30300, hostPort: 8080, protocol: UDP}\n"
    )
    found = faults(text, api_port=6443, mappings=MAPPINGS, fail_cgroup_v1=False, labels={"owner": "us"})
    assert found == [
        (3, "name: 'other', but 'demo' is needed"),
        (5, "networking.apiServerAddress: '0.0.0.0', but '127.0.0.1' is needed"),
        (6, "networking.apiServerPort: 7000, but 6443 is needed"),
        (8, "kubeadmConfigPatches[0]: failCgroupV1: true, but this machine has cgroup v1"),
        (11, "kubeadmConfigPatches[1]: it is not YAML: mapping values are not allowed in this context"),
        (14, "nodes[0].labels.owner: 'them', but 'us' is needed"),
        (
            16,
            "nodes[0].extraPortMappings[0]: stands in the way: 127.0.0.1:any for node port 30300 is needed",
        ),
        (
            20,
            "nodes[1].extraPortMappings[0]: stands in the way: 127.0.0.1:8080 for node port 30880 is needed",
        ),
    ]


def test_every_fault_is_told_at_once() -> None:
    text = (
        "kind: Clustre\n"
        "apiVersion: v1\n"
        "node: []\n"
        "nodes:\n"
        "- role: master\n"
        "  imgae: x\n"
        "  extraPortMappings:\n"
        "  - containerPort: 70000\n"
        "    listenAddress: 1\n"
        "- worker\n"
        "networking: []\n"
        "featureGates: {A: maybe}\n"
        "name:\n"
        "kind: Cluster\n"
    )
    assert faults(text) == [
        (1, 'kind: "Clustre" is not Cluster'),
        (2, 'apiVersion: "v1" is not kind.x-k8s.io/v1alpha4'),
        (3, "node: unknown key; did you mean nodes?"),
        (5, 'nodes[0].role: "master" is not control-plane or worker'),
        (6, "nodes[0].imgae: unknown key; did you mean image?"),
        (8, 'nodes[0].extraPortMappings[0].containerPort: "70000" is not a number from 1 to 65535'),
        (9, 'nodes[0].extraPortMappings[0].listenAddress: "1" where text is expected'),
        (10, 'nodes[1]: "worker" where key: value is expected'),
        (11, "networking: a list where key: value is expected"),
        (12, 'featureGates.A: "maybe" where true or false is expected'),
        (13, "name: nothing where text is expected"),
        (14, "kind: given twice, first on line 1"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0, "it is empty; `kind: Cluster` is expected")),
        ("kind: Cluster\n", (1, "apiVersion: missing")),
        (HEAD + "nodes:\n- role: worker\n", (3, "nodes: at least one control-plane is needed")),
        (HEAD + "nodes: []\n", (3, "nodes: at least one control-plane is needed")),
        (
            HEAD + "nodes:\n- extraPortMappings:\n  - hostPort: 1\n",
            (5, "nodes[0].extraPortMappings[0].containerPort: missing"),
        ),
        ("- a\n", (1, "the file: a list where key: value is expected")),
        ("kind: [", (1, "it is not YAML: did not find expected node content")),
        (HEAD + "name: &a x\n", (3, "&a: anchors are not accepted; write the value out")),
    ],
)
def test_what_cannot_work(text: str, expected: tuple[int, str]) -> None:
    assert faults(text) == [expected]


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path / "mine.yaml")
    assert [(fault.where, fault.line) for fault in caught.value.faults] == [("mine.yaml", 0)]


def test_certificates_live_as_long_as_asked_and_a_users_own_patch_wins() -> None:
    own = "kubeadmConfigPatches:\n- |\n  kind: ClusterConfiguration\n  certificateValidityPeriod: 1h0m0s\n"
    first, second, *_ = rendered(HEAD + own, certificate_hours=100)["kubeadmConfigPatches"]
    assert yaml.safe_load(first) == {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "ClusterConfiguration",
        "certificateValidityPeriod": "100h0m0s",
    }
    assert yaml.safe_load(second)["certificateValidityPeriod"] == "1h0m0s"
    assert "Certificate" not in str(rendered(HEAD))


@pytest.mark.parametrize(("planes", "patches"), [(1, 1), (2, 0)])
def test_controllers_elect_no_leader_where_there_is_one_control_plane(planes: int, patches: int) -> None:
    nodes = "nodes:\n" + "- role: control-plane\n" * planes + "- role: worker\n"
    found = [
        patch
        for patch in map(yaml.safe_load, rendered(HEAD + nodes, elect_leaders=False)["kubeadmConfigPatches"])
        if patch["kind"] == "ClusterConfiguration"
    ]
    assert len(found) == patches
    for patch in found:
        for part in ("controllerManager", "scheduler"):
            assert patch[part] == {"extraArgs": [{"name": "leader-elect", "value": "false"}]}
    assert "leader" not in str(rendered(HEAD + nodes))
