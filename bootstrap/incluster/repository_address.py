"""The addresses of repositories, in the forms that people write them. Pure."""

from __future__ import annotations

import re

SSH = "ssh://"
SSH_PORT = 22


def expand_scp_form(address: str) -> str:
    """ "git@git.example.com:sales/orders.git" -> "ssh://git@git.example.com/sales/orders.git"; others stay as they are.

    The path begins at the server's root, as git hosts take it. To a plain sshd the short form means a path below the
    user's home: there the long one is to be written.
    """
    host, colon, path = address.partition(":")
    if not colon or "/" in host or path.startswith("//"):
        return address
    return f"{SSH}{host}/{path.lstrip('/')}"


def is_ssh(address: str) -> bool:
    """Whether git goes there by ssh. address: with a scheme."""
    return address.startswith(SSH)


def find_ssh_host(address: str) -> tuple[str, int]:
    """(host in lower case, port) of an address with a scheme; port 22 where it names none."""
    place = address.partition("://")[2].partition("/")[0].rpartition("@")[2].lower()
    found = re.fullmatch(r"(.*):(\d{1,5})", place)
    return (found[1], int(found[2])) if found else (place, SSH_PORT)


def find_origin(address: str) -> str:
    """What a login is for: "https://git.example.com:8443/sales/orders.git" -> "https://git.example.com:8443"."""
    scheme, _, rest = address.partition("://")
    return f"{scheme.lower()}://{rest.partition('/')[0].rpartition('@')[2].lower()}"
