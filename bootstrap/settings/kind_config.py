"""kind's configuration as the user wrote it, checked, and with our needs patched in on parsed YAML.

Nothing that the user set is overwritten; where a wish of theirs contradicts a need of ours, the fault names the line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bootstrap.core import untrusted
from bootstrap.core.errors import Fault, UsageError
from bootstrap.core.model import Object
from bootstrap.core.text import format_count
from bootstrap.settings import strict_yaml
from bootstrap.settings.kind_schema import CLUSTER, find_misfits
from bootstrap.settings.strict_yaml import Node, join_path

LOOPBACK = "127.0.0.1"
_KUBELET = {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration"}
_KUBEADM = {"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "ClusterConfiguration"}
"""What kind gives kubeadm from Kubernetes 1.36 on; older node images have another version, which has no such field."""


@dataclass(frozen=True)
class PortMapping:
    """container_port of the first control-plane node, on 127.0.0.1:host_port; 0: one that kind chooses."""

    container_port: int
    host_port: int


@dataclass(frozen=True)
class Document:
    """A user's configuration without faults. root: with the line of everything; where: the file's name."""

    where: str
    root: Node

    @property
    def data(self) -> Object:
        """A fresh copy as plain values."""
        data: Object = self.root.data()
        return data

    def find_line(self, *path: str | int) -> int:
        """The line of the value at `path`, or of the nearest value around it that the file holds."""
        node = self.root
        line = node.line
        for part in path:
            if isinstance(part, str) and isinstance(node.value, dict) and part in node.value:
                line, node = node.lines[part], node.value[part]
            elif isinstance(part, int) and isinstance(node.value, list) and part < len(node.value):
                node = node.value[part]
                line = node.line
            else:
                break
        return line


def load(file: Path) -> Document:
    """The user's file, checked. Raises UsageError with every fault of the file."""
    return _check_document(file.name, *strict_yaml.read(file, file.name))


def parse(text: str, where: str = "kind-config.yaml") -> Document:
    """As `load`, from text. where: the name of the file in faults. Raises UsageError."""
    return _check_document(where, *strict_yaml.parse(text, where))


def render(
    document: Document,
    *,
    name: str,
    node_image: str,
    api_port: int,
    mappings: Sequence[PortMapping] = (),
    fail_cgroup_v1: bool = True,
    labels: Mapping[str, str] | None = None,
    certificate_hours: int = 0,
    unused_image_hours: int = 0,
    elect_leaders: bool = True,
) -> Object:
    """What `kind create` is given: the user's configuration and our needs.

    api_port: 0 leaves the choice to the user's file or to kind. fail_cgroup_v1: False on a host with cgroup v1,
    where the kubelet would refuse to start. labels: for every node. certificate_hours: life of the certificates that
    kubeadm makes, 0: its default, which is a year. unused_image_hours: after which a node deletes an image that no
    container uses and that is not pinned, 0: never, for kind lets the disk fill. elect_leaders: False where one
    control-plane node has nobody to elect: a scheduler or controller manager that cannot renew its Lease in ten seconds
    ends, and that happens when the machine slept or is busy. Raises UsageError for contradictions.
    """
    patch = _Patch(document)
    patch.settle((), "name", name)
    patch.settle(("networking",), "apiServerAddress", LOOPBACK)
    if api_port:
        patch.settle(("networking",), "apiServerPort", api_port)
    nodes = patch.data["nodes"] = patch.data.get("nodes") or [{"role": "control-plane"}]
    for index, node in enumerate(nodes):
        node.setdefault("image", node_image)
        for key, value in (labels or {}).items():
            patch.settle(("nodes", index, "labels"), key, value)
    patch.publish(mappings)
    patch.patch_kubelet(
        {"serializeImagePulls": False}
        | ({} if fail_cgroup_v1 else {"failCgroupV1": False})
        | ({"imageMaximumGCAge": f"{unused_image_hours}h"} if unused_image_hours else {})
    )
    if certificate_hours:
        patch.patch_cluster({"certificateValidityPeriod": f"{certificate_hours}h0m0s"})
    if not elect_leaders and [node.get("role", "control-plane") for node in nodes].count("control-plane") == 1:
        alone = {"extraArgs": [{"name": "leader-elect", "value": "false"}]}
        patch.patch_cluster({"controllerManager": alone, "scheduler": alone})
    return patch.finish()


def _check_document(where: str, root: Node | None, faults: list[Fault]) -> Document:
    """Raises UsageError with the faults given and those that the schema and the rules find."""
    if root is None and not faults:
        faults.append(Fault(where, 0, "it is empty; `kind: Cluster` is expected"))
    if root is not None:
        faults += [Fault(where, line, text) for line, text in find_misfits(root, CLUSTER)]
    if root is not None and not faults:
        faults += [Fault(where, line, text) for line, text in _find_contradictions(root)]
    if faults or root is None:
        raise _make_error(where, faults)
    return Document(where, root)


def _make_error(where: str, faults: Sequence[Fault]) -> UsageError:
    return UsageError(
        f"{where}: {format_count(len(faults), 'fault')}", faults=sorted(faults, key=lambda fault: fault.line)
    )


