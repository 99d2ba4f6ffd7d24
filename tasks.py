"""The command surface: a signature, a docstring, one call each. `invoke --list` is the table of contents."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeAlias

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit, ParseError
from invoke.main import program
from invoke.parser import Parser
from invoke.tasks import task

from bootstrap.cli import argv, main
from bootstrap.cli.main import Flow
from bootstrap.core.errors import Fault

Sets: TypeAlias = list[str] | None
"""A flag that may be given several times; invoke wants None for "not given"."""

COMMON = {
    "name": "name of the environment (default: `name` of invoke.yaml, demo)",
    "set": "a setting for this call, KEY=VALUE (git.port=3000); may be given several times",
}
JSON = {"json": "print one JSON object in place of text"}
OF_RUN = {"run": "name of the run (default: the newest)", "app": "the newest run of this application"}
RANGES = {
    "port": (1, 65535),
    "ssh-port": (1, 65535),
    "timeout": (1, 1440),
    "limit": (1, 10_000),
    "times": (1, 100),
    "minutes": (1, 1440),
    "seed": (0, 1_000_000),
    "command-timeout": (1, 86_400),
    "list-depth": (0, 100),
}
"""Lowest and highest value of every flag that is a number, the last two of invoke's own; 0 as a default: not given."""
FLOWS: dict[str, Callable[..., Flow]] = {}
"""The body of every command by its name."""


def command(*, help: dict[str, str] | None = None, **options: Any) -> Callable[[Callable[..., Flow]], Any]:
    """An invoke task that ends with the exit code of the flow that it returns, and never with a traceback."""

    def wrap(body: Callable[..., Flow]) -> Any:
        made: Any = task(main.ending(body, Exit), help=COMMON | (help or {}), iterable=["set"], **options)
        FLOWS[made.name.replace("_", "-")] = body
        return made

    return wrap


@command(
    help={
        "context": "install on the cluster of this kubeconfig context; no kind cluster is made",
        "supply": "where images come from: source, upstream, bundle, mirror, or auto (the nearest in reach)",
        "bundle": "file that invoke bundle has written; everything comes from it",
        "engine": "auto, docker (yours) or managed (a private one)",
        "dry-run": "say what would be done, change nothing",
    }
)
def up(
    _: Context,
    name: str = "",
    context: str = "",
    supply: str = "",
    bundle: str = "",
    engine: str = "",
    dry_run: bool = False,
    set: Sets = None,
) -> Flow:
    """Create the environment, or bring it up to date."""
    if bundle and not supply:
        supply = "bundle"
    flags = {"context": context, "supply": supply, "bundle.file": bundle, "engine": engine}
    return main.flow("up", name, set, flags, dry_run=dry_run)


@command(
    name="test-run",
    help={
        "app": "application to run (default: the demo)",
        "env": "environment of the application to deploy to (default: its first)",
        "revision": "branch, tag or commit to run (default: git.revision, or the application's branch)",
        "timeout": "minutes before it gives up",
    },
)
def test_run(
    _: Context, name: str = "", app: str = "", env: str = "", revision: str = "", timeout: int = 0, set: Sets = None
) -> Flow:
    """Run the pipeline, and prove that it serves."""
    return main.flow("test_run", name, set, {}, app=app, env=env, revision=revision, minutes=timeout)


@command(help=JSON)
def status(_: Context, name: str = "", json: bool = False, set: Sets = None) -> Flow:
    """Say what is ready; exit 0 only if all is."""
    return main.flow("status", name, set, {}, as_json=json)


@command(
    help={
        "limit": "how many, newest first",
        "app": "only those of this application",
        "state": "only these: pending, running, succeeded, failed, cancelled, timedout or superseded",
        "branch": "only those of this branch",
        "by": "only those that came by push, poll or hand",
        **JSON,
    }
)
def runs(
    _: Context,
    name: str = "",
    limit: int = 20,
    app: str = "",
    state: str = "",
    branch: str = "",
    by: str = "",
    json: bool = False,
    set: Sets = None,
) -> Flow:
    """List the runs, newest first."""
    return main.flow("runs", name, set, {}, limit=limit, app=app, state=state, branch=branch, by=by, as_json=json)


