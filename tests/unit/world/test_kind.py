"""What kind prints, and what it means."""

from __future__ import annotations

import pytest

from bootstrap.world.kind import INSTALLING_CNI, nodes_exist, read_phase


@pytest.mark.parametrize(
    ("line", "phase"),
    [
        (" • Joining worker nodes 🚜  ...", "joining worker nodes"),
        (" • Installing CNI 🔌  ...\n", "installing CNI"),
        (" • Ensuring node image (a/node:1) 🖼  ...", "ensuring node image (a/node:1)"),
        (" • Preparing nodes 📦 📦   ...", "preparing nodes"),
        (" ✓ Installing CNI 🔌", ""),
        ('Creating cluster "dev" ...', ""),
        ("ERROR: failed to create cluster", ""),
    ],
)
def test_what_kind_says(line: str, phase: str) -> None:
    assert read_phase(line) == phase


def test_the_phase_that_steps_wait_for_is_one_of_kinds() -> None:
    assert read_phase(" • Installing CNI 🔌  ...") == INSTALLING_CNI


@pytest.mark.parametrize(
    ("evidence", "exist"),
    [
        ('ERROR: failed to create cluster: node(s) already exist for a cluster with the name "demo"', True),
        ('docker: Conflict. The container name "/demo-worker" is already in use by container "abc".', True),
        ("kubeadm init: timed out", False),
    ],
)
def test_nodes_in_the_way(evidence: str, exist: bool) -> None:
    assert nodes_exist(evidence) is exist
