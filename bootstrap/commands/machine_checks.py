"""Measures the machine before anything is written. Each finding says what is, and what to type.

`examine` is all of it, for people; `preflight` is the part that must hold before `up` starts.
The doors in `bootstrap.world` measure, `bootstrap.commands.check_results` judges.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bootstrap.commands import check_results as judge
from bootstrap.commands.check_results import Finding
from bootstrap.core import constants
from bootstrap.core.errors import BootstrapError
from bootstrap.core.model import Failed, Ready
from bootstrap.supply.rootfs import CA_BUNDLE
from bootstrap.world import host, probe
from bootstrap.world.engine import runc_filter
from bootstrap.world.engine.protocol import Engine
from bootstrap.world.shell import Shell

if TYPE_CHECKING:
    from bootstrap.core.paths import Paths
    from bootstrap.settings.config import Config
    from bootstrap.world import World

INOTIFY = {"max_user_instances": 512, "max_user_watches": 65536}
"""Each node's kubelet, containerd and systemd take some; the kernel counts them per user, not per container."""
REGISTRIES = ("registry-1.docker.io", "ghcr.io", "gcr.io", "quay.io", "registry.k8s.io")
PORTS = ("cluster.api_port", "registry.port", "git.port", "app.port")
FORWARDS = ("dashboard.port", "listener.port")
"""Settings that are ports `up` publishes, and those that other commands open later."""
MOMENT = 1.5
"""Seconds for everything on the network together."""
PATIENCE = 10.0
"""The same for what would stop a cold start: a machine that is busy takes longer to ask than a server to answer."""


def examine(shell: Shell, engine: Engine, config: Config, paths: Paths, *, cold: bool) -> list[Finding]:
    """Every finding, in the order to read them; about two seconds, and nothing is changed.

    cold: images are still to be built (the supply's check is not Ready).
    """
    return [
        *(() if config.elsewhere else _examine_local_cluster(shell, engine, config, paths, cold)),
        *(examine_port(engine, config, name) for name in FORWARDS),
        *examine_network(shell, cold=cold),
        *judge.judge_authorities(os.environ, CA_BUNDLE),
        judge.judge_proxy(os.environ),
        judge.judge_cluster_proxy(config.proxy, os.environ),
        *judge.judge_tools(shell.which, root=host.is_root(), cold=cold),
    ]


def _examine_local_cluster(shell: Shell, engine: Engine, config: Config, paths: Paths, cold: bool) -> list[Finding]:
    """The checks that matter only where engine and nodes are on this machine."""
    found = [
        judge.judge_resources(*_measure_resources(shell, paths, cold)),
        judge.judge_builder(config.supply, builds=host.has_apt(), built=not cold),
        examine_engine(engine),
        *examine_engine_machine(engine),
        *(examine_port(engine, config, name) for name in PORTS),
    ]
    if host.is_linux():
        found += [
            judge.judge_kernel(
                platform.release(), host.find_cgroup_version(), _has_overlayfs(), host.find_filesystem(paths.state)
            ),
            judge.judge_capabilities(runc_filter.read_missing_capabilities(), managed=engine.is_managed),
            *(
                judge.judge_inotify(name, _read_sysctl(f"fs/inotify/{name}"), wanted)
                for name, wanted in INOTIFY.items()
            ),
        ]
    return found


def check_before_up(shell: Shell, engine: Engine, config: Config, paths: Paths, *, cold: bool) -> None:
    """Raises PreconditionError with every finding that would stop `up`; milliseconds unless `cold`."""
    choice = engine.choice
    found = [
        judge.judge_resources(*_measure_resources(shell, paths, cold)),
        *(examine_port(engine, config, name) for name in PORTS),
    ]
    found.append(judge.judge_builder(config.supply, builds=host.has_apt(), built=not cold))
    if isinstance(choice, Failed):
        found.append(Finding("fail", "engine", choice.why, choice.hint))
    if cold:
        found += judge.judge_builders(shell.which, root=host.is_root(), cold=True)
        found += judge.judge_authorities(os.environ, CA_BUNDLE)
        found += examine_network(shell, cold=True)
    judge.raise_failures(found)


def _measure_resources(shell: Shell, paths: Paths, cold: bool) -> tuple[int, float, float, int]:
    """Cores, memory in GiB, free disk in GB, and how much of it is needed."""
    disk = min(host.measure_free_gb(paths.cache), host.measure_free_gb(paths.state))
    needed = judge.COLD_GB if cold else judge.WARM_GB
    if disk < needed and cold:  # a build that was interrupted has used a part already
        needed = max(judge.WARM_GB, judge.COLD_GB - measure_used_gb(shell, paths))
    return host.count_cores(), host.read_memory_gib(), disk, needed


def measure_used_gb(shell: Shell, paths: Paths) -> int:
    """The size of cache and state now, in whole GB."""
    folders = [str(folder) for folder in (paths.cache, paths.state) if folder.exists()]
    if not folders:
        return 0
    lines = shell.run(["du", "-sB1", "-x", *folders], check=False, limit=60).stdout.splitlines()
    return sum(int(line.split()[0]) for line in lines) // 10**9


