"""Docker's messages, as it prints them."""

from __future__ import annotations

import pytest

from bootstrap.world.engine import messages


@pytest.mark.parametrize(
    ("stderr", "unreachable", "absent"),
    [
        ("Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", True, False),
        ("error during connect: Get http://x: dial tcp: lookup x", True, False),
        ("dial tcp 127.0.0.1:2375: connect: connection refused", True, False),
        ("docker: Cannot connect to the Docker daemon at tcp://x:1.", True, False),
        ('ctr: failed to dial "/run/containerd/containerd.sock": dial unix: connect: connection refused', False, False),
        ("The connection to the server localhost:8080 was refused: dial tcp: connection refused", False, False),
        ("Error: No such object: x", False, True),
        ("Error response from daemon: network x not found", False, True),
        ("Error response from daemon: permission denied", False, False),
    ],
)
def test_why_docker_failed(stderr: str, unreachable: bool, absent: bool) -> None:
    assert (messages.is_unreachable(stderr), messages.is_absent(stderr)) == (unreachable, absent)


@pytest.mark.parametrize(
    ("line", "progress"),
    [
        ("Step 3/9 : RUN make", "step 3/9"),
        ("#5 [2/4] RUN make install", "#5 [2/4] run make install"),
        (" ---> Running in 1c2d3e", ""),
        ("Successfully built 1c2d3e", ""),
    ],
)
def test_what_a_build_does(line: str, progress: str) -> None:
    assert messages.read_build_progress(line) == progress


def test_a_long_step_is_cut() -> None:
    assert len(messages.read_build_progress("#5 [2/4] RUN " + "x" * 100)) == messages.PROGRESS_WIDTH