@command(help=OF_RUN)
def logs(_: Context, run: str = "", name: str = "", app: str = "", set: Sets = None) -> Flow:
    """Print everything that a run printed."""
    return main.flow("logs", name, set, {}, run=run, app=app)


@command(help=OF_RUN)
def rerun(_: Context, run: str = "", name: str = "", app: str = "", set: Sets = None) -> Flow:
    """Run again the commit of a run."""
    return main.flow("rerun", name, set, {}, run=run, app=app)


@command(help=OF_RUN)
def cancel(_: Context, run: str = "", name: str = "", app: str = "", set: Sets = None) -> Flow:
    """Cancel a run that is under way."""
    return main.flow("cancel", name, set, {}, run=run, app=app)


@command()
def poll(_: Context, name: str = "", set: Sets = None) -> Flow:
    """Ask the repositories for new commits, now."""
    return main.flow("poll", name, set, {})


@command(help={"dry-run": "say what would be deleted, delete nothing"})
def cleanup(_: Context, name: str = "", dry_run: bool = False, set: Sets = None) -> Flow:
    """Delete old runs, and images that nothing needs, now."""
    return main.flow("cleanup", name, set, {}, dry_run=dry_run)


@command(
    help={
        "app": "application whose repository it is (default: the demo)",
        "repository": "name of one on the environment's own git server, such as the central repository's",
        "into": "folder to clone into (default: the name of application or repository, or go-echo)",
    }
)
def clone(_: Context, name: str = "", app: str = "", repository: str = "", into: str = "", set: Sets = None) -> Flow:
    """Clone the environment's repository, ready to push."""
    return main.flow("clone", name, set, {}, app=app, repository=repository, into=into)


@command(
    name="app-add",
    help={
        "source": "address of a repository, or a name for one on the environment's own git server",
        "namespace": "that it is deployed to (default: its name)",
        "branch": "whose pushes start runs (default: main)",
        "context": "directory of the repository that the build sees",
        "dockerfile": "path of the Dockerfile",
        "deployment": "one that is there already (default: the first run makes one)",
        "port": "that the program listens on (default: 8080)",
        "poll": "how often to ask the repository for new commits, such as 5m (default: never)",
        "paths": "files and folders whose changes start runs, such as services/orders/**,libs (default: all)",
        "login": "Secret that opens the repository (default: the logins of git.logins; with --identity: NAME-git)",
        "identity": "file with a private key, of which that Secret is made",
        "known-hosts": "file with the key of the host, for the same Secret",
    },
    positional=["source"],
)
def app_add(
    _: Context,
    source: str,
    name: str = "",
    namespace: str = "",
    branch: str = "",
    context: str = "",
    dockerfile: str = "",
    deployment: str = "",
    port: int = 0,
    poll: str = "",
    paths: str = "",
    login: str = "",
    identity: str = "",
    known_hosts: str = "",
    set: Sets = None,
) -> Flow:
    """Declare an application: its file is written and applied."""
    return main.flow(
        "app_add",
        name,
        set,
        {},
        source=source,
        namespace=namespace,
        branch=branch,
        context=context,
        dockerfile=dockerfile,
        deployment=deployment,
        port=port,
        poll=poll,
        paths=paths,
        login=login,
        identity=identity,
        known_hosts=known_hosts,
    )


@command(name="app-list", help=JSON)
def app_list(_: Context, name: str = "", json: bool = False, set: Sets = None) -> Flow:
    """List the applications, and what serves."""
    return main.flow("app_list", name, set, {}, as_json=json)


@command(name="app-show", help={"app": "name of the application", **JSON}, positional=["app"])
def app_show(_: Context, app: str, name: str = "", json: bool = False, set: Sets = None) -> Flow:
    """Show an application with everything filled in."""
    return main.flow("app_show", name, set, {}, app=app, as_json=json)


@command(name="app-remove", help={"app": "name of the application"}, positional=["app"])
def app_remove(_: Context, app: str, name: str = "", set: Sets = None) -> Flow:
    """Remove an application's declaration; what runs stays."""
    return main.flow("app_remove", name, set, {}, app=app)


@command(
    help={
        "app": "name of the application",
        "to": "environment to promote to",
        "commit": "that served in another environment (default: what the first other one serves)",
        "timeout": "minutes before it gives up",
    },
    positional=["app"],
)
def promote(
    _: Context, app: str, name: str = "", to: str = "", commit: str = "", timeout: int = 0, set: Sets = None
) -> Flow:
    """Deploy what served in another environment; build nothing."""
    return main.flow("promote", name, set, {}, app=app, to=to, commit=commit, minutes=timeout)


