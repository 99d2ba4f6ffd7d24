"""Files on nodes of a kind cluster, ours or the user's: the registry's address, CA and a login that can only
pull, and further CAs.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bootstrap.core import constants
from bootstrap.core.model import Pending, Ready, Verdict
from bootstrap.settings.ca_file import read
from bootstrap.steps.registry import PULL_USER, ensure_pull_password, make_tar
from bootstrap.world import World
from bootstrap.world.engine.protocol import Container

KIND_LABEL = "io.x-k8s.kind.cluster"
MARK = "/kind/tekton-bootstrap"
"""A file on the first control-plane node, written last: the digest of what the cluster was made from."""
HOSTS = "/etc/containerd/certs.d"
CERTS = f"{HOSTS}/{constants.REGISTRY}"
OTHERS = f"{HOSTS}/_default"
"""containerd's folders for the environment's registry, and for every one that has no folder of its own."""


VOLUMES = "/var/local-path-provisioner"
"""Where the nodes of kind keep what pods write to their volumes: commits, images, caches."""
LOOK = """\
set -e
mark=$1 volumes=$2
shift 2
if [ -e "$mark" ]; then cat "$mark"; fi
echo
if [ -d "$volumes" ]; then
    found=$(ls -A "$volumes")
    if [ -n "$found" ]; then printf volumes; fi
fi
echo
for file; do
    if [ -e "$file" ]; then cat "$file"; fi
done
"""
"""For `sh -c LOOK sh MARK VOLUMES FILE...`. What is absent prints nothing; any other failure ends it with a code.
"""


@dataclass(frozen=True)
class NodeFiles:
    """What a node holds of ours.

    mark: content of the file MARK, "" if there is none. volumes: whether pods have written data there.
    trust: content of the files of `make_trust_files`, one after the other.
    """

    mark: str
    volumes: bool
    trust: str


def read_node_files(world: World, nodes: Sequence[Container]) -> dict[str, NodeFiles]:
    """What each of the nodes holds, by the node's name. They are asked at the same time, which takes 0.2 s.

    Raises CommandError, TimedOut if a node cannot be asked: that says nothing about what it holds.
    """

    def look(node: Container) -> NodeFiles:
        words = ("sh", "-c", LOOK, "sh", MARK, VOLUMES, *make_trust_files(world))
        mark, volumes, trust = world.engine.exec(node.name, *words).split("\n", 2)
        return NodeFiles(mark.strip(), volumes == "volumes", trust)

    if not nodes:
        return {}
    with ThreadPoolExecutor(len(nodes), thread_name_prefix="node") as pool:
        return dict(zip([node.name for node in nodes], pool.map(look, nodes), strict=True))


def judge_trust(world: World, files: Mapping[str, NodeFiles]) -> Verdict:
    """Ready when every node has the registry's CA and its password for pulling, and the CAs of `ca_file`."""
    untrusting = [name for name, held in files.items() if held.trust != "".join(make_trust_files(world).values())]
    return Pending(f"{untrusting[0]} does not trust the registry yet") if untrusting else Ready()


def write_trust_files(world: World, nodes: Sequence[Container]) -> None:
    """Write the files of `make_trust_files` to the nodes.

    containerd reads them at each pull, so nothing is restarted.
    """
    parent, _, folder = HOSTS.rpartition("/")
    files = {path.removeprefix(f"{HOSTS}/"): text.encode() for path, text in make_trust_files(world).items() if text}
    for node in nodes:
        world.engine.copy_into(node.name, parent, make_tar(folder, files))


def make_trust_files(world: World) -> dict[str, str]:
    """The files for a node, path -> text. A cluster of the user gets only those of the registry."""
    own = {
        f"{CERTS}/hosts.toml": make_hosts_toml(world),
        f"{CERTS}/ca.crt": world.identity.ensure_ca().certificate.decode(),
    }
    if world.config.context:
        return own
    company = read("ca_file", world.config.ca_file) if world.config.ca_file else ""
    told = f'ca = "{OTHERS}/ca.crt"\n' if company else ""
    return own | {f"{OTHERS}/hosts.toml": told, f"{OTHERS}/ca.crt": company}


def make_hosts_toml(world: World) -> str:
    """containerd's entry for the registry: our CA, and a login, so that pods need no Secret for pulling.

    The login is for a server that nobody can push to. Format: containerd docs/hosts.md.
    """
    login = b64encode(f"{PULL_USER}:{ensure_pull_password(world).reveal()}".encode()).decode()
    host = f"https://{constants.PULL_REGISTRY}"
    lines = [
        f'server = "https://{constants.REGISTRY}"',
        f'[host."{host}"]',
        '  capabilities = ["pull", "resolve"]',
        f'  ca = "{CERTS}/ca.crt"',
        f'  [host."{host}".header]',
        f'    Authorization = "Basic {login}"',
    ]
    return "\n".join(lines) + "\n"
