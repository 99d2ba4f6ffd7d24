"""The program `manager` and a real API server: of two one acts, and the other follows it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from bootstrap.core.clock import SystemClock
from bootstrap.core.model import Pending, Ready
from bootstrap.core.paths import PROJECT
from bootstrap.core.wait import until
from bootstrap.incluster.application_source import STATE
from bootstrap.incluster.applications import API_VERSION, KIND
from bootstrap.incluster.kube_api import Api, ApiFailure
from bootstrap.incluster.lease import API_VERSION as LEASES
from bootstrap.incluster.lease_holder import ApiLeases, LeaseHolder
from bootstrap.world.kube.client import Kube
from tests.central_repository import declare, push
from tests.git_host import Bare, git_host
from tests.integration.agent_door import agent_door, definition
from tests.integration.control_plane import ControlPlane, free_ports
from tests.integration.patience import await_kind

pytestmark = pytest.mark.integration
MANIFEST = "manager/manager.yaml"
PROGRAM = """
import asyncio, os, sys
from pathlib import Path
import kopf
from bootstrap.incluster import kube_api
from bootstrap.manager.__main__ import lead

account, server, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
kube_api.Api.from_environ.__defaults__ = (account,)

@kopf.on.login()
def login(**_):
    token = (account / "token").read_text()
    return kopf.ConnectionInfo(server=server, ca_path=str(account / "ca.crt"), scheme="Bearer", token=token)

kopf.configure(log_format=kopf.LogFormat.FULL)
asyncio.run(lead(os.environ, port))
"""
"""As the program does, but for its port and the folder of its account."""


@pytest.fixture
def door(kube: Kube, plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Api]:
    """The API by the manager's own account, in a namespace of the test; its files are in tmp_path."""
    kube.apply([yaml.safe_load((PROJECT / "manifests/manager/application-crd.yaml").read_text())])
    kube.apply([definition("PipelineRun")])
    for each in yaml.safe_load_all((PROJECT / "manifests" / MANIFEST).read_text()):
        if each["kind"] in ("ClusterRole", "ClusterRoleBinding"):
            for subject in each.get("subjects", ()):
                subject["namespace"] = namespace
                each["metadata"]["name"] += f"-{namespace}"
            kube.apply([each])
    await_kind(kube, API_VERSION, KIND)
    await_kind(kube, "tekton.dev/v1", "PipelineRun")
    with closing(agent_door(kube, plane, "manager", namespace, tmp_path, manifest=MANIFEST)) as api:
        yield api


def wait(sentence: str, check: Callable[[], bool], limit: float = 30) -> None:
    until(
        lambda: Ready() if check() else Pending("not yet"), clock=SystemClock(), limit=limit, every=0.1, what=sentence
    )


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


class Managers:
    """Processes of the program, by name."""

    def __init__(self, kube: Kube, plane: ControlPlane, namespace: str, folder: Path, stack: ExitStack) -> None:
        self.kube = kube
        self.namespace = namespace
        self.folder = folder
        self._stack = stack
        self._server = plane.server
        parts = urlsplit(plane.server)
        self._environ = {
            **os.environ,
            "NAMESPACE": namespace,
            "KUBERNETES_SERVICE_HOST": str(parts.hostname),
            "KUBERNETES_SERVICE_PORT": str(parts.port),
            "SETTINGS": str(folder / "settings.json"),
            "CREDENTIALS": str(folder),
        }
        (folder / "settings.json").write_text(
            json.dumps({"registry": "registry:5000", "builds": 2, "tokenHours": 24, "run": {}})
        )

    def start(self, name: str) -> tuple[subprocess.Popen[bytes], int]:
        """(the process, its port)."""
        [port] = free_ports(1)
        argv = [sys.executable, "-c", PROGRAM, str(self.folder), self._server, str(port)]
        log = self._stack.enter_context((self.folder / f"{name}.log").open("wb"))
        process = subprocess.Popen(argv, cwd=PROJECT, env=self._environ | {"POD": name}, stdout=log, stderr=log)
        self._stack.callback(process.wait, 10)
        self._stack.callback(process.kill)
        return process, port

    def read_log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    @property
    def lease(self) -> Any:
        found = self.kube.get(LEASES, "Lease", "manager", self.namespace)
        return (found or {"spec": {}})["spec"]