@command(
    help={
        "app": "name of the application",
        "to": "commit to go back to (default: the one that served before)",
        "env": "environment of the application (default: its first)",
        "timeout": "minutes before it gives up",
    },
    positional=["app"],
)
def rollback(
    _: Context, app: str, name: str = "", to: str = "", env: str = "", timeout: int = 0, set: Sets = None
) -> Flow:
    """Deploy what served before; build nothing."""
    return main.flow("rollback", name, set, {}, app=app, to=to, env=env, minutes=timeout)


@command(
    help={"app": "only those of this application", "limit": "how many, newest first", **JSON},
)
def deployments(
    _: Context, name: str = "", app: str = "", limit: int = 20, json: bool = False, set: Sets = None
) -> Flow:
    """List what was deployed, and what became of it."""
    return main.flow("deployments", name, set, {}, app=app, limit=limit, as_json=json)


@command(help={"port": "local port (default: listener.port, 9080)"})
def listener(_: Context, name: str = "", port: int = 0, set: Sets = None) -> Flow:
    """Forward the webhook listener until Ctrl-C."""
    return main.flow("listener", name, set, {}, port=port)


@command(
    help={
        "show-secret": "print the secret that deliveries are signed with, and nothing else",
        "test": "send a signed push, and follow it to its run",
        "branch": "with --test: the branch (default: git.revision)",
        "commit": "with --test: the commit in full (default: the branch's newest)",
        "follow": "with --test: until the run is over",
        "why": "id of a delivery, as the git host shows it: what became of it, and why",
        **JSON,
    }
)
def webhook(
    _: Context,
    name: str = "",
    show_secret: bool = False,
    test: bool = False,
    branch: str = "",
    commit: str = "",
    follow: bool = False,
    why: str = "",
    json: bool = False,
    set: Sets = None,
) -> Flow:
    """Set up, try and explain deliveries."""
    return main.flow(
        "webhook",
        name,
        set,
        {},
        show_secret=show_secret,
        test=test,
        branch=branch,
        commit=commit,
        follow=follow,
        why=why,
        as_json=json,
    )


@command(
    help={
        "to": "user@host: the machine that the git host can reach",
        "port": "port of that machine (default: 9080)",
        "ssh-port": "port of its sshd (default: as ssh is configured)",
        "identity": "file with the private key (default: as ssh is configured)",
        "config": "file to use in place of ~/.ssh/config",
    },
    positional=["to"],
)
def tunnel(
    _: Context,
    to: str,
    name: str = "",
    port: int = 9080,
    ssh_port: int = 0,
    identity: str = "",
    config: str = "",
    set: Sets = None,
) -> Flow:
    """Let webhooks in by a host of yours until Ctrl-C."""
    return main.flow("tunnel", name, set, {}, to=to, port=port, ssh_port=ssh_port, identity=identity, config=config)


@command(help={"port": "local port (default: dashboard.port, 9090, or the next free one)", "open": "open the browser"})
def dashboard(_: Context, name: str = "", port: int = 0, open: bool = False, set: Sets = None) -> Flow:
    """Serve the console until Ctrl-C."""
    return main.flow("dashboard", name, set, {}, port=port, browse=open)


@command(help={"purge": "also delete the caches and the private Docker"})
def down(_: Context, name: str = "", purge: bool = False, set: Sets = None) -> Flow:
    """Remove what `up` made; caches stay."""
    return main.flow("down", name, set, {}, purge=purge)


@command(help=JSON)
def doctor(_: Context, name: str = "", json: bool = False, set: Sets = None) -> Flow:
    """Measure what this machine offers."""
    return main.flow("doctor", name, set, {}, as_json=json)


@command(help=JSON)
def config(_: Context, name: str = "", json: bool = False, set: Sets = None) -> Flow:
    """Show every setting and where it came from."""
    return main.flow("config", name, set, {}, as_json=json)


@command(help={"lock": "ask the public hosts, and write down what supply upstream may take", **JSON})
def images(_: Context, name: str = "", lock: bool = False, json: bool = False, set: Sets = None) -> Flow:
    """Show every image with its digest."""
    return main.flow("images", name, set, {}, lock=lock, as_json=json)


