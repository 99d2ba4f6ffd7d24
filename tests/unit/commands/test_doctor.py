"""Each finding's level and fix; and what stops `up` before it starts."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bootstrap.commands import check_results, doctor, machine_checks
from bootstrap.commands.check_results import Finding
from bootstrap.core import terminal_layout
from bootstrap.core.errors import PreconditionError
from bootstrap.core.model import Failed
from bootstrap.core.paths import Paths
from bootstrap.settings.config import Config, GitSettings
from bootstrap.world import host, probe
from bootstrap.world.shell import Output
from tests.unit.fake_shell import FakeShell
from tests.unit.step_world import make


@pytest.mark.parametrize(
    ("cores", "memory", "disk", "level"),
    [(2, 23.5, 71, "ok"), (1, 8, 71, "warn"), (2, 5.8, 71, "ok"), (2, 4, 71, "fail"), (2, 8, 24.9, "fail")],
)
def test_resources(cores: int, memory: float, disk: float, level: str) -> None:
    finding = check_results.judge_resources(cores, memory, disk, 25)
    assert finding.level == level
    assert bool(finding.fix) is (level != "ok")
    assert "needs 2, 6 GiB, 25 GB" in finding.what


@pytest.mark.parametrize(
    ("cgroups", "overlayfs", "filesystem", "level"),
    [(2, True, "ext4", "ok"), (1, True, "ext4", "ok"), (0, True, "ext4", "fail"), (2, False, "ext4", "warn")],
)
def test_kernel(cgroups: int, overlayfs: bool, filesystem: str, level: str) -> None:
    assert check_results.judge_kernel("6.1", cgroups, overlayfs, filesystem).level == level


def test_data_on_overlayfs_is_told() -> None:
    assert "XDG_STATE_HOME" in check_results.judge_kernel("6.1", 2, True, "overlay").fix


def test_capabilities() -> None:
    missing = frozenset({"CAP_SYS_RESOURCE"})
    assert check_results.judge_capabilities(frozenset(), managed=True).level == "ok"
    assert check_results.judge_capabilities(missing, managed=True).fix == "nothing to do"
    assert "managed" in check_results.judge_capabilities(missing, managed=False).fix


def test_inotify_names_the_sysctl() -> None:
    assert check_results.judge_inotify("max_user_instances", 512, 512).level == "ok"
    finding = check_results.judge_inotify("max_user_instances", 128, 512)
    assert (finding.level, finding.fix) == ("warn", "sysctl fs.inotify.max_user_instances=512")


def test_port_held_by_a_stranger_names_it_and_a_free_one() -> None:
    holder = (4121, ["/usr/bin/python3", "x"])
    finding = check_results.judge_taken_port("dashboard.port", 9097, holder, ours=False, free=9099)
    assert finding.level == "fail"
    assert finding.what == "taken by pid 4121 (python3)"
    assert finding.fix == "invoke up --set dashboard.port=9099"


@pytest.mark.parametrize(
    ("argv", "ours"),
    [(["/usr/sbin/docker-proxy"], True), (["python3", "/v/bin/invoke", "dashboard"], False)],
)
def test_port_held_by_this_environment_is_fine(argv: list[str], ours: bool) -> None:
    assert check_results.judge_taken_port("dashboard.port", 9097, (7, argv), ours=ours, free=1).level == "ok"


def test_package_registry_stops_only_a_cold_build() -> None:
    assert check_results.judge_package_registry("https://go.example/", "Go", 404, cold=True).level == "ok"
    assert check_results.judge_package_registry("https://go.example/", "Go", 0, cold=True).level == "fail"
    assert check_results.judge_package_registry("https://go.example/", "Go", 0, cold=False).level == "warn"


def test_package_registries_come_from_the_clients_and_without_credentials() -> None:
    sites = "http://deb.example/debian\nhttp://deb.example/security\ncdrom:x\n"
    shell = FakeShell(
        {
            f"{sys.executable} -m pip config list": "global.index-url='https://me:hush@py.example/simple'\n",
            "go env GOPROXY": "https://me:hush@go.example:8443/api,direct\n",
            "apt-get indextargets": sites,
        },
        {"go": "/go", "apt-get": "/apt-get"},
    )
    assert machine_checks.list_package_registries(shell) == {
        "https://py.example/": "Python",
        "https://go.example:8443/": "Go",
        "http://deb.example/": "apt",
    }


def bare_shell(pip: str = "") -> FakeShell:
    """Of a machine with Python alone."""
    return FakeShell({f"{sys.executable} -m pip config list": pip})


def with_go(proxies: str) -> FakeShell:
    """Of a machine with Go, whose pip is told nothing."""
    return FakeShell({f"{sys.executable} -m pip config list": "", "go env GOPROXY": proxies}, {"go": "/go"})


def test_no_clients_no_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOPROXY", raising=False)
    assert machine_checks.list_package_registries(bare_shell()) == {}


def test_without_go_its_own_sources_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOPROXY", "https://go.example/api")
    pip = ":env:.index-url='https://me:hush@py.example/simple'\nglobal.timeout='60'\n"
    assert machine_checks.list_package_registries(bare_shell(pip)) == {
        "https://py.example/": "Python",
        "https://go.example/": "Go",
    }


def test_go_without_a_proxy_is_no_address() -> None:
    assert machine_checks.list_package_registries(with_go("off\n")) == {}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in check_results.PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def answers(**known: int) -> Callable[[str, float], int]:
    return lambda url, _: known.get(url.split("/")[2].replace(".", "_"), 0)


def test_network_lists_registries_that_really_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "read_status", answers(ghcr_io=401, quay_io=403))
    [finding] = machine_checks.examine_network(bare_shell(), cold=True)
    assert finding == Finding("ok", "registries in reach", "ghcr.io")


def test_network_without_registries_builds_from_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "read_status", answers())
    monkeypatch.setattr(probe, "resolves", lambda name: 0)
    shell = with_go("https://go.example\n")
    dns, registries, packages = machine_checks.examine_network(shell, cold=True)
    assert (dns.level, dns.what) == ("warn", "no address for go.example")
    assert registries.what == "none"
    assert packages.level == "fail"


@pytest.mark.parametrize(("cold", "level", "asked"), [(True, "ok", 2), (False, "warn", 1)])
def test_a_busy_machine_asks_again_for_what_a_cold_start_needs(
    monkeypatch: pytest.MonkeyPatch, *, cold: bool, level: str, asked: int
) -> None:
    limits: list[float] = []

    def ask(url: str, limit: float) -> int:
        if "go.example" not in url:
            return 0
        limits.append(limit)
        return 200 if limit > machine_checks.MOMENT else 0

    monkeypatch.setattr(probe, "read_status", ask)
    monkeypatch.setattr(probe, "resolves", lambda name: 1)
    packages = machine_checks.examine_network(with_go("https://go.example\n"), cold=cold)[-1]
    assert (packages.level, len(limits)) == (level, asked)


def test_certificate_that_is_not_there(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.touch()
    [finding] = check_results.judge_authorities(
        {"SSL_CERT_FILE": str(tmp_path / "no"), "PIP_CERT": str(tmp_path)}, bundle
    )
    assert (finding.level, finding.fix) == ("fail", "unset SSL_CERT_FILE")
    assert check_results.judge_authorities({}, bundle)[0].what == "the system's"
    [finding] = check_results.judge_authorities({}, tmp_path / "none")
    assert (finding.level, finding.fix) == ("fail", "apt-get install ca-certificates")


def test_proxy_shows_no_password_and_wants_an_exemption() -> None:
    finding = check_results.judge_proxy({"HTTPS_PROXY": "http://me:hush@proxy.example:3128"})
    assert (finding.level, finding.what) == ("warn", "proxy.example, also for this machine")
    exempt = {"https_proxy": "proxy.example:3128", "no_proxy": "localhost, .corp"}
    assert check_results.judge_proxy(exempt) == Finding("ok", "proxy", "proxy.example")
    assert check_results.judge_proxy({}).what == "none"


def test_tools() -> None:
    found = {each.name: each for each in check_results.judge_tools({"git": "/usr/bin/git"}.get, root=True, cold=False)}
    assert found["git"].level == "ok"
    assert found["apt-get"].level == "warn"
    assert "fetched" in found["go"].what


@pytest.mark.parametrize(
    ("there", "root", "failed"),
    [
        ((), True, {"apt-get", "mmdebstrap"}),
        (("apt-get",), True, set()),
        (("apt-get",), False, {"mmdebstrap"}),
        (("apt-get", "mmdebstrap"), False, set()),
    ],
)
def test_what_builds_need_stops_only_a_cold_start(there: tuple[str, ...], root: bool, failed: set[str]) -> None:
    programs = dict.fromkeys(there, "/usr/bin/x")
    found = list(check_results.judge_builders(programs.get, root=root, cold=True))
    assert {each.name for each in found if each.level == "fail"} == failed
    assert all(each.fix for each in found if each.level == "fail")
    assert not [
        each for each in check_results.judge_builders(programs.get, root=root, cold=False) if each.level == "fail"
    ]


@dataclass
class Idle:
    """An engine that holds nothing."""

    choice: str | Failed = "managed"
    is_managed: bool = True

    def list_containers(self, **_: object) -> list[object]:
        return []


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What `preflight` says of a machine of which only the named facts are bad; "" if it may go on."""
    bundle = tmp_path / "bundle"
    bundle.touch()
    monkeypatch.setattr(machine_checks, "CA_BUNDLE", bundle)
    for name in check_results.CA_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(host, "is_root", lambda: True)
    monkeypatch.setattr(host, "read_memory_gib", lambda: 24.0)
    monkeypatch.setattr(probe, "read_status", lambda url, _: 200)
    monkeypatch.setattr(probe, "resolves", lambda name: 1)
    paths = Paths(cache=tmp_path / "c", state=tmp_path / "s", env=tmp_path / "s/e", run=tmp_path / "r")

    def preflight(
        config: Config | None = None,
        *,
        engine: Idle | None = None,
        cold: bool = True,
        free: float = 99.0,
        **programs: str,
    ) -> str:
        monkeypatch.setattr(host, "measure_free_gb", lambda _: free)
        clients = {
            f"{sys.executable} -m pip config list": "",
            "go env GOPROXY": "https://go.example\n",
            "apt-get indextargets": "http://deb.example/debian\n",
        }
        shell = FakeShell(clients, {"go": "/go", "apt-get": "/apt-get"} | programs)
        found: Any = engine or Idle()
        try:
            machine_checks.check_before_up(shell, found, config or Config(), paths, cold=cold)
        except PreconditionError as error:
            return error.evidence
        assert list(tmp_path.iterdir()) == [bundle], "nothing is written"
        return ""

    return preflight


