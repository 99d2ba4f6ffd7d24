"""Each hop between this machine, the cluster and the registry, tried for real, for `invoke doctor`.

What is in the cluster is tried in pods that run anyway, and only where an environment is there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from bootstrap.commands.check_results import Finding
from bootstrap.core import constants
from bootstrap.core.errors import BootstrapError, CommandError
from bootstrap.core.model import Object
from bootstrap.objects.readiness import at
from bootstrap.settings.registry_endpoint import choose_endpoint
from bootstrap.steps.node_trust import HOSTS, KIND_LABEL
from bootstrap.steps.registry import PROOF
from bootstrap.world import World, probe

Address = tuple[str, int]
"""Host, port."""
SECONDS = 10.0
"""Of one hop; a busy machine takes some to begin with it."""
GIT, BUILDKIT = ("git", "git"), (constants.BUILD, "buildkitd")
"""Namespace and name of the pods that hops are tried from."""
PATIENCE = 4
API_NAME = "kubernetes.default.svc"
_OPEN = f"timeout {PATIENCE} bash -c 'exec 3<>\"/dev/tcp/$0/$1\"'"
CONNECT = f'{_OPEN} "$0" "$1"'
API = f'{_OPEN} "$KUBERNETES_SERVICE_HOST" "$KUBERNETES_SERVICE_PORT"'
KNOWN = """
address() { getent hosts "$1" | { read -r found rest; echo "$found"; }; }
found=$(address "$0")
[ -n "$found" ] || { echo "no address for $0"; exit 1; }
own=${1:-$(address "$0.")}
case " ${own:-$found} " in *" $found "*) exit 0 ;; esac
echo "it is $found, not $own; a search domain answers any name"
exit 1
"""
"""What is run in a pod, by `sh -c`: $0 and $1 are host and port; of KNOWN a name and its addresses, "" if nobody tells.

