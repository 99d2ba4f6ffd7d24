"""What is read from /proc and /etc, on small trees."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from bootstrap.world import host


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "etc").mkdir()
    return tmp_path


def process(root: Path, pid: int, *argv: str, parent: int = 1) -> Path:
    folder = root / "proc" / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in argv))
    (folder / "stat").write_text(f"{pid} (a ) b) S {parent} 0 0")
    return folder


def test_processes_without_argv_are_left_out(root: Path) -> None:
    process(root, 2)
    process(root, 7, "/bin/sleep", "1 2")
    assert list(host.list_processes(root)) == [(7, ["/bin/sleep", "1 2"])]


def test_children(root: Path) -> None:
    process(root, 7, "shim")
    process(root, 8, "init", parent=7)
    assert host.list_children(7, root) == [8]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("ID=debian\n", True), ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', True), ("ID=fedora\n", False)],
)
def test_has_apt(root: Path, text: str, expected: bool) -> None:
    (root / "etc/os-release").write_text(text)
    assert host.has_apt(root) is expected


def test_no_os_release_is_no_distribution(root: Path) -> None:
    assert host.read_distribution(root) == []


ROUTES = """Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0
eth0 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0
"""


def test_routes_and_mtu(root: Path) -> None:
    (root / "proc/net/route").write_text(ROUTES)
    (root / "sys/class/net/eth0").mkdir(parents=True)
    (root / "sys/class/net/eth0/mtu").write_text("1450\n")
    assert host.list_routes(root)[1] == ("eth0", IPv4Network("192.0.2.0/24"))
    assert host.read_mtu(root) == 1450


def test_mtu_without_a_way_out(root: Path) -> None:
    (root / "proc/net/route").write_text(ROUTES.splitlines()[0])
    assert host.read_mtu(root) == 1500


MOUNTS = "/dev/a / ext4 rw 0 0\noverlay /d/x overlay rw 0 0\nnsfs /d/x/y\\040z nsfs rw 0 0\nt /da tmpfs rw 0 0\n"


def test_mounts(root: Path) -> None:
    (root / "proc/self/mounts").write_text(MOUNTS)
    assert host.list_mounts(Path("/d"), root) == [Path("/d/x/y z"), Path("/d/x")]
    assert host.find_filesystem(Path("/d/x/q"), root) == "overlay"
    assert host.find_filesystem(Path("/d"), root) == "ext4"


@pytest.mark.parametrize(("made", "version"), [("cgroup.controllers", 2), ("memory", 1), ("other", 0)])
def test_cgroup_version(root: Path, made: str, version: int) -> None:
    (root / "sys/fs/cgroup" / made).mkdir(parents=True)
    assert host.find_cgroup_version(root) == version


SOCKETS = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2389 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1
   1: 0100007F:238A 0100007F:2389 01 00000000:00000000 00:00000000 00000000     0        0 4712 1
"""


def test_listener_is_found_by_its_socket(root: Path) -> None:
    (root / "proc/net/tcp").write_text(SOCKETS)
    folder = process(root, 7, "python3", "-m", "http.server")
    (folder / "fd/3").symlink_to("socket:[4711]")
    assert host.find_listener(0x2389, root) == (7, ["python3", "-m", "http.server"])
    assert host.find_listener(0x238A, root) is None  # connected, not listening


def test_listener_that_cannot_be_seen(root: Path) -> None:
    (root / "proc/net/tcp").write_text(SOCKETS)
    assert host.find_listener(0x2389, root) == (0, [])


def test_memory_and_disk(root: Path) -> None:
    (root / "proc/meminfo").write_text("MemTotal:       8388608 kB\n")
    assert host.read_memory_gib(root) == 8
    assert host.measure_free_gb(root / "not/there/yet") > 0