def test_a_machine_in_order_may_go_on(machine: Callable[..., str]) -> None:
    assert machine() == ""


def test_a_missing_engine_is_named_before_work(machine: Callable[..., str]) -> None:
    engine = Idle(Failed("no Docker answers", "start Docker"), is_managed=False)
    assert machine(engine=engine, cold=False) == "engine: no Docker answers  ->  start Docker"


def test_a_taken_port_is_named_before_work(machine: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        said = machine(Config(git=GitSettings(port=port)), cold=False)
    assert said.startswith(f"port {port}: taken by pid {os.getpid()} (")
    assert "->  invoke up --set git.port=" in said


def test_a_short_disk_is_named_before_work(machine: Callable[..., str]) -> None:
    assert "1 GB free (needs 2, 6 GiB, 5 GB)" in machine(cold=False, free=1.0)
    assert "9 GB free (needs 2, 6 GiB, 25 GB)" in machine(free=9.0)


def test_a_missing_network_is_named_before_work(machine: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "read_status", lambda url, _: 0)
    said = machine()
    assert "packages of Go: go.example does not answer  ->  check network" in said
    assert "packages of apt: deb.example does not answer" in said
    assert machine(cold=False) == "", "it is not needed then"


def test_a_missing_tool_is_named_before_work(machine: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "is_root", lambda: False)
    assert machine() == "mmdebstrap: not found  ->  sudo apt-get install mmdebstrap"
    assert machine(mmdebstrap="/usr/bin/mmdebstrap") == ""


def test_certificates_that_are_not_there_are_named_before_work(
    machine: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CERT", "/no/such.pem")
    assert machine() == "CA, PIP_CERT: /no/such.pem does not exist  ->  unset PIP_CERT"


def test_refuse_names_all_that_fail_and_nothing_else() -> None:
    found = [Finding("fail", "a", "broken", "mend"), Finding("warn", "b", "odd"), Finding("fail", "c", "gone")]
    with pytest.raises(PreconditionError) as raised:
        check_results.raise_failures(found)
    assert raised.value.evidence == "a: broken  ->  mend\nc: gone"
    check_results.raise_failures(found[1:2])


def test_used_disk_is_summed_over_what_is_there(tmp_path: Path) -> None:
    paths = Paths(cache=tmp_path / "c", state=tmp_path / "s", env=tmp_path / "s/e", run=tmp_path / "r")
    assert machine_checks.measure_used_gb(FakeShell(), paths) == 0
    paths.cache.mkdir()
    paths.state.mkdir()
    shell = FakeShell({"du -sB1": Output(0, "7500000000\tc\n4000000000\ts\n", "")})
    assert machine_checks.measure_used_gb(shell, paths) == 11


def test_what_to_do_stands_below_and_all_fits_80_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make(tmp_path)
    found = [
        check_results.judge_resources(2, 23.5, 62, 25),
        check_results.judge_kernel("6.18.44-cloud-amd64", 1, True, "ext4"),
        check_results.judge_capabilities(frozenset({"CAP_SYS_RESOURCE"}), managed=True),
        check_results.judge_inotify("max_user_instances", 128, 512),
        check_results.judge_taken_port("dashboard.port", 9097, (4121, ["/usr/bin/python3"]), ours=False, free=9098),
        check_results.judge_package_registry("https://go.example/", "Go", 0, cold=True),
    ]
    monkeypatch.setattr(machine_checks, "examine", lambda *_, cold: found)
    assert doctor.doctor(world.open()) == 3
    [(_, columns, rows)] = world.report.printed
    lines = terminal_layout.format_table(columns, rows)
    assert max(map(len, lines)) <= 80
    below = next(at for at, line in enumerate(lines) if "inotify instances 128" in line) + 1
    assert lines[below].strip() == "-> sysctl fs.inotify.max_user_instances=512"


def test_probes_run_side_by_side_and_the_slow_count_as_silent() -> None:
    def ask(subject: str) -> int:
        if subject == "slow":
            time.sleep(0.5)
        return 200

    assert probe.probe_all(ask, ["a", "slow", "b"], 0.1) == {"a": 200, "slow": 0, "b": 200}
