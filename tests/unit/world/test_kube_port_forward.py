"""The port-forward websocket against a server that plays the API server and the kubelet."""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from bootstrap.core.errors import ApiError
from bootstrap.world.kube import port_forward
from bootstrap.world.kube.port_forward import DATA, Frames, Traffic, open_tunnel

CONTINUATION, BINARY, CLOSE, PING, PONG = 0, 2, 8, 9, 10
"""Opcodes of RFC 6455, 5.2."""
CONTEXT = ssl.create_default_context()
PORT_FRAME = struct.pack("<H", 80)


def plain(payload: bytes, opcode: int = BINARY, *, final: bool = True) -> bytes:
    """A frame as a server sends it: not masked."""
    first = (0x80 if final else 0) | opcode
    if len(payload) < 126:
        return struct.pack("!BB", first, len(payload)) + payload
    if len(payload) < 1 << 16:
        return struct.pack("!BBH", first, 126, len(payload)) + payload
    return struct.pack("!BBQ", first, 127, len(payload)) + payload


class Kubelet:
    """One connection; `act` plays the pod. heard: what the pod was sent, pongs: payloads of pongs."""

    def __init__(self, act: Callable[[Kubelet], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._act = act
        self._rest = b""
        self.request = b""
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._listener.getsockname()[1]}/portforward?ports=80"

    def _run(self) -> None:
        with self._listener, self._listener.accept()[0] as self.sock:
            while b"\r\n\r\n" not in self.request:
                self.request += self.sock.recv(1)
            self._act(self)

    def shake(self) -> None:
        key = self.request.lower().partition(b"sec-websocket-key: ")[2].partition(b"\r\n")[0]
        start = self.request.lower().index(key)
        key = self.request[start : start + len(key)]
        digest = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())  # noqa: S324
        self.sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Protocol: v4.channel.k8s.io\r\nSec-WebSocket-Accept: " + digest + b"\r\n\r\n"
        )
        self.sock.sendall(plain(b"\0" + PORT_FRAME) + plain(b"\1" + PORT_FRAME))

    def say(self, data: bytes) -> None:
        self.sock.sendall(plain(b"\0" + data))

    def hear(self) -> tuple[int, bytes] | None:
        """The next frame, unmasked; None at the end."""
        head = self._exactly(2)
        if not head:
            return None
        size = head[1] & 0x7F
        if size == 126:
            size = int.from_bytes(self._exactly(2), "big")
        elif size == 127:
            size = int.from_bytes(self._exactly(8), "big")
        assert head[1] & 0x80, "a client must mask"
        mask, body = self._exactly(4), self._exactly(size)
        return head[0] & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            if not more:
                return b""
            data += more
        return data


class Carried:
    """A tunnel carried in a thread; `near` is what a local client holds."""

    def __init__(self, kubelet: Kubelet) -> None:
        self.kubelet = kubelet
        self.near, far = socket.socketpair()
        self.near.settimeout(10)
        self.tunnel = open_tunnel(kubelet.url, {"authorization": "Bearer s3cret"}, CONTEXT)
        self.traffic: Traffic | None = None

        def carry() -> None:
            with far:
                self.traffic = self.tunnel.carry(far)

        self.thread = threading.Thread(target=carry, daemon=True)
        self.thread.start()

    def rest(self) -> bytes:
        data = b""
        while more := self.near.recv(1 << 16):
            data += more
        return data

    def result(self) -> Traffic:
        self.thread.join(10)
        assert self.traffic is not None
        return self.traffic


@pytest.fixture
def carried() -> Iterator[Callable[[Callable[[Kubelet], None]], Carried]]:
    made: list[tuple[Kubelet, Carried]] = []

    def start(act: Callable[[Kubelet], None]) -> Carried:
        kubelet = Kubelet(act)
        made.append((kubelet, Carried(kubelet)))
        return made[-1][1]

    yield start
    for kubelet, each in made:
        each.tunnel.close()
        each.near.close()
        each.thread.join(5)
        kubelet.thread.join(5)
        assert not each.thread.is_alive()


Start = Callable[[Callable[[Kubelet], None]], Carried]