def examine_engine(engine: Engine) -> Finding:
    """Whether the engine answers."""
    try:
        verdict = engine.check()
    except BootstrapError as error:
        return Finding("fail", "engine", error.message, error.hint)
    if isinstance(verdict, Failed):
        return Finding("fail", "engine", verdict.why, verdict.hint)
    later = "" if isinstance(verdict, Ready) else "; invoke up sees to it"
    return Finding("ok", "engine", verdict.why + later)


def examine_engine_machine(engine: Engine) -> list[Finding]:
    """Where the user's Docker runs: with Docker Desktop, colima or podman machine that is not this machine."""
    if engine.is_managed:
        return []
    try:
        found = engine.read_machine()
    except BootstrapError:
        return []  # `engine_of` says why
    return [
        judge.judge_engine_machine(
            found.system, found.cores, found.memory_gib, rootless=found.rootless, cgroups=found.cgroups
        )
    ]


def examine_port(engine: Engine, config: Config, setting: str) -> Finding:
    """Whether a port of the settings is free, or held by this very environment."""
    group, _, field = setting.partition(".")
    port: int = getattr(getattr(config, group), field)
    holder = host.find_listener(port) if port else None
    if holder is None:
        return Finding("ok", f"port {port}" if port else setting, "free" if port else "chosen when needed")
    ours = port in _list_own_ports(engine, config.name)
    free = next(number for number in range(port + 1, port + 1000) if host.find_listener(number) is None)
    return judge.judge_taken_port(setting, port, holder, ours=ours, free=free)


def examine_network(shell: Shell, *, cold: bool) -> list[Finding]:
    """DNS, container registries and package registries; without the last, nothing new can be built."""
    packages = list_package_registries(shell)
    registries = {f"https://{name}/v2/": name for name in REGISTRIES}
    answers = probe.probe_all(lambda url: probe.read_status(url, MOMENT), [*packages, *registries], MOMENT)
    silent = [url for url in packages if cold and not answers[url]]
    answers |= probe.probe_all(lambda url: probe.read_status(url, PATIENCE), silent, PATIENCE)
    hosts = {urlsplit(url).hostname or "" for url in packages}
    known = {} if judge.list_proxy_hosts(os.environ) else probe.probe_all(probe.resolves, hosts, MOMENT)
    in_reach = [name for url, name in registries.items() if answers[url] in (200, 401)]
    return [
        *([judge.judge_dns(known)] if known else []),
        Finding("ok", "registries in reach", ", ".join(in_reach) or "none"),
        *(judge.judge_package_registry(url, what, answers[url], cold=cold) for url, what in packages.items()),
    ]


def list_package_registries(shell: Shell) -> dict[str, str]:
    """Address -> whose packages, as the ordinary clients are set up on this machine."""
    found = dict.fromkeys(map(_get_root, _list_indexes(shell)), "Python")
    if shell.which("go"):
        proxies = shell.run(["go", "env", "GOPROXY"], check=False).stdout.strip()
    else:  # it is fetched from the index of Python packages too, and reads this variable then
        proxies = os.environ.get("GOPROXY", "")
    found |= dict.fromkeys(map(_get_root, proxies.replace("|", ",").split(",")[:1]), "Go")
    if shell.which("apt-get"):
        sites = shell.run(["apt-get", "indextargets", "--format", "$(SITE)"], check=False).stdout.split()
        found |= dict.fromkeys(map(_get_root, sites), "apt")
    found.pop("", None)
    return found


def _list_indexes(shell: Shell) -> list[str]:
    """Where pip is told to look, by whatever file or variable; nothing where it is told nothing."""
    lines = shell.run([sys.executable, "-m", "pip", "config", "list"], check=False).stdout.splitlines()
    return [line.partition("=")[2].strip("'\" ") for line in lines if line.partition("=")[0].endswith("index-url")]


def _get_root(url: str) -> str:
    """Scheme, host and port: paths differ and credentials are nobody's business. "" for what is not the web."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}/"


def _list_own_ports(engine: Engine, name: str) -> set[int]:
    try:
        clusters = engine.list_containers(label=f"io.x-k8s.kind.cluster={name}", running=True)
        registries = engine.list_containers(name=constants.registry_container(name), running=True)
        return {port for box in (*clusters, *registries) for port in engine.list_ports(box.name).values()}
    except BootstrapError:
        return set()


def _has_overlayfs() -> bool:
    return "\toverlay\n" in Path("/proc/filesystems").read_text()


def _read_sysctl(name: str) -> int:
    return int(Path("/proc/sys", name).read_text())


def is_cold(world: World) -> bool:
    """Whether images have to be built first, which wants more disk and a network."""
    if world.config.supply != "source":
        return False
    if not host.has_apt():
        return True  # `doctor` says that it cannot be built here
    try:
        return not isinstance(world.images.check(), Ready)
    except BootstrapError:  # no engine answers: none was ever there, or it is stopped
        pass
    try:
        return not world.images.is_kept()
    except BootstrapError:  # what everything is made from is missing, see the findings
        return True
