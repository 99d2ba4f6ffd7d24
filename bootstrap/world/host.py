"""The adapter for the machine's own facts: processes, routes, mounts and distribution, read from /proc, /sys and /etc.

Shapes: proc(5). Functions that read files take the root of the file tree, so that tests give them a small one of their
own.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
LISTENING = "0A"
"""State of a socket in /proc/net/tcp."""


def list_processes(root: Path = ROOT) -> Iterator[tuple[int, list[str]]]:
    """(pid, argv) of every process that has an argv."""
    for folder in (root / "proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it ended while we looked
            continue
        if words[0]:
            yield int(folder.name), words[:-1]


def list_children(pid: int, root: Path = ROOT) -> list[int]:
    """Numbers of the processes whose parent is `pid`."""
    found = []
    for child, _ in list_processes(root):
        with contextlib.suppress(OSError):
            # The program's name stands in brackets and may hold anything, brackets too.
            fields = (root / "proc" / str(child) / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                found.append(child)
    return found


def is_linux(root: Path = ROOT) -> bool:
    """Whether this machine tells of itself in /proc. Elsewhere (macOS) the engine runs in a machine of its own."""
    return (root / "proc/self/status").exists()


def count_cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_root() -> bool:
    """Whether this process runs as root."""
    return os.geteuid() == 0


def has_apt(root: Path = ROOT) -> bool:
    """Whether this is Debian, Ubuntu, or a distribution made from one of them, by os-release."""
    return bool({"debian", "ubuntu"} & set(read_distribution(root)))


def read_distribution(root: Path = ROOT) -> list[str]:
    """ID and ID_LIKE of os-release(5), most specific first; empty without the file."""
    try:
        lines = (root / "etc/os-release").read_text().splitlines()
    except OSError:
        return []
    fields = {key: value.strip("\"'") for key, _, value in (line.partition("=") for line in lines)}
    return [*fields.get("ID", "").split(), *fields.get("ID_LIKE", "").split()]


def list_routes(root: Path = ROOT) -> list[tuple[str, ipaddress.IPv4Network]]:
    """(interface, destination) of each IPv4 route; the default route is 0.0.0.0/0."""
    found = []
    for line in (root / "proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        address, mask = (ipaddress.IPv4Address(bytes.fromhex(fields[column])[::-1]) for column in (1, 7))
        found.append((fields[0], ipaddress.IPv4Network(f"{address}/{mask}", strict=False)))
    return found


def read_memory_gib(root: Path = ROOT) -> float:
    """Total memory in GiB."""
    file = root / "proc/meminfo"
    if file.exists():
        return int(file.read_text().split()[1]) / 2**20
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def measure_free_gb(folder: Path) -> float:
    """Free disk space in GB (10^9 bytes) where `folder` is, or will be made."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / 1e9


def find_filesystem(folder: Path, root: Path = ROOT) -> str:
    """Type of the file system that holds `folder` ("ext4", "overlay"); "" if no mount point is above it."""
    best, kind = -1, ""
    for line in (root / "proc/self/mounts").read_text().splitlines():
        _, point, found = line.split()[:3]
        if folder.is_relative_to(point) and len(Path(point).parts) >= best:
            best, kind = len(Path(point).parts), found
    return kind


def find_cgroup_version(root: Path = ROOT) -> int:
    """Version of control groups: 2 (unified), 1 (one hierarchy per controller), or 0.

    0 means that nothing is mounted, and no container can start.
    """
    folder = root / "sys/fs/cgroup"
    if (folder / "cgroup.controllers").exists():
        return 2
    return 1 if (folder / "memory").exists() else 0


def find_listener(port: int, root: Path = ROOT) -> tuple[int, list[str]] | None:
    """(pid, argv) of what listens on TCP `port`; pid 0 if its owner cannot be seen; None if the port is free."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        file = root / "proc/net" / table
        for line in file.read_text().splitlines()[1:] if file.exists() else ():
            fields = line.split()
            if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return None
    return next((found for found in list_processes(root) if _holds(found[0], inodes, root)), (0, []))


def _holds(pid: int, links: set[str], root: Path) -> bool:
    try:
        return any(str(file.readlink()) in links for file in (root / "proc" / str(pid) / "fd").iterdir())
    except OSError:  # it ended, or it is another user's
        return False


def read_mtu(root: Path = ROOT) -> int:
    """MTU in bytes of the interface that leads outside; 1500 without one."""
    for interface, network in list_routes(root):
        if network.prefixlen == 0:
            return int((root / "sys/class/net" / interface / "mtu").read_text())
    return 1500


def list_mounts(folder: Path, root: Path = ROOT) -> list[Path]:
    """Mount points at or below `folder`, innermost first."""
    lines = (root / "proc/self/mounts").read_text().splitlines()
    points = [Path(line.split()[1].encode().decode("unicode_escape")) for line in lines]
    return sorted((point for point in points if point.is_relative_to(folder)), reverse=True)
