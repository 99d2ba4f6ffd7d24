"""The adapter for git servers: asks for refs without a clone; over smart HTTP without a git program, too.

Protocol: git's gitprotocol-http(5), version 0: pkt-lines of "<id> <ref>", the first with capabilities.
"""

from __future__ import annotations

from base64 import b64encode

from bootstrap.core.errors import CommandError, PreconditionError, TimedOut
from bootstrap.core.model import Secret
from bootstrap.objects.kubeconfig import is_loopback
from bootstrap.world import http_client
from bootstrap.world.shell import Shell

LIMIT, SSH_LIMIT = 10.0, 30.0


def read_refs(url: str, username: str = "", password: Secret | None = None) -> dict[str, str]:
    """The refs of a repository: "refs/heads/main" -> commit id; peeled tags end in "^{}".

    username, password: none where the password is empty or None. Raises PreconditionError when the server does not
    answer, refuses, or speaks something else.
    """
    login = f"Basic {b64encode(f'{username}:{password.reveal()}'.encode()).decode()}" if password else ""
    address = f"{url.rstrip('/')}/info/refs?service=git-upload-pack"
    try:
        # A proxy must not be asked for what is on this machine.
        answer = http_client.request("GET", address, LIMIT, proxies=not is_loopback(url), authorization=login)
        if not 200 <= answer.status < 300:
            raise PreconditionError(f"the git server answers {answer.status} for {url}")
        return parse_refs(answer.body)
    except (OSError, ValueError) as error:
        raise PreconditionError(f"the git server does not answer at {url}: {error}") from None


def read_refs_by_ssh(shell: Shell, url: str) -> dict[str, str]:
    """As `read_refs`, by git and the user's own ssh. Raises PreconditionError."""
    try:
        listing = shell.run(["git", "ls-remote", "--", url], limit=SSH_LIMIT).stdout
    except (CommandError, TimedOut) as error:
        raise PreconditionError(f"{url} cannot be read by your own ssh", evidence=error.evidence) from None
    pairs = (line.partition("\t") for line in listing.splitlines())
    return {name: object_id for object_id, _, name in pairs if name}


def parse_refs(data: bytes) -> dict[str, str]:
    """Refs from the body of an `info/refs` answer, as `read_refs` gives them. Raises ValueError when it is not one."""
    found: dict[str, str] = {}
    position = 0
    while position < len(data):
        length = int(data[position : position + 4], 16)
        if length < 0 or max(length, 4) > len(data) - position:
            raise ValueError("a line of it is cut off")
        line = data[position + 4 : position + length]
        position += max(length, 4)
        if length <= 4 or line.startswith(b"#"):
            continue
        object_id, _, name = line.split(b"\0")[0].decode(errors="replace").rstrip("\n").partition(" ")
        if set(object_id) != {"0"} and name:
            found[name] = object_id
    return found


def find_commit(found: dict[str, str], revision: str) -> str:
    """The commit that a branch, tag or full ref names among the refs `found`; "" if none does."""
    for name in (f"refs/tags/{revision}^{{}}", f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
        if name in found:
            return found[name]
    return ""
