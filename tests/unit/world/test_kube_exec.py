"""A program in a pod, against a server that plays the API server and the kubelet."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable

import pytest

from bootstrap.core.errors import ApiError
from bootstrap.world.kube.exec import Executed, execute, read_exit_code
from tests.unit.world.test_kube_port_forward import CONTEXT, Kubelet, plain

SUCCESS = b'{"status": "Success"}'


def failure(code: int) -> bytes:
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return json.dumps({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}).encode()


def running(act: Callable[[Kubelet], None], seconds: float = 5) -> Executed:
    def play(kubelet: Kubelet) -> None:
        kubelet.shake()
        act(kubelet)

    kubelet = Kubelet(play)
    try:
        return execute(kubelet.url, {"Authorization": "Bearer t"}, CONTEXT, "", seconds)
    finally:
        kubelet.thread.join(5)
        assert b"authorization: bearer t" in kubelet.request.lower()


@pytest.mark.parametrize(("status", "code"), [(SUCCESS, 0), (failure(7), 7)])
def test_what_it_printed_and_how_it_ended(status: bytes, code: int) -> None:
    def act(kubelet: Kubelet) -> None:
        for part in (b"\x01out\n", b"\x02err\n", b"\x01more\n", b"\x03" + status):
            kubelet.sock.sendall(plain(part))

    done = running(act)
    assert done.stderr == "err\n"
    assert done.stdout.endswith("out\nmore\n")
    assert done.code == code


def test_one_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(ApiError, match=r"longer than 0\.2 s"):
        running(lambda _: time.sleep(0.5), seconds=0.2)


def test_one_whose_connection_breaks() -> None:
    with pytest.raises(ApiError, match="the program in the pod"):
        running(lambda kubelet: kubelet.sock.close())


def test_one_that_prints_without_end() -> None:
    def act(kubelet: Kubelet) -> None:
        with contextlib.suppress(ConnectionError):  # it is given up while this still sends
            for _ in range(40):
                kubelet.sock.sendall(plain(b"\x01" + b"x" * 60_000))

    with pytest.raises((ApiError), match="too much"):
        running(act)


def test_one_that_cannot_be_started() -> None:
    status = json.dumps({"status": "Failure", "message": 'exec: "nothing": not found'}).encode()
    with pytest.raises(ApiError, match="not found"):
        read_exit_code(status)
