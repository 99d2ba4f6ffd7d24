"""Between the command line and the flows: builds the World, runs one flow, turns its end into an exit code."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bootstrap import config as settings
from bootstrap.errors import BootstrapError, Interrupted
from bootstrap.paths import PROJECT, Paths

Ending = Callable[[int], BaseException]


def guard() -> None:
    """Refuse a faulty invoke.yaml before invoke reads it, with every fault and exit code 2."""
    try:
        settings.guard(PROJECT)
    except BootstrapError as error:
        _reporter().error(error)
        sys.exit(error.exit_code)


def ending(body: Callable[..., Callable[[], int]], exit_with: Callable[..., BaseException]) -> Callable[..., None]:
    """The body of a task: runs the flow that `body` answers; whatever happens becomes an exit code."""

    @functools.wraps(body)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            code = body(*arguments, **options)()
        except BootstrapError as error:
            _reporter().error(error)
            code = error.exit_code
        except KeyboardInterrupt:
            code = Interrupted.exit_code
        except Exception as error:  # noqa: BLE001  a fault of ours: one line for the user, the rest into a file
            _reporter().error(_unforeseen(error))
            code = 1
        if code:
            raise exit_with(code=code)

    return run


def flow(
    verb: str, name: str, sets: Iterable[str] | None, flags: Mapping[str, str], /, **options: Any
) -> Callable[[], int]:
    """The flow `verb` on the environment that flags, environment and invoke.yaml describe."""

    def run() -> int:
        from bootstrap import commands, proxies

        given = {key: value for key, value in {"name": name, **flags}.items() if value}
        config = settings.load(PROJECT / "invoke.yaml", os.environ, list(sets or ()), given)
        config = proxies.adopt(config, os.environ)
        for warning in config.warnings:
            _reporter().warn(warning)
        return commands.run(verb, config, Paths.of(config.name), _reporter(), options)

    return run


@functools.cache
def _reporter() -> Any:
    from bootstrap.world.report import TerminalReport

    return TerminalReport()


def _unforeseen(error: Exception) -> BootstrapError:
    if isinstance(error, OSError) and error.strerror:  # a full disk, a folder that is not ours
        return BootstrapError(f"{error.strerror}: {error.filename}" if error.filename else error.strerror)
    descriptor, file = tempfile.mkstemp(prefix="tekton-bootstrap-", suffix=".txt")  # mode 0600
    with os.fdopen(descriptor, "w") as report:
        report.write("".join(traceback.format_exception(error)))
    return BootstrapError(f"a fault of this program: {type(error).__name__}: {error}", hint=f"report it with {file}")
