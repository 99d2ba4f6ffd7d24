"""The OpenSSH client's command lines, what its complaints mean, and the far side's view of a port. Pure."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from bootstrap.core.errors import UsageError

OPTIONS = {
    "BatchMode": "yes",  # never a question: nobody is there to answer it
    "ConnectTimeout": "15",
    "ControlPath": "none",  # a shared connection would outlive us, or end with another command
    "ServerAliveInterval": "15",
    "ServerAliveCountMax": "3",
}
_TO = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._+-]*@)?[A-Za-z0-9_:\[][A-Za-z0-9_.:%\[\]-]*")


@dataclass(frozen=True)
class SshLogin:
    """A host to connect to by ssh. to: user@host, or a name of ssh's configuration. port: 0 is ssh's own choice.

    identity, config: files, "" is ssh's own choice. Raises UsageError for texts that are no login.
    """

    to: str
    port: int = 0
    identity: str = ""
    config: str = ""

    def __post_init__(self) -> None:
        """Raises UsageError: what begins with a dash, say, would be an option of ssh."""
        if not _TO.fullmatch(self.to):
            raise UsageError(f"{self.to!r} is not a login like user@host", hint="invoke tunnel user@host")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"--ssh-port: {self.port} is not a port")

    @property
    def host(self) -> str:
        """The host, without the user."""
        return self.to.rpartition("@")[2]

    def format_command(self, *words: str) -> str:
        """The command as a person would type it: "ssh -p 2222 ada@host true"."""
        return shlex.join(["ssh", *self._list_options(), self.to, *words])

    def _list_options(self) -> Iterator[str]:
        if self.config:
            yield from ("-F", self.config)
        if self.port:
            yield from ("-p", str(self.port))
        if self.identity:
            yield from ("-i", self.identity, "-o", "IdentitiesOnly=yes")

    def _make_command(self, *more: str) -> list[str]:
        options = [word for key, value in OPTIONS.items() for word in ("-o", f"{key}={value}")]
        return ["ssh", "-T", *self._list_options(), *options, *more, "--", self.to]

    def make_reverse_command(self, far: int, near: int) -> list[str]:
        """The command by which the remote port `far` leads to `near` on this machine; it ends if that port cannot be
        had.

        All addresses of the host are asked for; its sshd decides (GatewayPorts).
        """
        return self._make_command("-N", "-o", "ExitOnForwardFailure=yes", "-R", f"*:{far}:127.0.0.1:{near}")

    def make_check_command(self, far: int) -> list[str]:
        """The command that runs CHECK, given by stdin, on the remote host."""
        return [*self._make_command(), "sh", "-s", str(far)]


# What ssh prints, as far as it is read. Nobody else matches texts of ssh's. Read from OpenSSH 9.2p1, that of Debian 12:
# sshconnect.c, sshconnect2.c, clientloop.c, readconf.c; "Too many authentication failures" is sshd's (auth.c).

HOST_KEY_CHANGED = ("IDENTIFICATION HAS CHANGED",)
HOST_KEY_UNKNOWN = ("Host key verification failed",)
"""It ends the complaint about a changed key as well, so that one is looked for first."""
NO_LOGIN = ("Permission denied", "Too many authentication failures")
BAD_CONFIGURATION = ("Bad configuration option", "terminating,")
"""'FILE: terminating, 1 bad configuration options'"""
NO_FORWARD = ("remote port forwarding failed",)
NO_SUCH_HOST = ("Could not resolve hostname",)
NO_SSHD = ("Connection refused",)


@dataclass(frozen=True)
class SshRefusal:
    """Why ssh ended. lasting: trying again will not help."""

    message: str
    hint: str = ""
    lasting: bool = False


def explain_refusal(said: str, login: SshLogin, far: int) -> SshRefusal:
    """What the last words of ssh mean. far: the remote port that was asked for."""
    host = login.host

    def tells(phrases: tuple[str, ...]) -> bool:
        return any(phrase in said for phrase in phrases)

    if tells(HOST_KEY_CHANGED):
        hint = f"ask why; then ssh-keygen -R {shlex.quote(host)}"
        return SshRefusal(f"the key of host {host} is not the one that ssh knows", hint, lasting=True)
    if tells(HOST_KEY_UNKNOWN):
        return SshRefusal(f"ssh does not know the key of host {host} yet", login.format_command("true"), lasting=True)
    if tells(NO_LOGIN):
        key = "a key without a passphrase, or one that ssh-agent holds"
        return SshRefusal(f"{login.to} does not let us in; it takes {key}", f"ssh-copy-id {login.to}", lasting=True)
    if tells(BAD_CONFIGURATION):
        return SshRefusal(
            f"ssh cannot use its configuration: {_get_last_line(said)}", login.format_command("true"), lasting=True
        )
    if tells(NO_FORWARD):
        return explain_taken_port(login, far)
    if tells(NO_SUCH_HOST):
        return SshRefusal(f"there is no host {host}")
    if tells(NO_SSHD):
        return SshRefusal(f"no sshd answers at {host}", f"invoke tunnel {login.to} --ssh-port PORT")
    return SshRefusal(f"ssh ended: {_get_last_line(said) or 'without a word'}", login.format_command("true"))


def explain_taken_port(login: SshLogin, far: int) -> SshRefusal:
    """Why the remote port cannot be had: sshd answers the same for a port that is taken and one that it forbids."""
    why = "it is taken there, or its sshd forbids it (AllowTcpForwarding, PermitListen)"
    hint = f"invoke tunnel {login.to} --port {far + 1 if far < 65535 else 1024}"
    return SshRefusal(f"port {far} of {login.host} cannot be had: {why}", hint)


def _get_last_line(said: str) -> str:
    return said.strip().rpartition("\n")[2]


# -- the far side ------------------------------------------------------------------------------------

CHECK = r"""
port=$1
url="http://127.0.0.1:$port/live"
request='GET /live HTTP/1.0\r\nHost: localhost\r\n\r\n'
for tool in curl python3 bash nc; do
  command -v "$tool" >/dev/null 2>&1 || continue
  case $tool in
  curl) got=$(curl --silent --noproxy '*' --max-time 5 --output /dev/null --write-out '%{http_code}' "$url") ;;
  python3) got=$(python3 -c 'import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=5)
connection.request("GET", "/live")
print(connection.getresponse().status)' "$port" 2>/dev/null) ;;
  bash) got=$(bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && printf "$2" >&3 && read -r -t 5 _ code _ <&3
echo "$code"' bash "$port" "$request" 2>/dev/null) ;;
  nc) got=$(printf "$request" | nc -w 5 127.0.0.1 "$port" 2>/dev/null | sed -n '1s/^HTTP[^ ]* \([0-9]*\).*/\1/p') ;;
  esac
  echo "answer $tool ${got:-0}"
  break
