"""A program run in a container that runs already, carried by a websocket through the API server.

Protocol v4.channel.k8s.io: the first byte of each message is a channel, 1 stdout, 2 stderr, and 3 a Status object that
says how it ended.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass

from bootstrap.core.errors import ApiError
from bootstrap.world.kube.http import describe_cause
from bootstrap.world.kube.port_forward import open_channels

STDOUT, STDERR, STATUS = 1, 2, 3
OUTPUT_LIMIT = 1 << 20
"""Bytes: more than this is refused rather than kept."""


@dataclass(frozen=True)
class Executed:
    """How a program in a container ended, and what it printed."""

    code: int
    stdout: str
    stderr: str


def execute(url: str, headers: Mapping[str, str], tls: ssl.SSLContext, server_name: str, seconds: float) -> Executed:
    """Run the program that `url` names and wait for its end, at most `seconds`.

    url: "wss://HOST:PORT/api/v1/namespaces/N/pods/P/exec?command=...". server_name: as for `open_channels`. Raises
    ApiError, with reason Timeout, TooLarge (more than OUTPUT_LIMIT), Unanswered, or Exec (it could not be started).
    """
    import websocket

    end = time.monotonic() + seconds
    sock = open_channels(url, headers, tls, server_name, what="program in the pod")
    output = {STDOUT: bytearray(), STDERR: bytearray(), STATUS: bytearray()}
    try:
        while not output[STATUS]:
            sock.settimeout(max(0.01, end - time.monotonic()))
            _, data = sock.recv_data()
            if data and data[0] in output:
                output[data[0]] += data[1:]
            if sum(map(len, output.values())) > OUTPUT_LIMIT:
                raise ApiError("the program in the pod prints too much", status=0, reason="TooLarge")
    except websocket.WebSocketTimeoutException:
        raise ApiError(f"the program in the pod took longer than {seconds:g} s", status=0, reason="Timeout") from None
    except (websocket.WebSocketException, OSError) as error:
        raise ApiError(f"the program in the pod: {describe_cause(error)}", status=0, reason="Unanswered") from None
    finally:
        sock.shutdown()  # type: ignore[no-untyped-call]
    out, err = (output[channel].decode(errors="replace") for channel in (STDOUT, STDERR))
    return Executed(read_exit_code(bytes(output[STATUS])), out, err)


def read_exit_code(status: bytes) -> int:
    """The exit code that a Status object (metav1.Status, JSON) tells.

    Raises ApiError with reason Exec for a program that could not be started.
    """
    found = json.loads(status)
    if found.get("status") == "Success":
        return 0
    causes = (found.get("details") or {}).get("causes") or ()
    codes = [each["message"] for each in causes if each.get("reason") == "ExitCode"]
    if not codes:
        raise ApiError(str(found.get("message") or "the program in the pod did not start"), status=0, reason="Exec")
    return int(codes[0])