def test_nothing_is_lost_when_the_pod_closes_at_once(carried: Start) -> None:
    """The whole answer and the end of the connection come together, to a reader that is slow."""
    body = bytes(range(256)) * 4096 * 8

    def act(kubelet: Kubelet) -> None:
        kubelet.shake()
        for start in range(0, len(body), 1 << 20):
            kubelet.say(body[start : start + (1 << 20)])
        kubelet.sock.sendall(plain(struct.pack("!H", 1000), CLOSE))

    here = carried(act)
    time.sleep(0.3)
    assert here.rest() == body
    assert here.result() == Traffic(0, len(body), "")


def test_a_request_reaches_the_pod_masked_and_whole(carried: Start) -> None:
    heard = []

    def act(kubelet: Kubelet) -> None:
        kubelet.shake()
        data = b""
        while len(data) < 100_000:
            opcode, payload = kubelet.hear() or (0, b"")
            assert (opcode, payload[:1]) == (BINARY, b"\0")
            data += payload[1:]
        heard.append(data)
        kubelet.say(b"thanks")

    here = carried(act)
    here.near.sendall(b"x" * 100_000)
    assert here.rest() == b"thanks"
    assert heard == [b"x" * 100_000]
    assert here.result() == Traffic(100_000, 6, "")


def test_a_half_closed_client_still_gets_its_answer(carried: Start) -> None:
    def act(kubelet: Kubelet) -> None:
        kubelet.shake()
        kubelet.hear()
        time.sleep(0.3)
        kubelet.say(b"late answer")

    here = carried(act)
    here.near.sendall(b"question")
    here.near.shutdown(socket.SHUT_WR)
    assert here.rest() == b"late answer"


def test_a_half_closed_connection_that_stays_silent_ends(carried: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_forward, "HALF_CLOSED_SECONDS", 0.2)

    def act(kubelet: Kubelet) -> None:
        kubelet.shake()
        while kubelet.hear():
            pass

    here = carried(act)
    here.near.shutdown(socket.SHUT_WR)
    assert here.rest() == b""
    assert here.result() == Traffic(0, 0, "")


def test_the_kubelets_error_is_told(carried: Start) -> None:
    def act(kubelet: Kubelet) -> None:
        kubelet.shake()
        kubelet.sock.sendall(plain(b"\1dial tcp 127.0.0.1:80: connection refused"))
        kubelet.hear()

    here = carried(act)
    assert here.rest() == b""
    assert here.result() == Traffic(0, 0, "dial tcp 127.0.0.1:80: connection refused")


def test_pings_are_answered(carried: Start) -> None:
    heard = []

    def act(kubelet: Kubelet) -> None:
        kubelet.shake()
        kubelet.sock.sendall(plain(b"are you there", PING))
        heard.append(kubelet.hear())

    carried(act).rest()
    assert heard == [(PONG, b"are you there")]


def test_close_ends_it_at_once(carried: Start) -> None:
    def act(kubelet: Kubelet) -> None:
        kubelet.shake()
        while kubelet.hear():
            pass

    here = carried(act)
    start = time.monotonic()
    here.tunnel.close()
    assert here.rest() == b""
    here.result()
    assert time.monotonic() - start < 5


def test_a_slow_reader_is_waited_for_and_memory_stays_bounded(carried: Start) -> None:
    said = []

    def act(kubelet: Kubelet) -> None:
        kubelet.shake()
        kubelet.sock.settimeout(0.5)
        try:
            for number in range(256):
                kubelet.say(b"x" * (1 << 18))
                said.append(number)
        except TimeoutError:
            pass

    here = carried(act)
    time.sleep(1.2)
    assert 0 < len(said) < 128, "64 MiB were taken from a pod although nobody read them"
    here.near.close()


@pytest.mark.parametrize(("code", "text"), [(404, 'pods "p" not found'), (403, "forbidden")])
def test_a_refused_forward_is_the_servers_message(code: int, text: str) -> None:
    body = b'{"kind":"Status","reason":"R","message":"' + text.replace('"', '\\"').encode() + b'"}'

    def act(kubelet: Kubelet) -> None:
        head = f"HTTP/1.1 {code} No\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        kubelet.sock.sendall(head.encode() + body)

    kubelet = Kubelet(act)
    with pytest.raises(ApiError) as caught:
        open_tunnel(kubelet.url, {}, CONTEXT)
    assert (caught.value.status, caught.value.message) == (code, text)
    kubelet.thread.join(5)


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(ApiError, match="no port forward: connection refused"):
        open_tunnel("ws://127.0.0.1:9/x", {}, CONTEXT)


