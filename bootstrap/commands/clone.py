"""`invoke clone`: a repository on this machine, ready to push: the environment's with its password in no argument, one
elsewhere by the user's own ssh.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from bootstrap.commands.find_application import find_application
from bootstrap.core import constants
from bootstrap.core.errors import CommandError, PreconditionError, UsageError
from bootstrap.incluster.repository_address import is_ssh
from bootstrap.objects.readiness import at
from bootstrap.world import World

LIMIT = 120.0
REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
"""A path on the environment's own git server."""


def clone(world: World, *, app: str = "", repository: str = "", into: str = "") -> int:
    """Clone a repository of the environment's git server; its git configuration names our credential file.

    app: the application whose it is; repository: its own name, such as that of the central repository; neither for the
    demo. into: a folder, "" for one of that name. An application's that is elsewhere is cloned by ssh with the user's
    own keys. Raises PreconditionError without git or git server, if that refuses, or if the folder exists; NotFound,
    UsageError for the application or the name.
    """
    if app and repository:
        raise UsageError("--app and --repository: an application names its repository itself", hint="give one of them")
    repository = repository.removesuffix(".git")
    if repository and not REPOSITORY.fullmatch(repository):
        hint = "invoke clone --repository NAME, of one on the environment's own git server; git clone for others"
        raise UsageError(f'--repository: "{repository}" is not the name of a repository', hint=hint)
    into = into or app or repository.rpartition("/")[2] or constants.DEMO_APP
    target = Path(into).absolute()
    if not world.shell.which("git"):
        raise PreconditionError("git is not installed", hint="apt-get install git")
    if target.exists():
        raise PreconditionError(f"{into} exists already", hint="invoke clone --into another-folder")
    url = find_address(world, repository) if repository else _find_repository(world, app)
    if is_ssh(url):
        _clone_by_ssh(world, url, target)
    else:
        _clone_own(world, url, target)
    world.report.line(f"cloned {url} into {into}")
    run = f"invoke test-run --app {app}" if app else "invoke test-run"
    follow = "" if repository else f" · then, here again: {run} follows the run"
    world.report.line(f"next: cd {into} · git commit · git push{follow}")
    return 0


def _clone_own(world: World, url: str, target: Path) -> None:
    helper = f"store --file={write_credential_file(world)}"
    world.shell.run(["git", "-c", f"credential.helper={helper}", "clone", "--quiet", url, str(target)], limit=LIMIT)
    # An empty helper first: what the user has configured elsewhere must not keep this password.
    for value in ("", helper):
        world.shell.run(["git", "config", "--add", "credential.helper", value], cwd=target)


def _clone_by_ssh(world: World, url: str, target: Path) -> None:
    """By the user's own ssh: the key of the application may read only, and stays where it is."""
    try:
        world.shell.run(["git", "clone", "--quiet", "--", url, str(target)], limit=LIMIT)
    except CommandError as error:
        hint = f"git ls-remote {url} has to work with your own ssh"
        raise PreconditionError(f"{url} cannot be cloned", evidence=error.evidence, hint=hint) from None


def _find_repository(world: World, app: str) -> str:
    """The address to clone from, as this machine reaches it."""
    if not app:
        return find_address(world)
    application = find_application(world, app)
    if is_ssh(application.url):
        return application.url
    if not application.is_hosted:
        raise UsageError(f"{app} is at {application.url}, not on the environment's git server", hint="git clone")
    return find_address(world, application.repository)


def find_address(world: World, repository: str = constants.DEMO_APP) -> str:
    """A repository of the environment's git server as this machine reaches it. Raises PreconditionError if it does not.

    repository: its path, without `.git`.
    """
    found = find_node_address(world, constants.GIT_NODE_PORT)
    if not found:
        raise PreconditionError("the environment's git server is not reachable from this machine", hint="invoke up")
    return f"http://{found}/{repository}.git"


def find_node_address(world: World, node_port: int) -> str:
    """HOST:PORT that leads to a NodePort: mapped to loopback, or on the node's own address; "" if there is no node."""
    if world.config.elsewhere:
        found = {
            address["type"]: str(address["address"])
            for node in world.kube.list("v1", "Node")[:1]
            for address in at(node, "status", "addresses") or ()
        }
        host = found.get("ExternalIP") or found.get("InternalIP") or ""
        return f"{f'[{host}]' if ':' in host else host}:{node_port}" if host else ""
    node = constants.control_plane(world.cluster)
    mapped = world.engine.find_port(node, node_port)
    if mapped:
        return f"127.0.0.1:{mapped}"
    container = world.engine.find_container(node)
    addresses = [address for address in container.networks.values() if address] if container else []
    return f"{addresses[0]}:{node_port}" if addresses else ""


def write_credential_file(world: World) -> Path:
    """Write the login in git's own format (gitcredentials-store), mode 0600, in the environment's folder."""
    settings = world.config.git
    password = world.identity.ensure_git_password(settings).reveal()
    server = find_address(world).removeprefix("http://").partition("/")[0]
    line = f"http://{quote(settings.username, safe='')}:{quote(password, safe='')}@{server}\n"
    return world.identity.write_file("git-credentials", line.encode())