def _find_contradictions(root: Node) -> Iterator[tuple[int, str]]:
    """(line, what is wrong) for what fits the schema and still cannot work."""
    assert isinstance(root.value, dict)  # noqa: S101  the schema was checked before
    for key in ("kind", "apiVersion"):
        if key not in root.value:
            yield root.line, f"{key}: missing"
    if "nodes" not in root.value:
        return
    nodes = root.value["nodes"].data()
    if "control-plane" not in [node.get("role", "control-plane") for node in nodes]:
        yield root.lines["nodes"], "nodes: at least one control-plane is needed"
    for index, node in enumerate(nodes):
        for at, mapping in enumerate(node.get("extraPortMappings", [])):
            if "containerPort" not in mapping:
                path = f"nodes[{index}].extraPortMappings[{at}]"
                yield (
                    Document("", root).find_line("nodes", index, "extraPortMappings", at),
                    f"{path}.containerPort: missing",
                )


class _Patch:
    """Our needs, one after the other, on a copy of the user's values; contradictions are collected."""

    def __init__(self, document: Document) -> None:
        self.data = document.data
        self._document = document
        self._faults: list[Fault] = []

    def finish(self) -> Object:
        """The patched values. Raises UsageError with every contradiction."""
        if self._faults:
            raise _make_error(self._document.where, self._faults)
        return self.data

    def settle(self, path: tuple[str | int, ...], key: str, value: Any) -> None:
        """Set `key` below `path`, unless it has this value already; another value is a contradiction."""
        place: Any = self.data
        for part in path:
            place = place.setdefault(part, {}) if isinstance(part, str) and isinstance(place, dict) else place[part]
        if place.setdefault(key, value) != value:
            self._add_fault((*path, key), f"{place[key]!r}, but {value!r} is needed")

    def publish(self, mappings: Sequence[PortMapping]) -> None:
        """On the first control-plane node, unless the user published the same there."""
        nodes = self.data["nodes"]
        first = next(i for i, node in enumerate(nodes) if node.get("role", "control-plane") == "control-plane")
        for wanted in mappings:
            if not self._is_published(first, wanted):
                ours = {
                    "containerPort": wanted.container_port,
                    "hostPort": wanted.host_port,
                    "listenAddress": LOOPBACK,
                    "protocol": "TCP",
                }
                nodes[first].setdefault("extraPortMappings", []).append(ours)

    def _is_published(self, first: int, wanted: PortMapping) -> bool:
        """Whether the user's own mapping does; one that stands in the way is a contradiction."""
        for index, node in enumerate(self._document.data.get("nodes") or []):
            for at, mapping in enumerate(node.get("extraPortMappings", [])):
                if mapping.get("protocol", "TCP") != "TCP":
                    continue
                same_container = index == first and mapping["containerPort"] == wanted.container_port
                same_host = wanted.host_port and mapping.get("hostPort", 0) == wanted.host_port
                if not same_container and not same_host:
                    continue
                if same_container and mapping.get("listenAddress") == LOOPBACK and (same_host or not wanted.host_port):
                    return True
                needed = f"{LOOPBACK}:{wanted.host_port or 'any'} for node port {wanted.container_port} is needed"
                self._add_fault(("nodes", index, "extraPortMappings", at), f"stands in the way: {needed}")
        return False

    def patch_kubelet(self, wanted: Mapping[str, Any]) -> None:
        """A patch of the kubelet's configuration with those of our wishes that the user left open.

        kind applies a node's own patches last, so those need no room made for them.
        """
        ours = dict(wanted)
        for path, patch in self._list_kubelet_patches():
            if patch.get("failCgroupV1") is True and "failCgroupV1" in wanted:
                self._add_fault(path, "failCgroupV1: true, but this machine has cgroup v1")
            if path[0] != "nodes":
                ours = {key: value for key, value in ours.items() if key not in patch}
        if ours:
            text = yaml.safe_dump({**_KUBELET, **ours}, sort_keys=True)
            self.data.setdefault("kubeadmConfigPatches", []).append(text)

    def patch_cluster(self, wanted: Mapping[str, Any]) -> None:
        """A patch of kubeadm's ClusterConfiguration; before the user's own, which are applied last and so win.

        kind 0.33 puts the `extraArgs` of a patch into its own list by their names.
        """
        text = yaml.safe_dump({**_KUBEADM, **wanted}, sort_keys=True)
        self.data.setdefault("kubeadmConfigPatches", []).insert(0, text)

    def _list_kubelet_patches(self) -> Iterator[tuple[tuple[str | int, ...], Object]]:
        places: list[tuple[tuple[str | int, ...], Object]] = [((), self.data)]
        places += [(("nodes", index), node) for index, node in enumerate(self.data["nodes"])]
        for path, place in places:
            for at, text in enumerate(place.get("kubeadmConfigPatches", [])):
                here = (*path, "kubeadmConfigPatches", at)
                try:
                    patches = untrusted.load_yaml(text, self._document.where)
                except UsageError as error:
                    self._add_fault(here, error.faults[0].text)
                    continue
                for patch in patches:
                    if isinstance(patch, dict) and patch.get("kind") == _KUBELET["kind"]:
                        yield here, patch

    def _add_fault(self, path: tuple[str | int, ...], text: str) -> None:
        name = join_path([part if isinstance(part, str) else f"[{part}]" for part in path])
        self._faults.append(Fault(self._document.where, self._document.find_line(*path), f"{name}: {text}"))
