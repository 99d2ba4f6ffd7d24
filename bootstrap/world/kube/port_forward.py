"""One connection to a port of a pod, carried by a websocket through the API server.

The client library's own port forward drops the answer to a client that has closed its sending side,
keeps without limit what a slow reader does not take, and connects without a time limit. So `websocket` makes the
handshake, `wsproto` the frames, and the loop between the two sockets is here.
Protocol v4.channel.k8s.io: binary frames whose first byte is a channel, 0 the data and 1 the
kubelet's errors; the first frame of each channel repeats the port and carries no data.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from bootstrap.core.errors import ApiError
from bootstrap.world.kube.http import CONNECT_SECONDS, describe_cause, read_refusal

if TYPE_CHECKING:
    import websocket

PROTOCOL = "v4.channel.k8s.io"
CHUNK = 1 << 16
WINDOW = 1 << 20
"""Bytes kept for a side that reads slowly, before the other side is read no further."""
HALF_CLOSED_SECONDS = 30.0
"""How long the pod may be silent after the local side has said all it wants to."""
DATA, ERRORS = 0, 1


@dataclass(frozen=True)
class Traffic:
    """Bytes to and from the pod, and what the kubelet said went wrong ("" if nothing)."""

    sent: int
    received: int
    error: str


class Tunnel(Protocol):
    """A connection to a port of a pod."""

    def carry(self, local: socket.socket) -> Traffic:
        """Copy both ways between `local` and the pod until both sides have ended, or `close`.

        Closes neither; call it once.
        """
        ...

    def close(self) -> None:
        """End `carry` at once; any thread may call it."""
        ...


def open_tunnel(url: str, headers: Mapping[str, str], tls: ssl.SSLContext, server_name: str = "") -> PodTunnel:
    """Connect to a port of a pod.

    url: "wss://HOST:PORT/api/v1/namespaces/N/pods/P/portforward?ports=80". server_name: as for `open_channels`. Raises
    ApiError.
    """
    sock = open_channels(url, headers, tls, server_name, what="port forward")
    assert sock.sock is not None, "a websocket that is connected has a socket"  # noqa: S101
    return PodTunnel(sock.sock)


def open_channels(
    url: str, headers: Mapping[str, str], tls: ssl.SSLContext, server_name: str, *, what: str
) -> websocket.WebSocket:
    """A connected websocket that speaks PROTOCOL. Raises ApiError.

    server_name: the name that the certificate must have, "" for that of the URL. what: it is for, in the message.
    """
    import websocket

    named = {"server_hostname": server_name} if server_name else {}
    sock = websocket.WebSocket(sslopt={"context": tls, **named})
    try:
        sock.connect(  # type: ignore[no-untyped-call]
            url,
            timeout=CONNECT_SECONDS,
            header=dict(headers),
            subprotocols=[PROTOCOL],
            suppress_origin=True,
        )
    except websocket.WebSocketBadStatusException as error:
        raise read_refusal(error.status_code or 0, _to_bytes(error.resp_body), "") from None
    except (websocket.WebSocketException, OSError) as error:
        raise ApiError(f"no {what}: {describe_cause(error)}", status=0, reason="Unanswered") from None
    return sock


def _to_bytes(body: object) -> bytes:
    return body if isinstance(body, bytes) else str(body or "").encode()


class PodTunnel:
    """A `Tunnel` through the API server.

    sock: the socket after the websocket handshake, with nothing read beyond it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sock.setblocking(False)
        self._closed = False

    def carry(self, local: socket.socket) -> Traffic:
        """Copy both ways until both sides have ended, or `close`.

        A fault of either side stands in the result's `error`.
        """
        local.setblocking(False)
        flow = _Flow(self._sock, local)
        try:
            while not self._closed and not flow.is_ended():
                flow.handle_event()
        except OSError as error:
            flow.error = flow.error or describe_cause(error)
        finally:
            self._sock.close()
        return Traffic(flow.sent, flow.received, flow.error)

    def close(self) -> None:
        """End `carry` at once; any thread may call it."""
        self._closed = True
        with contextlib.suppress(OSError):
            # not SSLSocket.shutdown: that would strip TLS off while `carry` reads
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)


