"""OpenSSH's files, as far as it has to be told beforehand whether they will do: a private key, and known hosts. Pure.

Formats: PROTOCOL.key of OpenSSH, and SSH_KNOWN_HOSTS FILE FORMAT in sshd(8).
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import re
from collections.abc import Iterator

from bootstrap.incluster.repository_address import SSH_PORT

_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----(.*?)-----END \1PRIVATE KEY-----", re.DOTALL)
_MAGIC = b"openssh-key-v1\0"
_PUBLIC = re.compile(r"\s*(ssh-[a-z0-9@.-]+|ecdsa-sha2-\S+|sk-\S+) AAAA|.*BEGIN (SSH2 |RSA )?PUBLIC KEY", re.DOTALL)
NEW_KEY = "ssh-keygen -t ed25519 -N '' -f FILE"


def find_key_fault(text: str) -> str:
    """Why a private key cannot be used where nobody is there to type, as the end of a sentence; "" if it can."""
    if not text.strip():
        return "is empty"
    found = _PEM.search(text)
    if not found:
        if _PUBLIC.match(text):
            return "is a public key; the private one is the file of the same name without .pub"
        if text.lstrip().startswith("PuTTY-User-Key-File"):
            return "is a key of PuTTY; write it as OpenSSH does: puttygen KEY -O private-openssh -o FILE"
        return "is no private key of ssh"
    kind, body = found[1].strip(), found[2]
    if kind == "OPENSSH":
        cipher = _read_cipher(body)
        if cipher is None:
            return "is a private key that is damaged"
        locked = cipher != "none"
    else:
        locked = kind == "ENCRYPTED" or "ENCRYPTED" in body.partition("\n\n")[0]
    if locked:
        return f"has a passphrase, which nobody can type there; make a key without one: {NEW_KEY}"
    return ""


def _read_cipher(body: str) -> str | None:
    """What a key in OpenSSH's own format is encrypted with, "none" without a passphrase; None if that is not told."""
    try:
        data = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    start = len(_MAGIC) + 4
    length = int.from_bytes(data[len(_MAGIC) : start], "big")
    if not data.startswith(_MAGIC) or len(data) < start + max(length, 1):
        return None
    return data[start : start + length].decode(errors="replace")


def select_host_lines(text: str, host: str, port: int = SSH_PORT) -> str:
    """Of a known_hosts file the lines that are about a host, "" if there is none. host: in lower case.

    What revokes a key counts for that, but alone it pins none: then the answer is "" as well.
    """
    place = host if port == SSH_PORT else f"[{host}]:{port}"
    lines = [(line, marker) for line, marker, names in _parse_lines(text) if _is_meant(names, place)]
    if all(marker == "@revoked" for _, marker in lines):
        return ""
    return "".join(f"{line}\n" for line, _ in lines)


def _parse_lines(text: str) -> Iterator[tuple[str, str, str]]:
    """(line, its marker or "", its hosts) of each entry."""
    for line in text.splitlines():
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) >= 3 and not words[0].startswith("#"):
            yield line.strip(), marker, words[0]


def _is_meant(names: str, place: str) -> bool:
    if names.startswith("|1|"):
        return _is_hash_of(names, place)
    patterns = names.lower().split(",")
    if any(each.startswith("!") and _matches(each[1:], place) for each in patterns):
        return False
    return any(_matches(each, place) for each in patterns)


def _matches(pattern: str, place: str) -> bool:
    """ssh knows * and ?, and brackets stand for themselves."""
    return fnmatch.fnmatchcase(place, pattern.replace("[", "[[]"))


def _is_hash_of(name: str, place: str) -> bool:
    """A host that is hidden: |1|SALT|HMAC-SHA1, both in base64."""
    _, _, salt, digest = [*name.split("|"), "", ""][:4]
    try:
        made = hmac.new(base64.b64decode(salt), place.encode(), hashlib.sha1).digest()
        return hmac.compare_digest(made, base64.b64decode(digest))
    except (binascii.Error, ValueError):
        return False
