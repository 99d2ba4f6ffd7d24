"""The login of one application's repository: what its Secret has to hold, and how git is given it.

A Secret of kubernetes.io/ssh-auth has the private key and known_hosts: the host that is asked must prove that it is one
of those. A Secret of kubernetes.io/basic-auth says by Tekton's own annotation (`tekton.dev/git-0`) which host its
password is for: whoever may write Applications, but read no Secrets, could otherwise have it sent to a host of theirs.
"""

from __future__ import annotations

import base64
import binascii
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootstrap.incluster.json_object import Object
from bootstrap.incluster.repository_address import SSH_PORT, find_origin, find_ssh_host, is_ssh
from bootstrap.incluster.ssh_files import find_key_fault, select_host_lines

BASIC_AUTH, SSH_AUTH = "kubernetes.io/basic-auth", "kubernetes.io/ssh-auth"
USERNAME, PASSWORD, KEY, KNOWN_HOSTS = "username", "password", "ssh-privatekey", "known_hosts"
FOR_HOST = "tekton.dev/git-"
"""What the annotations of a Secret begin with that name the hosts which it is for."""
NO_LOGIN = "no-git-login"
"""The Secret that runs of an application without a login name. There is none of that name, and none is needed."""
SSH_OPTIONS = (
    *("BatchMode=yes", "StrictHostKeyChecking=yes", "GlobalKnownHostsFile=/dev/null", "UpdateHostKeys=no"),
    *("IdentitiesOnly=yes", "IdentityAgent=none", "ConnectTimeout=15", "ServerAliveInterval=15"),
    *("ServerAliveCountMax=4", "LogLevel=ERROR"),
)
"""Never a question, no key and no host but those of the Secret. manifests/pipeline/task-git-clone.yaml has the same."""


class LoginFault(ValueError):
    """Why a Secret is no login for a repository, in one sentence. hint: what to type next, "" if that is said."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.hint = hint


@dataclass(frozen=True)
class GitLogin:
    """files: name -> contents, secret ones among them: username and password, or the private key and known_hosts."""

    files: Mapping[str, str] = field(repr=False)

    @property
    def by_ssh(self) -> bool:
        """Whether it has a key, in place of a password."""
        return KEY in self.files


def read_login(secret: Object | None, name: str, url: str) -> GitLogin:
    """The login that a Secret is for the repository at `url`; None: there is no such Secret.

    Raises LoginFault, whose texts hold nothing of the Secret's data.
    """
    told = f"Secret {name}"
    wanted = SSH_AUTH if is_ssh(url) else BASIC_AUTH
    if secret is None:
        raise LoginFault(f"{told} is not there", describe_creation(name, url))
    if secret.get("type") != wanted:
        raise LoginFault(f"{told} is of type {secret.get('type')}; {url} needs {wanted}", describe_creation(name, url))
    data = {key: _decode(secret, key) for key in ((KEY, KNOWN_HOSTS) if is_ssh(url) else (USERNAME, PASSWORD))}
    if is_ssh(url):
        if fault := find_key_fault(data[KEY]):
            raise LoginFault(f"{KEY} of {told} {fault}")
        data[KEY] = tidy_lines(data[KEY])
        data[KNOWN_HOSTS] = choose_known_hosts(data[KNOWN_HOSTS], f"{KNOWN_HOSTS} of {told}", url)
        return GitLogin(data)
    data = {key: value.rstrip("\r\n") for key, value in data.items()}
    if missing := [key for key, value in data.items() if not value]:
        raise LoginFault(f"{told} has no {missing[0]}", describe_creation(name, url))
    if any(character < " " for value in data.values() for character in value):
        raise LoginFault(f"{USERNAME} or {PASSWORD} of {told} has more than one line, or control characters")
    _require_host(secret, name, url)
    return GitLogin(data)


def tidy_lines(text: str) -> str:
    """With the ends of lines that ssh wants: it refuses a key whose last line has none."""
    return "\n".join(text.splitlines()).strip("\n") + "\n"


def choose_known_hosts(text: str, told: str, url: str) -> str:
    """The lines of a known_hosts file that pin the host of an address. told: what the file is called in the fault.

    Raises LoginFault.
    """
    host, port = find_ssh_host(url)
    lines = select_host_lines(text, host, port)
    if not lines:
        what = f"has no key of {host}" + ("" if port == SSH_PORT else f" at port {port}")
        raise LoginFault(f"{told} {what if text.strip() else 'is missing'}: the host has to be pinned", show_scan(url))
    return lines


def show_scan(url: str) -> str:
    """How the keys of a host are had, with the warning that they are to be compared."""
    host, port = find_ssh_host(url)
    words = ["ssh-keyscan", *(("-p", str(port)) if port != SSH_PORT else ()), host]
    return (
        f"{shlex.join(words)} > known_hosts · ssh-keygen -lf known_hosts: compare the fingerprints with those that the "
        "host's operator publishes, for anybody in between could have answered"
    )


def describe_creation(name: str, url: str) -> str:
    """The command that makes the Secret, with nothing secret in it."""
    command = f"kubectl -n cicd create secret generic {name} --type="
    if is_ssh(url):
        return f"{command}{SSH_AUTH} --from-file={KEY}=FILE --from-file={KNOWN_HOSTS}=FILE"
    return f"{command}{BASIC_AUTH} --from-literal={USERNAME}=NAME --from-file={PASSWORD}=FILE"


def _require_host(secret: Object, name: str, url: str) -> None:
    """Raises LoginFault unless the Secret says that it is for the host of the address."""
    origin = find_origin(url)
    annotations = secret["metadata"].get("annotations") or {}
    hosts = [str(value) for key, value in annotations.items() if str(key).startswith(FOR_HOST)]
    if origin not in [find_origin(each) for each in hosts]:
        is_for = f"; it is for {', '.join(sorted(hosts))}" if hosts else ""
        command = f"kubectl -n cicd annotate secret {name} {FOR_HOST}{len(hosts)}={origin}"
        raise LoginFault(f"Secret {name} does not say that it is for {origin}{is_for}", command)


def _decode(secret: Mapping[str, Any], key: str) -> str:
    """A text of a Secret's data, "" if it is missing or none."""
    try:
        return base64.b64decode((secret.get("data") or {}).get(key) or "").decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def write_files(login: GitLogin, folder: Path) -> None:
    """Write each of its files into a folder, readable by this user alone."""
    for name, contents in login.files.items():
        file = folder / name
        file.touch(0o600, exist_ok=False)
        file.write_text(contents, newline="\n")
        file.chmod(0o400)


def make_ssh_command(folder: Path) -> str:
    """GIT_SSH_COMMAND for the key and the known hosts in a folder."""
    options = [f"UserKnownHostsFile={folder / KNOWN_HOSTS}", *SSH_OPTIONS]
    words = [word for each in options for word in ("-o", each)]
    return shlex.join(["ssh", "-F", "none", "-i", str(folder / KEY), *words])
