"""The command surface: a signature, a docstring, one call each. `invoke --list` is the table of contents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from invoke import Collection, Context, Exit, task

from bootstrap import cli

cli.guard()  # invoke reads invoke.yaml itself, right after this module, and chokes on what is not YAML

COMMON = {
    "name": "name of the environment (default: `name` of invoke.yaml, demo)",
    "set": "a setting for this call, KEY=VALUE (git.port=3000); may be given several times",
}
JSON = {"json": "print one JSON object in place of text"}


def command(*, help: dict[str, str] | None = None, **options: Any) -> Callable[[Callable[..., Any]], Any]:  # noqa: A002
    """An invoke task that ends with the exit code of the flow that it returns, and never with a traceback."""

    def wrap(body: Callable[..., Callable[[], int]]) -> Any:
        return task(cli.ending(body, Exit), help=COMMON | (help or {}), iterable=["set"], **options)

    return wrap


@command(
    help={
        "context": "install on the cluster of this kubeconfig context; no kind cluster is made",
        "supply": "where images come from (source)",
        "engine": "auto, docker (yours) or managed (a private one)",
        "dry-run": "say what would be done, change nothing",
    }
)
def up(_: Context, name="", context="", supply="", engine="", dry_run=False, set=None):  # type: ignore[no-untyped-def]  # noqa: A002
    """Create the environment, or bring it up to date."""
    return cli.flow("up", name, set, {"context": context, "supply": supply, "engine": engine}, dry_run=dry_run)


@command(
    name="test-run",
    help={"revision": "branch, tag or commit to run (default: git.revision)", "timeout": "minutes before it gives up"},
)
def test_run(_: Context, name="", revision="", timeout=0, set=None):  # type: ignore[no-untyped-def]  # noqa: A002
    """Run the pipeline, and prove that it serves."""
    return cli.flow("test_run", name, set, {}, revision=revision, minutes=int(timeout))


@command(help=JSON)
def status(_: Context, name="", json=False, set=None):  # type: ignore[no-untyped-def]  # noqa: A002
    """Say what is ready; exit 0 only if all is."""
    return cli.flow("status", name, set, {}, as_json=json)


@command(help={"limit": "how many, newest first", **JSON})
def runs(_: Context, name="", limit=20, json=False, set=None):  # type: ignore[no-untyped-def]  # noqa: A002
    """List the runs, newest first."""
    return cli.flow("runs", name, set, {}, limit=int(limit), as_json=json)


@command(help={"run": "name of the run (default: the newest)"}, positional=["run"])
def logs(_: Context, run="", name="", set=None):  # type: ignore[no-untyped-def]  # noqa: A002
    """Print everything that a run printed."""
    return cli.flow("logs", name, set, {}, run=run)


@command(help={"run": "name of the run (default: the newest)"}, positional=["run"])
def rerun(_: Context, run="", name="", set=None):  # type: ignore[no-untyped-def]  # noqa: A002
    """Run again the commit of a run."""
    return cli.flow("rerun", name, set, {}, run=run)


@command(help={"run": "name of the run (default: the newest)"}, positional=["run"])
def cancel(_: Context, run="", name="", set=None):  # type: ignore[no-untyped-def]  # noqa: A002
    """Cancel a run that is under way."""
    return cli.flow("cancel", name, set, {}, run=run)


@command(help={"into": "folder to clone into (default: go-echo)"})
def clone(_: Context, name="", into="go-echo", set=None):  # type: ignore[no-untyped-def]  # noqa: A002
    """Clone the environment's repository, ready to push."""
    return cli.flow("clone", name, set, {}, into=into)


@command(help={"port": "local port (default: listener.port, 9080)"})
def listener(_: Context, name="", port=0, set=None):  # type: ignore[no-untyped-def]  # noqa: A002
    """Forward the webhook listener until Ctrl-C."""
    return cli.flow("listener", name, set, {}, port=int(port))


@command(help={"port": "local port (default: dashboard.port, 9097)", "open": "open the browser"})
def dashboard(_: Context, name="", port=0, open=False, set=None):  # type: ignore[no-untyped-def]  # noqa: A002
    """Serve a page with the runs until Ctrl-C."""
    return cli.flow("dashboard", name, set, {}, port=int(port), browse=open)


@command(help={"purge": "also delete the caches and the private Docker"})
def down(_: Context, name="", purge=False, set=None):  # type: ignore[no-untyped-def]  # noqa: A002
    """Remove what `up` made; caches stay."""
    return cli.flow("down", name, set, {}, purge=purge)


@command(help=JSON)
def doctor(_: Context, name="", json=False, set=None):  # type: ignore[no-untyped-def]  # noqa: A002
    """Measure what this machine offers."""
    return cli.flow("doctor", name, set, {}, as_json=json)


@command(help=JSON)
def config(_: Context, name="", json=False, set=None):  # type: ignore[no-untyped-def]  # noqa: A002
    """Show every setting and where it came from."""
    return cli.flow("config", name, set, {}, as_json=json)


@command(help=JSON)
def images(_: Context, name="", json=False, set=None):  # type: ignore[no-untyped-def]  # noqa: A002
    """Show every image with its digest."""
    return cli.flow("images", name, set, {}, as_json=json)


@command(help={"fast": "only the tests that need no cluster", "keep": "keep the tests' environment for a look"})
def test(_: Context, name="", fast=False, keep=False, set=None):  # type: ignore[no-untyped-def]  # noqa: A002
    """Run all tests; builds what is missing."""
    return cli.flow("test", name, set, {}, fast=fast, keep=keep)


@command(help={"only": "one benchmark by name", "times": "repetitions", **JSON})
def bench(_: Context, name="", only="", times=3, json=False, set=None):  # type: ignore[no-untyped-def]  # noqa: A002
    """Measure the figures of docs/benchmarks.md."""
    return cli.flow("bench", name, set, {}, only=only, times=int(times), as_json=json)


namespace = Collection(
    up,
    test_run,
    status,
    runs,
    logs,
    rerun,
    cancel,
    clone,
    listener,
    dashboard,
    down,
    doctor,
    config,
    images,
    test,
    bench,
)