@pytest.fixture
def managers(kube: Kube, plane: ControlPlane, door: Api, namespace: str, tmp_path: Path) -> Iterator[Managers]:
    with ExitStack() as stack:
        yield Managers(kube, plane, namespace, tmp_path, stack)


def test_the_account_may_use_the_lease_of_its_name_only(door: Api, namespace: str) -> None:
    first, second = (
        LeaseHolder(ApiLeases(door, namespace, "manager"), namespace, "manager", name, 15) for name in ("a", "b")
    )
    wait("the right to leases", lambda: not _is_denied(first.take))
    assert first.is_held
    assert second.take() > 14
    first.renew()
    assert second.take() > 14
    first.give_back()
    assert second.take() == 0.0
    with pytest.raises(ApiFailure) as caught:
        ApiLeases(door, namespace, "other").read()
    assert caught.value.status == 403


def _is_denied(do: Callable[[], object]) -> bool:
    try:
        do()
    except ApiFailure as error:
        return error.status == 403
    return False


def test_of_two_managers_one_acts_and_the_other_follows(managers: Managers) -> None:
    first, first_port = managers.start("manager-1")
    wait("the first manager", lambda: ask(first_port, "/readyz")[0] == 200)
    assert managers.lease["holderIdentity"] == "manager-1"
    second, second_port = managers.start("manager-2")
    waits = (503, "waits for the Lease: manager-1 holds it\n")
    wait("the second manager", lambda: ask(second_port, "/readyz") == waits)
    assert ask(second_port, "/healthz")[0] == 200
    metadata = {"name": "orders", "namespace": managers.namespace}
    managers.kube.apply([{"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata}])
    # there is neither a git server nor a login for it
    wait("a handler", lambda: "settle_application" in managers.read_log("manager-1"))
    assert "tekton_bootstrap_manager_leads 0.0" in ask(second_port, "/metrics")[1]
    assert "waiting for the Lease manager, which manager-1 holds" in managers.read_log("manager-2")
    first.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    assert first.wait(15) == 0, managers.read_log("manager-1")
    wait("the second one's turn", lambda: ask(second_port, "/readyz")[0] == 200)
    assert time.monotonic() - begun < 10, "it need not wait until the Lease expires"
    assert managers.lease["holderIdentity"] == "manager-2"
    second.kill()
    second.wait(10)
    third, third_port = managers.start("manager-3")
    wait("the third one's turn", lambda: ask(third_port, "/readyz")[0] == 200, 40)
    assert managers.lease["leaseTransitions"] == 2
    assert third.poll() is None


def test_one_that_cannot_renew_ends_by_itself(managers: Managers, plane: ControlPlane) -> None:
    process, port = managers.start("manager-1")
    wait("the manager", lambda: ask(port, "/readyz")[0] == 200)
    plane.apiserver.send_signal(signal.SIGSTOP)
    try:
        assert process.wait(30) == 1
    finally:
        plane.apiserver.send_signal(signal.SIGCONT)
    last = managers.read_log("manager-1").strip().splitlines()[-1]
    assert last.endswith("the Lease manager was not renewed within 10 s: this manager ends")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)


def test_what_is_pushed_to_the_central_repository_becomes_applications(managers: Managers, tmp_path: Path) -> None:
    def list_applications() -> set[str]:
        return {str(each["metadata"]["name"]) for each in managers.kube.list(API_VERSION, KIND, managers.namespace)}

    with git_host(tmp_path / "git") as host:
        bare = Bare(host.folder / "platform.git")
        settings = json.loads((tmp_path / "settings.json").read_text())
        settings["source"] = {"url": host.url("platform"), "branch": "main", "path": "apps", "seconds": 1}
        (tmp_path / "settings.json").write_text(json.dumps(settings))
        managers.start("manager-1")
        push(bare, {"apps/orders.yaml": declare("orders"), "apps/web.yaml": declare("web")})
        wait("what was pushed", lambda: list_applications() == {"orders", "web"})
        push(bare, {"apps/web.yaml": declare("web")})
        wait("what was removed", lambda: list_applications() == {"web"})
    wait("the word on a server that is gone", lambda: "cannot be read" in managers.read_log("manager-1"))
    assert list_applications() == {"web"}
    state = managers.kube.get("v1", "ConfigMap", STATE, managers.namespace)
    assert state is not None
    assert state["data"]["state"] == "Unfinished"
