"""The keys and values of kind's configuration, kind.x-k8s.io/v1alpha4, as a table, and what does not fit it.

Source: https://kind.sigs.k8s.io/docs/user/configuration/ and kind's pkg/apis/config/v1alpha4/types.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from bootstrap.core.text import suggest_word
from bootstrap.settings.strict_yaml import Node, join_path

API_VERSION = "kind.x-k8s.io/v1alpha4"

Schema = type | range | tuple[str, ...] | list["Schema"] | dict[str, "Schema"]
"""A type, a range of whole numbers, a choice of words, a list of one schema, or the keys of a mapping ("*": any)."""

_HOST_PORT = range(-1, 65536)  # 0: kind chooses; -1: the engine does
_JSON6902: Schema = [{"group": str, "version": str, "kind": str, "patch": str}]
_MOUNT: Schema = {
    "containerPath": str,
    "hostPath": str,
    "readOnly": bool,
    "selinuxRelabel": bool,
    "propagation": ("None", "HostToContainer", "Bidirectional"),
}
_MAPPING: Schema = {
    "containerPort": range(1, 65536),
    "hostPort": _HOST_PORT,
    "listenAddress": str,
    "protocol": ("TCP", "UDP", "SCTP"),
}
_NODE: Schema = {
    "role": ("control-plane", "worker"),
    "image": str,
    "labels": {"*": str},
    "extraMounts": [_MOUNT],
    "extraPortMappings": [_MAPPING],
    "kubeadmConfigPatches": [str],
    "kubeadmConfigPatchesJSON6902": _JSON6902,
}
CLUSTER: Schema = {
    "kind": ("Cluster",),
    "apiVersion": (API_VERSION,),
    "name": str,
    "nodes": [_NODE],
    "networking": {
        "ipFamily": ("ipv4", "ipv6", "dual"),
        "apiServerPort": _HOST_PORT,
        "apiServerAddress": str,
        "podSubnet": str,
        "serviceSubnet": str,
        "disableDefaultCNI": bool,
        "kubeProxyMode": ("iptables", "ipvs", "nftables", "none"),
        "dnsSearch": [str],
    },
    "featureGates": {"*": bool},
    "runtimeConfig": {"*": str},
    "kubeadmConfigPatches": [str],
    "kubeadmConfigPatchesJSON6902": _JSON6902,
    "containerdConfigPatches": [str],
    "containerdConfigPatchesJSON6902": [str],
}
_TYPES = {str: "text", bool: "true or false"}


def find_misfits(node: Node, schema: Schema, path: tuple[str, ...] = ()) -> Iterator[tuple[int, str]]:
    """(line, what is wrong) for everything below `node` that the schema does not foresee."""
    if isinstance(schema, dict):
        yield from _find_key_misfits(node, schema, path)
    elif isinstance(schema, list):
        if not isinstance(node.value, list):
            yield node.line, f"{join_path(path)}: {node.describe()} where a list is expected"
            return
        for index, item in enumerate(node.value):
            yield from find_misfits(item, schema[0], (*path, f"[{index}]"))
    elif (complaint := _judge_scalar(node, schema)) is not None:
        yield node.line, f"{join_path(path)}: {complaint}"


def _find_key_misfits(node: Node, schema: dict[str, Schema], path: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """As `find_misfits`, for a mapping."""
    if not isinstance(node.value, dict):
        yield node.line, f"{join_path(path) or 'the file'}: {node.describe()} where key: value is expected"
        return
    for key, value in node.value.items():
        below = (*path, key)
        if key in schema or "*" in schema:
            yield from find_misfits(value, schema.get(key, schema.get("*", str)), below)
        else:
            yield node.lines[key], f"{join_path(below)}: unknown key{suggest_word(key, schema)}"


def _judge_scalar(node: Node, schema: type | range | tuple[str, ...]) -> str | None:
    """What is wrong with a single value, None if it fits."""
    value = node.data()
    if isinstance(schema, range):
        fits = type(value) is int and value in schema
        return None if fits else f"{node.describe()} is not a number from {schema[0]} to {schema[-1]}"
    if isinstance(schema, tuple):
        return None if value in schema else f"{node.describe()} is not {' or '.join(schema)}"
    return None if type(value) is schema else f"{node.describe()} where {_TYPES[schema]} is expected"
