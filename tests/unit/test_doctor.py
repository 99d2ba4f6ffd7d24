"""Each finding's level and fix; and what stops `up` before it starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bootstrap import doctor, findings
from bootstrap.errors import PreconditionError
from bootstrap.findings import Finding
from bootstrap.paths import Paths
from bootstrap.world import reach
from bootstrap.world.shell import Output
from tests.unit.fake_shell import FakeShell


@pytest.mark.parametrize(
    ("cores", "memory", "disk", "level"),
    [(2, 23.5, 71, "ok"), (1, 8, 71, "warn"), (2, 5.8, 71, "ok"), (2, 4, 71, "fail"), (2, 8, 24.9, "fail")],
)
def test_resources(cores: int, memory: float, disk: float, level: str) -> None:
    finding = findings.resources(cores, memory, disk, 25)
    assert finding.level == level
    assert bool(finding.fix) is (level != "ok")
    assert "needs 2, 6 GiB, 25 GB" in finding.what


@pytest.mark.parametrize(
    ("cgroups", "overlayfs", "filesystem", "level"),
    [(2, True, "ext4", "ok"), (1, True, "ext4", "ok"), (0, True, "ext4", "fail"), (2, False, "ext4", "warn")],
)
def test_kernel(cgroups: int, overlayfs: bool, filesystem: str, level: str) -> None:
    assert findings.kernel("6.1", cgroups, overlayfs, filesystem).level == level


def test_data_on_overlayfs_is_told() -> None:
    assert "XDG_STATE_HOME" in findings.kernel("6.1", 2, True, "overlay").fix


def test_capabilities() -> None:
    missing = frozenset({"CAP_SYS_RESOURCE"})
    assert findings.capabilities(frozenset(), managed=True).level == "ok"
    assert findings.capabilities(missing, managed=True).fix == "nothing to do"
    assert "managed" in findings.capabilities(missing, managed=False).fix


def test_inotify_names_the_sysctl() -> None:
    assert findings.inotify("max_user_instances", 512, 512).level == "ok"
    finding = findings.inotify("max_user_instances", 128, 512)
    assert (finding.level, finding.fix) == ("warn", "sysctl fs.inotify.max_user_instances=512")


def test_port_held_by_a_stranger_names_it_and_a_free_one() -> None:
    holder = (4121, ["/usr/bin/python3", "x"])
    finding = findings.taken_port("dashboard.port", 9097, holder, ours=False, free=9099)
    assert finding.level == "fail"
    assert finding.what == "taken by pid 4121 (python3)"
    assert finding.fix == "invoke up --set dashboard.port=9099"


@pytest.mark.parametrize(
    ("argv", "ours"),
    [(["/usr/sbin/docker-proxy"], True), (["python3", "/v/bin/invoke", "dashboard"], False)],
)
def test_port_held_by_this_environment_is_fine(argv: list[str], ours: bool) -> None:
    assert findings.taken_port("dashboard.port", 9097, (7, argv), ours=ours, free=1).level == "ok"


def test_package_registry_stops_only_a_cold_build() -> None:
    assert findings.package_registry("https://go.example/", "Go", 404, cold=True).level == "ok"
    assert findings.package_registry("https://go.example/", "Go", 0, cold=True).level == "fail"
    assert findings.package_registry("https://go.example/", "Go", 0, cold=False).level == "warn"


def test_package_registries_come_from_the_clients_and_without_credentials() -> None:
    sites = "http://deb.example/debian\nhttp://deb.example/security\ncdrom:x\n"
    shell = FakeShell(
        {"go env GOPROXY": "https://me:hush@go.example:8443/api,direct\n", "apt-get indextargets": sites},
        {"go": "/go", "apt-get": "/apt-get"},
    )
    assert doctor.package_registries(shell) == {
        "https://go.example:8443/": "Go",
        "http://deb.example/": "the distribution",
    }


def test_no_clients_no_registries() -> None:
    assert doctor.package_registries(FakeShell()) == {}


def test_go_without_a_proxy_is_no_address() -> None:
    assert doctor.package_registries(FakeShell({"go env": "off\n"}, {"go": "/go"})) == {}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in findings.PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def answers(**known: int) -> Callable[[str, float], int]:
    return lambda url, _: known.get(url.split("/")[2].replace(".", "_"), 0)


def test_network_lists_registries_that_really_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "ask", answers(ghcr_io=401, quay_io=403))
    [finding] = doctor.network(FakeShell(), cold=True)
    assert finding == Finding("ok", "registries in reach", "ghcr.io")


def test_network_without_registries_builds_from_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "ask", answers())
    monkeypatch.setattr(reach, "resolves", lambda name: 0)
    shell = FakeShell({"go env": "https://go.example\n"}, {"go": "/go"})
    dns, registries, packages = doctor.network(shell, cold=True)
    assert (dns.level, dns.what) == ("warn", "no address for go.example")
    assert registries.what == "none; supply source will be used"
    assert packages.level == "fail"


def test_certificate_that_is_not_there(tmp_path: Path) -> None:
    [finding] = findings.authorities({"SSL_CERT_FILE": str(tmp_path / "no"), "PIP_CERT": str(tmp_path)})
    assert (finding.level, finding.fix) == ("fail", "unset SSL_CERT_FILE")
    assert findings.authorities({})[0].what == "the system's"


def test_proxy_shows_no_password_and_wants_an_exemption() -> None:
    finding = findings.proxy({"HTTPS_PROXY": "http://me:hush@proxy.example:3128"})
    assert (finding.level, finding.what) == ("warn", "proxy.example, also for this machine")
    exempt = {"https_proxy": "proxy.example:3128", "no_proxy": "localhost, .corp"}
    assert findings.proxy(exempt) == Finding("ok", "proxy", "proxy.example")
    assert findings.proxy({}).what == "none"


def test_tools() -> None:
    found = {finding.name: finding for finding in findings.tools({"git": "/usr/bin/git"}.get)}
    assert found["git"].level == "ok"
    assert found["apt-get"].level == "warn"
    assert "fetched" in found["go"].what


def test_refuse_names_all_that_fail_and_nothing_else() -> None:
    found = [Finding("fail", "a", "broken", "mend"), Finding("warn", "b", "odd"), Finding("fail", "c", "gone")]
    with pytest.raises(PreconditionError) as raised:
        findings.refuse(found)
    assert raised.value.evidence == "a: broken  ->  mend\nc: gone"
    findings.refuse(found[1:2])


def test_used_disk_is_summed_over_what_is_there(tmp_path: Path) -> None:
    paths = Paths(cache=tmp_path / "c", state=tmp_path / "s", env=tmp_path / "s/e", run=tmp_path / "r")
    assert doctor.used_gb(FakeShell(), paths) == 0
    paths.cache.mkdir()
    paths.state.mkdir()
    shell = FakeShell({"du -sB1": Output(0, "7500000000\tc\n4000000000\ts\n", "")})
    assert doctor.used_gb(shell, paths) == 11


def test_probes_run_side_by_side_and_the_slow_count_as_silent() -> None:
    def probe(subject: str) -> int:
        if subject == "slow":
            time.sleep(0.5)
        return 200

    assert reach.side_by_side(probe, ["a", "slow", "b"], 0.1) == {"a": 200, "slow": 0, "b": 200}