@command(help={"output": "file or folder to write to (default: here, tekton-bootstrap-ARCH.tar)"})
def bundle(_: Context, name: str = "", output: str = "", set: Sets = None) -> Flow:
    """Write everything that `up` needs from outside into one file."""
    return main.flow("bundle", name, set, {}, output=output)


@command(
    help={
        "registry": "HOST[:PORT] to copy to (default: mirror.registry)",
        "source": "folder of manifests: what they name is copied, in place of what up needs",
        "destination": "folder for those manifests, each reference rewritten to the registry",
        "platform": "of images that have several: only these, as linux/amd64,linux/arm64 (default: all)",
        "download": "write Tekton's manifests, as this checkout pins them, into the source folder",
        "sync": "copy what is missing, and rewrite; what is done unless another is asked for",
        "pull": "load what is there into the engine of this machine",
        "plan": "say what would be copied, how much that is and how long it takes; copy nothing",
        "check": "compare what is there with what should be, or with what the destination names",
        **JSON,
    }
)
def mirror(
    _: Context,
    name: str = "",
    registry: str = "",
    source: str = "",
    destination: str = "",
    platform: str = "",
    download: bool = False,
    sync: bool = False,
    pull: bool = False,
    plan: bool = False,
    check: bool = False,
    json: bool = False,
    set: Sets = None,
) -> Flow:
    """Copy every image into a registry of yours."""
    return main.flow(
        "mirror",
        name,
        set,
        {"mirror.registry": registry},
        source=source,
        destination=destination,
        platform=platform,
        download=download,
        sync=sync,
        pull=pull,
        plan=plan,
        check=check,
        as_json=json,
    )


@command(
    help={
        "fast": "only the tests that need no cluster",
        "keep": "keep the tests' environment for a look",
        "lane": "only these, with commas between them: style, unit, go, integration, e2e, e2e-others",
    }
)
def test(_: Context, name: str = "", fast: bool = False, keep: bool = False, lane: str = "", set: Sets = None) -> Flow:
    """Run all tests; builds what is missing."""
    return main.flow("test", name, set, {}, fast=fast, keep=keep, lane=lane)


@command(help={"only": "some benchmarks by name, with commas between them", "times": "repetitions", **JSON})
def bench(_: Context, name: str = "", only: str = "", times: int = 3, json: bool = False, set: Sets = None) -> Flow:
    """Measure the figures of docs/benchmarks.md."""
    return main.flow("bench", name, set, {}, only=only, times=times, as_json=json)


@command(
    help={"minutes": "how long", "seed": "of an earlier one, for the same actions; 0: another one each time", **JSON}
)
def soak(_: Context, name: str = "", minutes: int = 30, seed: int = 0, json: bool = False, set: Sets = None) -> Flow:
    """Disturb an environment, and look whether it stays well."""
    return main.flow("soak", name, set, {}, minutes=minutes, seed=seed, as_json=json)


@command(help=JSON)
def pins(_: Context, name: str = "", json: bool = False, set: Sets = None) -> Flow:
    """List what is pinned, beside the newest that can be had."""
    return main.flow("pins", name, set, {}, as_json=json)


namespace = Collection(
    up,
    test_run,
    status,
    runs,
    logs,
    rerun,
    cancel,
    poll,
    cleanup,
    clone,
    app_add,
    app_list,
    app_show,
    app_remove,
    promote,
    rollback,
    deployments,
    listener,
    webhook,
    tunnel,
    dashboard,
    down,
    doctor,
    config,
    images,
    bundle,
    mirror,
    test,
    bench,
    soak,
    pins,
)


def typed() -> tuple[list[Flow], list[Fault]]:
    """What the command line asks for, and what is wrong with it; nothing where invoke does not run."""
    core = getattr(program, "core", None)
    if core is None:
        return [], []
    own = program.initial_context
    contexts = copy.deepcopy(namespace).to_contexts()  # a copy, for its help texts can be taken out only once
    parser = Parser(contexts, initial=own)
    found, faults = argv.read(core, [own, *contexts], parser.parse_argv, ParseError, RANGES)
    return [FLOWS[each.name](None, **each.as_kwargs) for each in found], faults


main.mask_tracebacks()
main.guard(*typed())