A name with a dot at its end is not looked for in search domains, one of which may answer every name (a wildcard).
"""
WAITS = ("ImagePullBackOff", "ErrImagePull", "InvalidImageName")


@dataclass(frozen=True)
class ConnectionCheck:
    """try_it: "" if it holds, else what is wrong. fix: what to type or look at then."""

    name: str
    try_it: Callable[[], str]
    found: str
    fix: str


def examine(world: World) -> list[Finding]:
    """Every hop that can be tried now, side by side."""
    todo = [*_list_local_checks(world), *_list_cluster_checks(world)]
    with ThreadPoolExecutor(max(1, len(todo)), thread_name_prefix="hop") as pool:
        return list(pool.map(_run_check, todo))


def _run_check(hop: ConnectionCheck) -> Finding:
    try:
        wrong = hop.try_it()
    except BootstrapError as error:
        wrong = error.message
    return Finding("warn", hop.name, wrong, hop.fix) if wrong else Finding("ok", hop.name, hop.found)


def _list_local_checks(world: World) -> Iterator[ConnectionCheck]:
    for key, url in _list_proxies(world):
        yield _check_connection(f"here -> {key}", _parse_authority(url), f"set {key} to one that answers, or unset it")
    if world.config.elsewhere:
        where = _parse_host_port(choose_endpoint(world.config).host)
        yield _check_connection("here -> registry", where, "look at mirror.registry, network and firewall")


def _check_connection(name: str, where: Address, fix: str) -> ConnectionCheck:
    said = f"{where[0]}:{where[1]}"
    return ConnectionCheck(
        name,
        lambda: "" if probe.accepts_connections(*where, SECONDS) else f"{said} does not answer",
        f"{said} answers",
        fix,
    )


def _list_cluster_checks(world: World) -> Iterator[ConnectionCheck]:
    """The checks from pods; none where no environment is."""
    pods = _find_pods(world)
    if not pods:
        return
    host, port = _parse_host_port(choose_endpoint(world.config).host)
    yield from _list_node_checks(world)
    if GIT in pods:
        pod = _Pod(world, pods[GIT])
        dns = "look at the pods of kube-system: kubectl -n kube-system get pods"
        for name, own in ((API_NAME, _find_api_addresses(world)), (host, "")):
            if not _is_address(name):
                yield pod.make_check(f"pod -> DNS, {name}", KNOWN, (name, own), dns)
        yield pod.make_check("pod -> API server", API, (), "invoke up; look at kube-proxy and network policies")
        yield pod.make_check("pod -> registry", CONNECT, (host, str(port)), "invoke up; look at network policies")
        for key, url in _list_proxies(world):
            at_host, at_port = _parse_authority(url)
            fix = f"set {key} to one that listens where pods reach it"
            yield pod.make_check(f"pod -> {key}", CONNECT, (at_host, str(at_port)), fix)
    if BUILDKIT in pods:
        fix = "invoke up; kubectl -n cicd-build logs deployment/buildkitd"
        yield _Pod(world, pods[BUILDKIT]).make_check("BuildKit -> registry", CONNECT, (host, str(port)), fix)


def _find_api_addresses(world: World) -> str:
    """Those of the API server within the cluster, separated by spaces; "" if nobody tells."""
    try:
        service = world.kube.get("v1", "Service", "kubernetes", "default")
    except BootstrapError:
        return ""
    return " ".join(at(service or {}, "spec", "clusterIPs") or ())


def _list_node_checks(world: World) -> Iterator[ConnectionCheck]:
    """A pull, where nodes are containers that can be asked; elsewhere what the pods say of theirs."""
    fix = "kubectl -n NAMESPACE describe pod NAME"
    yield ConnectionCheck("pods pull", lambda: _find_unpulled(world), "no pod waits for an image", fix)
    if world.config.elsewhere:
        return
    fix = "invoke up, which gives the nodes the CA and the password again"
    for node in world.engine.list_containers(label=f"{KIND_LABEL}={world.cluster}", running=True):
        found = f"pulled {constants.REGISTRY}/{PROOF}"
        yield ConnectionCheck(f"{node.name} -> registry", partial(_try_pull, world, node.name), found, fix)


def _try_pull(world: World, node: str) -> str:
    try:
        pull = ("ctr", "--namespace=k8s.io", "images", "pull", f"--hosts-dir={HOSTS}", f"{constants.REGISTRY}/{PROOF}")
        world.engine.exec(node, *pull, limit=20)
    except CommandError as error:
        said = [line for line in error.evidence.splitlines() if "DEPRECATION" not in line]
        return said[-1].removeprefix("ctr: ") if said else error.message
    return ""


def _find_unpulled(world: World) -> str:
    """The first pod of ours that waits for an image, and why."""
    for namespace in (constants.RUNS, constants.BUILD, constants.GIT, constants.TEKTON):
        for pod in world.kube.list("v1", "Pod", namespace):
            for key in ("initContainerStatuses", "containerStatuses"):
                for each in at(pod, "status", key) or ():
                    waiting = at(each, "state", "waiting") or {}
                    if waiting.get("reason") in WAITS:
                        why = waiting.get("message") or waiting["reason"]
                        return f"{namespace}/{pod['metadata']['name']}: {why}"
    return ""


def _find_pods(world: World) -> dict[tuple[str, str], Object]:
    """Those that run and that connections can be tried from; {} where no environment is, or its cluster does not
    answer.
    """
    found: dict[tuple[str, str], Object] = {}
    with contextlib.suppress(BootstrapError):
        for namespace, name in (GIT, BUILDKIT):
            for pod in world.kube.list("v1", "Pod", namespace, labels=f"app.kubernetes.io/name={name}"):
                if at(pod, "status", "phase") == "Running":
                    found[namespace, name] = pod
    return found


@dataclass(frozen=True)
class _Pod:
    """A running pod that connections are tried from."""

    world: World
    pod: Object

    def make_check(self, name: str, script: str, words: tuple[str, ...], fix: str) -> ConnectionCheck:
        return ConnectionCheck(name, lambda: self._run(script, words), "it holds", fix)

    def _run(self, script: str, words: tuple[str, ...]) -> str:
        meta, container = self.pod["metadata"], self.pod["spec"]["containers"][0]["name"]
        command = ["sh", "-c", script, *words]
        done = self.world.kube.execute(meta["namespace"], meta["name"], command, container=container, seconds=SECONDS)
        said = (done.stdout + done.stderr).strip().rpartition("\n")[2]
        said = said.rpartition(": ")[2]  # bash says first where in its script
        return "" if done.code == 0 else said or f"no connection within {PATIENCE} s"


def _list_proxies(world: World) -> list[tuple[str, str]]:
    """Setting, address."""
    settings = world.config.proxy
    return [(key, url) for key, url in (("proxy.http", settings.http), ("proxy.https", settings.https)) if url]


def _parse_authority(url: str) -> Address:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _parse_host_port(host: str) -> Address:
    return _parse_authority(f"https://{host}")


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
