"""The base file system: whose packages go into the images."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootstrap.core.errors import PreconditionError
from bootstrap.supply import rootfs
from bootstrap.world import host
from tests.unit.fake_shell import FakeShell

DEB822 = """Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

# the security team's
Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main contrib

Types: deb-src
URIs: http://mirror.example/debian
Suites: bookworm

Enabled: no
Types: deb
URIs: http://old.example.com/debian
Suites: bookworm
"""
LINES = """# comment
deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/ubuntu noble main universe
deb http://mirror.example/ubuntu noble-updates main
deb-src http://mirror.example/ubuntu noble main
deb https://download.docker.com/linux/ubuntu noble stable
deb https://packages.example.com/apt stable main
deb http://mirror.example/ubuntu noble main universe
"""


def test_deb822_sources() -> None:
    assert rootfs.list_distribution_sources([DEB822], "bookworm") == [
        "deb http://mirror.example/debian bookworm main",
        "deb http://mirror.example/debian bookworm-updates main",
        "deb http://mirror.example/debian-security bookworm-security main contrib",
    ]


def test_one_line_sources_without_those_of_other_releases_and_vendors() -> None:
    found = rootfs.list_distribution_sources([LINES], "noble")
    assert found[:2] == [
        "deb http://mirror.example/ubuntu noble main universe",
        "deb http://mirror.example/ubuntu noble-updates main",
    ]
    assert len(found) == len(set(found))
    assert not any("packages.example.com" in line for line in found)


def etc(folder: Path, release: str = "ID=debian\nVERSION_CODENAME=bookworm\n", sources: str = DEB822) -> Path:
    (folder / "apt/sources.list.d").mkdir(parents=True)
    (folder / "os-release").write_text(release)
    (folder / "apt/sources.list.d/debian.sources").write_text(sources)
    return folder


def test_the_machines_own_release_and_sources(tmp_path: Path) -> None:
    codename, sources = rootfs.read_machine_sources(etc(tmp_path, 'NAME="Debian"\nVERSION_CODENAME="bookworm"\n'))
    assert codename == "bookworm"
    assert len(sources) == 3


@pytest.mark.parametrize(
    ("release", "sources"),
    [("ID=fedora\n", ""), ("VERSION_CODENAME=trixie\n", DEB822), ("", DEB822)],
)
def test_another_kind_of_machine_is_refused(tmp_path: Path, release: str, sources: str) -> None:
    with pytest.raises(PreconditionError, match="Debian or Ubuntu"):
        rootfs.read_machine_sources(etc(tmp_path, release, sources))
    with pytest.raises(PreconditionError):
        rootfs.read_machine_sources(tmp_path / "nothing")


def test_mmdebstrap_gets_the_sources_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rootfs, "read_machine_sources", lambda: ("bookworm", ["deb http://mirror bookworm main"]))
    shell = FakeShell({"mmdebstrap": ""}, {"mmdebstrap": "/usr/bin/mmdebstrap"})
    rootfs.build(shell, tmp_path / "rootfs.tar", "arm64", lambda _: None)
    [command] = shell.ran
    assert "--architectures=arm64" in command
    assert command.endswith(f"bookworm {tmp_path}/rootfs.tar -"), "the sources come by stdin"


def test_without_root_the_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rootfs, "read_machine_sources", lambda: ("bookworm", ["deb http://mirror bookworm main"]))
    monkeypatch.setattr(host, "is_root", lambda: False)
    with pytest.raises(PreconditionError) as failure:
        rootfs.build(FakeShell(), tmp_path / "rootfs.tar", "amd64", lambda _: None)
    assert failure.value.hint == "sudo apt-get install mmdebstrap"