done
grep -h -i ":$(printf %04X "$port") [0-9A-F]*:0000 0A " /proc/net/tcp /proc/net/tcp6 2>/dev/null
exit 0
"""
_ANSWER = re.compile(r"^answer (\w+) (\d+)$", re.MULTILINE)
_LISTENS = re.compile(r"^\s*\d+: ((?:[0-9A-Fa-f]{8}){1,4}):", re.MULTILINE)


@dataclass(frozen=True)
class RemotePort:
    """The port as the remote host sees it.

    status: of HTTP, 0 for no answer. tool: the program that asked, "" if none could. open_to: "all", "loopback" or
    "unknown" (it has no /proc/net).
    """

    tool: str = ""
    status: int = 0
    open_to: str = "unknown"


def parse_check(printed: str) -> RemotePort:
    """The port as the output of CHECK describes it."""
    answer = _ANSWER.search(printed)
    tool, status = (answer[1], int(answer[2])) if answer else ("", 0)
    addresses = [_parse_address(each) for each in _LISTENS.findall(printed)]
    if not addresses:
        return RemotePort(tool, status)
    return RemotePort(tool, status, "loopback" if all(each.is_loopback for each in addresses) else "all")


def _parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """From /proc/net/tcp or tcp6: words of 4 bytes, each as the processor stores it (the last byte first)."""
    found = ipaddress.ip_address(b"".join(bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8)))
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found