@dataclass
class _Flow:
    """The state of one carried connection; `handle_event` waits for one event and acts on it."""

    remote: socket.socket
    local: socket.socket
    to_remote: bytearray = field(default_factory=bytearray)
    to_local: bytearray = field(default_factory=bytearray)
    frames: Frames = field(init=False)
    remote_done: bool = False
    local_done: bool = False
    is_shut: bool = False
    quiet_since: float = field(default_factory=time.monotonic)
    sent: int = 0
    received: int = 0
    error: str = ""

    def __post_init__(self) -> None:
        self.frames = Frames(self._answer)

    def is_ended(self) -> bool:
        """Whether the pod has ended and all of it was delivered, or it says nothing more to a local side that has
        ended.

        The latter is so after HALF_CLOSED_SECONDS without a byte.
        """
        if self.remote_done and not self.to_local:
            return True
        silent = time.monotonic() - self.quiet_since > HALF_CLOSED_SECONDS
        return self.local_done and not self.to_remote and silent

    def handle_event(self) -> None:
        """Wait at most a second for a socket, and copy what can be copied."""
        readable, writable = self._ready()
        if self.remote in readable:
            self._from_remote()
        if self.local in readable and not self.remote_done:
            self._from_local()
        if self.remote in writable:
            self._flush(self.remote, self.to_remote)
        if self.local in writable:
            self._flush(self.local, self.to_local)
        self._shut_local()

    def _ready(self) -> tuple[set[socket.socket], set[socket.socket]]:
        wanted: dict[int, int] = {}
        reads_remote = not self.remote_done and len(self.to_local) < WINDOW
        reads_local = not self.local_done and not self.remote_done and len(self.to_remote) < WINDOW
        for sock, reads, writes in (
            (self.remote, reads_remote, bool(self.to_remote) and not self.remote_done),
            (self.local, reads_local, bool(self.to_local)),
        ):
            wanted[sock.fileno()] = (select.POLLIN if reads else 0) | (select.POLLOUT if writes else 0)
        # TLS may hold decrypted bytes that the kernel knows nothing of
        held = reads_remote and isinstance(self.remote, ssl.SSLSocket) and self.remote.pending() > 0
        poll = select.poll()
        for number, mask in wanted.items():
            if mask:
                poll.register(number, mask)
        ready = dict(poll.poll(0 if held else 1000))
        by_number = {self.remote.fileno(): self.remote, self.local.fileno(): self.local}
        gone = select.POLLHUP | select.POLLERR
        readable = {by_number[n] for n, m in ready.items() if wanted[n] & select.POLLIN and m & (select.POLLIN | gone)}
        writable = {
            by_number[n] for n, m in ready.items() if wanted[n] & select.POLLOUT and m & (select.POLLOUT | gone)
        }
        return (readable | {self.remote} if held else readable), writable

    def _from_remote(self) -> None:
        data = _receive(self.remote)
        if data is None:
            return
        self.quiet_since = time.monotonic()
        if not data:
            self.remote_done = True
        for channel, payload in self.frames.receive(data):
            if channel == DATA:
                self.to_local += payload
                self.received += len(payload)
            elif channel == ERRORS:
                self.error += payload.decode(errors="replace").strip()
                self.remote_done = True
        if self.frames.closed and not self.remote_done:
            self.remote_done, self.error = True, self.error or self.frames.error
            with contextlib.suppress(OSError):  # the answer to its closing; it need not wait for that
                self._flush(self.remote, self.to_remote)

    def _from_local(self) -> None:
        data = _receive(self.local)
        if data is None:
            return
        self.quiet_since = time.monotonic()
        if data:
            self.to_remote += self.frames.make_message(DATA, data)
            self.sent += len(data)
        else:
            self.local_done = True

    def _shut_local(self) -> None:
        """The pod has ended: so does what the local side hears, after the last byte."""
        if self.remote_done and not self.to_local and not self.is_shut:
            self.is_shut = True
            with contextlib.suppress(OSError):
                self.local.shutdown(socket.SHUT_WR)

    def _answer(self, frame: bytes) -> None:
        self.to_remote += frame

    @staticmethod
    def _flush(sock: socket.socket, waiting: bytearray) -> None:
        with contextlib.suppress(BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            del waiting[: sock.send(bytes(waiting[:CHUNK]))]


def _receive(sock: socket.socket) -> bytes | None:
    """b"" at the end, also when the other side vanished; None when there is nothing yet."""
    try:
        return sock.recv(CHUNK)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return None
    except (ConnectionError, ssl.SSLError):
        return b""


class Frames:
    """The websocket's frames (RFC 6455): takes the server's bytes as they come, and gives the data in them.

    send: takes what the protocol itself answers, pongs and the end of the closing handshake.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        from wsproto.connection import Connection, ConnectionType

        self._connection = Connection(ConnectionType.CLIENT)
        self._send = send
        self._opened: set[int] = set()
        self._channel: int | None = None
        """Of the message that has begun, None between messages."""
        self.closed = False
        self.error = ""
        """What was wrong with the server's frames; they are read no further then."""

    def receive(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Take bytes of the server. Yields (channel, payload) for each piece of data in them.

        Frames that are broken end it: `closed` and `error` then say so.
        """
        from wsproto.connection import ConnectionState
        from wsproto.events import BytesMessage, CloseConnection, Ping

        if self.closed:
            return
        self._connection.receive_data(data)
        for event in self._connection.events():
            if isinstance(event, Ping):
                self._send(self._connection.send(event.response()))
            elif isinstance(event, BytesMessage):
                yield from self._take(bytes(event.data), finished=event.message_finished)
            elif isinstance(event, CloseConnection):
                self.closed = True
                if self._connection.state is ConnectionState.OPEN:  # it did not close: its frames are broken
                    self.error = f"the websocket is broken: {event.reason}"
                else:
                    self._send(self._connection.send(event.response()))

    def _take(self, data: bytes, *, finished: bool) -> Iterator[tuple[int, bytes]]:
        """A piece of a message, whose first byte is the channel; the first message of each channel is not data."""
        if self._channel is None and data:
            self._channel, data = data[0], data[1:]
        channel = self._channel
        if channel is not None:
            if channel in self._opened and data:
                yield channel, data
            if finished:
                self._opened.add(channel)
        if finished:
            self._channel = None

    def make_message(self, channel: int, data: bytes) -> bytes:
        """`data` for a channel as it is sent: one frame, masked."""
        from wsproto.events import BytesMessage

        return self._connection.send(BytesMessage(data=bytes((channel,)) + data))
