"""The private engine's own networks: a block of addresses, a bridge, and three packet rules.

dockerd runs with `iptables: false`, because two daemons share (and flush) the chains called DOCKER, and
the user's may be one of them. Publishing on 127.0.0.1 goes through docker-proxy and needs no rule; the way
out of the containers does, and these are all there are.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from bootstrap.core.errors import PreconditionError
from bootstrap.world import host
from bootstrap.world.shell import Shell

CANDIDATES = tuple(IPv4Network(f"10.{second}.0.0/16") for second in (213, 187, 151, 119, 83, 59))
"""Blocks that neither Docker's defaults, kind's pods (10.244) nor its services (10.96) use."""


def find_free_block(used: Iterable[IPv4Network], candidates: Iterable[IPv4Network] = CANDIDATES) -> IPv4Network:
    """The first candidate that no used network overlaps; the default route does not count.

    Raises PreconditionError when every one is taken.
    """
    taken = [network for network in used if network.prefixlen]
    for block in candidates:
        if not any(block.overlaps(network) for network in taken):
            return block
    raise PreconditionError("no free block of addresses for containers", hint="ip route")


@dataclass(frozen=True)
class EngineNetwork:
    """Names and addresses of the private engine. prefix: how the names of all its bridges begin. block: a /16."""

    prefix: str
    block: IPv4Network

    @staticmethod
    def open(folder: Path) -> EngineNetwork:
        """The network of the engine in `folder`; its block is chosen once and kept there. Raises PreconditionError."""
        prefix = "tb" + hashlib.sha256(str(folder).encode()).hexdigest()[:6]
        file = folder / "block"
        if file.exists():
            return EngineNetwork(prefix, IPv4Network(file.read_text().strip()))
        block = find_free_block(network for _, network in host.list_routes())
        file.write_text(f"{block}\n")
        return EngineNetwork(prefix, block)

    @property
    def bridge(self) -> str:
        """Name of the default bridge."""
        return f"{self.prefix}-0"

    @property
    def gateway(self) -> ipaddress.IPv4Interface:
        """Address of the default bridge, in the first /24 of the block."""
        return ipaddress.IPv4Interface(f"{self.block[1]}/24")

    @property
    def pool(self) -> IPv4Network:
        """Where networks made later take their /24 from: the upper half of the block, clear of the default bridge."""
        return list(self.block.subnets())[1]

    def name_bridge(self, network: str) -> str:
        """Interface name for a Docker network; at most 15 bytes, the kernel's limit."""
        return f"{self.prefix}-{hashlib.sha256(network.encode()).hexdigest()[:6]}"

    def list_rules(self) -> list[tuple[str, list[str]]]:
        """(table, rule) of each packet rule, in iptables' words: let our bridges forward, and give what leaves them the
        machine's address.
        """
        bridges = f"{self.prefix}+"
        comment = ["-m", "comment", "--comment", "tekton-bootstrap"]
        masquerade = ["POSTROUTING", "-s", str(self.block), "!", "-d", str(self.block), *comment, "-j", "MASQUERADE"]
        ways = [["FORWARD", way, bridges, *comment, "-j", "ACCEPT"] for way in ("-i", "-o")]
        return [("nat", masquerade), *(("filter", way) for way in ways)]

    def create(self, shell: Shell) -> None:
        """Make the bridge and the rules; what is there already stays as it is. Raises CommandError."""
        if self.bridge not in list_links():
            shell.run(["ip", "link", "add", self.bridge, "type", "bridge"])
            shell.run(["ip", "address", "add", str(self.gateway), "dev", self.bridge])
        shell.run(["ip", "link", "set", self.bridge, "up"])
        for table, rule in self.list_rules():
            if not _has(shell, table, rule):
                shell.run(["iptables", "-w", "-t", table, "-I", *rule])

    def is_complete(self, shell: Shell) -> bool:
        """Whether bridge and rules are there: a firewall's reload takes rules away."""
        return self.bridge in list_links() and all(_has(shell, table, rule) for table, rule in self.list_rules())

    def remove(self, shell: Shell) -> None:
        """Remove the rules, and every bridge whose name begins with our prefix."""
        for table, rule in self.list_rules():
            if _has(shell, table, rule):
                shell.run(["iptables", "-w", "-t", table, "-D", *rule])
        for link in list_links():
            if link.startswith(f"{self.prefix}-"):
                shell.run(["ip", "link", "delete", link], check=False)


def list_links() -> list[str]:
    """Names of the network interfaces of this process's network namespace.

    /sys/class/net would name those of whoever mounted it.
    """
    return [name for _, name in socket.if_nameindex()]


def _has(shell: Shell, table: str, rule: list[str]) -> bool:
    try:
        return shell.run(["iptables", "-w", "-t", table, "-C", *rule], check=False).code == 0
    except PreconditionError:  # iptables itself is not installed yet
        return False