def test_the_handshake_carries_the_token_and_the_protocol(carried: Start) -> None:
    seen = []

    def act(kubelet: Kubelet) -> None:
        seen.append(kubelet.request.lower())
        kubelet.shake()

    carried(act).rest()
    assert b"authorization: bearer s3cret" in seen[0]
    assert b"sec-websocket-protocol: v4.channel.k8s.io" in seen[0]
    assert b"origin:" not in seen[0]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 100_001])
def test_frames_of_every_length_come_through_in_any_pieces(size: int) -> None:
    payload = bytes(at % 251 for at in range(size))
    frames = Frames(lambda _: None)
    wire = plain(b"\0" + PORT_FRAME) + plain(b"\0" + payload)
    got = b"".join(data for start in range(0, len(wire), 977) for _, data in frames.receive(wire[start : start + 977]))
    assert got == payload


def test_a_message_in_fragments_stays_on_its_channel_and_a_ping_may_come_between() -> None:
    said: list[bytes] = []
    frames = Frames(said.append)
    wire = plain(b"\0" + PORT_FRAME[:1], final=False) + plain(PORT_FRAME[1:], CONTINUATION)
    wire += plain(b"\0one ", final=False) + plain(b"ping", PING) + plain(b"\1wo", CONTINUATION)
    assert list(frames.receive(wire)) == [(0, b"one "), (0, b"\1wo")]
    assert len(said) == 1
    assert said[0][0] & 0x0F == PONG


def test_a_message_in_fragments_reaches_the_client_whole(carried: Start) -> None:
    def act(kubelet: Kubelet) -> None:
        kubelet.shake()
        for at, part in enumerate((b"\0one ", b"two ", b"", b"three")):
            kubelet.sock.sendall(plain(part, CONTINUATION if at else BINARY, final=at == 3))

    here = carried(act)
    assert here.rest() == b"one two three"
    assert here.result() == Traffic(0, 13, "")


def test_a_close_is_answered_and_ends_it(carried: Start) -> None:
    heard = []

    def act(kubelet: Kubelet) -> None:
        kubelet.shake()
        kubelet.say(b"bye")
        kubelet.sock.sendall(plain(struct.pack("!H", 1000) + b"done", CLOSE))
        heard.append(kubelet.hear())
        heard.append(kubelet.hear())

    here = carried(act)
    assert here.rest() == b"bye"
    assert here.result() == Traffic(0, 3, "")
    here.near.close()
    here.kubelet.thread.join(5)
    assert heard == [(CLOSE, struct.pack("!H", 1000) + b"done"), None]


@pytest.mark.parametrize(
    "wire", [plain(b"late", CONTINUATION), plain(b"x", 3), b"\xf2\x00", b"\x82\x81mask!"], ids=lambda wire: wire.hex()
)
def test_frames_that_are_none_end_it_and_are_told(carried: Start, wire: bytes) -> None:
    def act(kubelet: Kubelet) -> None:
        kubelet.shake()
        kubelet.sock.sendall(wire)
        while kubelet.hear():
            pass

    here = carried(act)
    assert here.rest() == b""
    assert here.result().error.startswith("the websocket is broken: ")


def test_what_follows_a_close_is_nothing() -> None:
    frames = Frames(lambda _: None)
    late = plain(b"\0late")
    assert list(frames.receive(plain(b"\0" + PORT_FRAME) + plain(b"", CLOSE) + late)) == []
    assert frames.closed
    assert list(frames.receive(late)) == []
    assert frames.error == ""


def test_our_frames_are_masked() -> None:
    made = Frames(lambda _: None).make_message(DATA, b"secret")
    assert made[1] & 0x80
    assert b"secret" not in made
    mask, body = made[2:6], made[6:]
    assert bytes(byte ^ mask[at % 4] for at, byte in enumerate(body)) == b"\0secret"
