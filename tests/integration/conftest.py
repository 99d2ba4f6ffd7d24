"""One real API server for all integration tests, and a door to it. Each test gets a namespace of its own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from bootstrap.world.kube.client import Kube
from tests.browser import chromium
from tests.integration.control_plane import CONTEXT, ControlPlane, control_plane

BIN = "TEKTON_BOOTSTRAP_TEST_BIN"


def find_binary(name: str) -> Path:
    """etcd, or kube: the Kubernetes binary that acts by the name it is called with."""
    folder = os.environ.get(BIN, "")
    path = Path(folder) / name
    if not folder or not os.access(path, os.X_OK):
        pytest.fail(f"integration tests need the program {name}; set {BIN} to the folder that has it", pytrace=False)
    return path


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    etcd, kube = find_binary("etcd"), find_binary("kube")
    with control_plane(tmp_path_factory.mktemp("plane"), etcd, kube) as running:
        yield running


@pytest.fixture(scope="session")
def kube(plane: ControlPlane) -> Kube:
    return Kube(plane.kubeconfig, CONTEXT)


@pytest.fixture
def namespace(kube: Kube) -> str:
    """Not deleted afterwards: that is a controller's work, and none runs here."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    kube.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
    return name


@pytest.fixture(scope="module")
def chromium_process() -> Iterator[Browser]:
    """Not for the whole session: Playwright's event loop runs in this thread until it is closed."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(chromium_process: Browser) -> Iterator[Browser]:
    """Whose pages are closed after the test; they would go on asking their console."""
    yield chromium_process
    for context in chromium_process.contexts:
        context.close()
