"""The login of an application's repository as a command is given it: a Secret that is there, or files to make it of."""

from __future__ import annotations

from pathlib import Path

from bootstrap.core import constants, untrusted
from bootstrap.core.errors import PreconditionError, UsageError
from bootstrap.core.model import Object
from bootstrap.incluster.applications import Application
from bootstrap.incluster.git_login import (
    KEY,
    KNOWN_HOSTS,
    SSH_AUTH,
    GitLogin,
    LoginFault,
    choose_known_hosts,
    read_login,
    show_scan,
    tidy_lines,
)
from bootstrap.incluster.repository_address import expand_scp_form, is_ssh
from bootstrap.incluster.ssh_files import find_key_fault
from bootstrap.objects.login_grant import list_logins, make_login_grant
from bootstrap.objects.manifests import stamp
from bootstrap.steps.credentials import make_secret
from bootstrap.world import World

LABEL = {"tekton-bootstrap.dev/login": "git"}
"""Of a Secret that is made here. It is not the label of what `up` applies: no step wants it, and it stays."""
KEY_BYTES, HOSTS_BYTES = 64 << 10, 4 << 20


def name_login(wanted: Object, login: str, identity: str, known_hosts: str) -> Object:
    """The Application with the name of its login in it; "NAME-git" where a key is given and no name.

    Raises UsageError for flags that make no login together.
    """
    url = expand_scp_form(wanted.get("spec", {}).get("repository", {}).get("url", ""))
    if (login or identity) and not url:
        raise UsageError("the environment's own git server needs no login", hint="leave --login and --identity out")
    if identity and not is_ssh(url):
        raise UsageError(f"--identity: {url} is no address of ssh", hint="invoke app-add git@HOST:PATH.git ...")
    if known_hosts and not identity:
        raise UsageError("--known-hosts belongs to a key", hint="--identity FILE --known-hosts FILE")
    if identity and not known_hosts:
        raise UsageError("--identity needs --known-hosts: the host has to be pinned", hint=show_scan(url))
    if is_ssh(url) and not login and not identity:
        hint = "--identity FILE --known-hosts FILE makes one; --login NAME names a Secret that is there"
        raise UsageError("a repository by ssh needs a login", hint=hint)
    name = login or (f"{wanted['metadata']['name']}-git" if identity else "")
    if not name:
        return wanted
    spec = wanted["spec"]
    return {**wanted, "spec": {**spec, "repository": {**spec["repository"], "login": name}}}


def prepare_login(world: World, wanted: Object, identity: str, known_hosts: str) -> list[Object]:
    """What is to be applied for the login that an Application names: the manager's right to read it, and the Secret.

    identity, known_hosts: files, "" where the Secret is there. Nothing is written. Raises UsageError if it is no login.
    """
    repository = wanted.get("spec", {}).get("repository", {})
    name, url = repository.get("login", ""), expand_scp_form(repository.get("url", ""))
    if not name:
        return []
    live = world.kube.get("v1", "Secret", name, constants.RUNS)
    if identity and live is not None:
        hint = f"--login {name} alone, to use it; or another --login NAME"
        raise UsageError(f"Secret {constants.RUNS}/{name} is there already", hint=hint)
    try:
        made = [_make_secret(name, url, identity, known_hosts)] if identity else []
        if not made:
            read_login(live, name, url)
    except LoginFault as fault:
        raise UsageError(str(fault), hint=fault.hint) from None
    return [*made, *map(stamp, make_login_grant(name))]


def _make_secret(name: str, url: str, identity: str, known_hosts: str) -> Object:
    """The Secret; of the known hosts only the repository's is in it. Raises UsageError, LoginFault."""
    key, hosts = _read_text("--identity", identity, KEY_BYTES), _read_text("--known-hosts", known_hosts, HOSTS_BYTES)
    if fault := find_key_fault(key):
        raise UsageError(f"--identity: {identity} {fault}")
    data = {KEY: tidy_lines(key), KNOWN_HOSTS: choose_known_hosts(hosts, f"--known-hosts: {known_hosts}", url)}
    made = make_secret(name, constants.RUNS, data) | {"type": SSH_AUTH}
    return {**made, "metadata": {**made["metadata"], "labels": LABEL}}


def _read_text(flag: str, path: str, most: int) -> str:
    """A file of the user's. Raises UsageError."""
    try:
        return untrusted.read_file(Path(path).expanduser(), most).decode()
    except OSError as error:
        raise UsageError(f"{flag}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{flag}: {path} is no text") from None


def require_login(world: World, application: Application) -> GitLogin:
    """The login that an application names, before a run is made with it. Raises PreconditionError where it is none."""
    secret = world.kube.get("v1", "Secret", application.login, constants.RUNS)
    try:
        return read_login(secret, application.login, application.url)
    except LoginFault as fault:
        raise PreconditionError(f"application {application.name}: {fault}", hint=fault.hint) from None


def withdraw_login(world: World, application: Application, others: list[Object]) -> None:
    """Let the manager no longer read the login of an application that is gone, unless one of `others` names it too."""
    if application.login and application.login not in list_logins(others):
        for each in reversed(make_login_grant(application.login)):
            world.kube.delete(each["apiVersion"], each["kind"], each["metadata"]["name"], constants.RUNS)
