"""Between the command line and the flows: builds the World, runs one flow, turns its end into an exit code."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from bootstrap.core.errors import BootstrapError, Fault, Interrupted, UsageError
from bootstrap.core.masking import mask_known
from bootstrap.core.paths import PROJECT, Paths
from bootstrap.settings import config as settings

Ending = Callable[[int], BaseException]
SETTINGS = "invoke.yaml"


@dataclass(frozen=True)
class Flow:
    """One command on the environment that flags, variables and invoke.yaml describe. given: settings by flag."""

    verb: str
    sets: tuple[str, ...] = ()
    given: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self) -> int:
        from bootstrap.cli import dispatch
        from bootstrap.objects import proxy_env
        from bootstrap.settings import ca_file

        config = settings.load(PROJECT / SETTINGS, os.environ, self.sets, self.given)
        config = proxy_env.adopt_variables(config, os.environ)
        for warning in config.warnings:
            _reporter().warn(warning)
        paths = Paths.of(config.name)
        os.environ.update(ca_file.write_bundle(config, os.environ, paths.state))
        return dispatch.run(self.verb, config, paths, _reporter(), self.options)

    def faults(self) -> list[Fault]:
        """Of the settings in every layer, and of kind's configuration where the command needs it."""
        config, found = settings.read(PROJECT / SETTINGS, os.environ, self.sets, self.given)
        if self.verb != "up" or config.context:
            return found
        from bootstrap.settings import kind_config
        from bootstrap.steps.kind_cluster import make_configuration

        try:
            if found:
                kind_config.load(PROJECT / config.cluster.config)
            else:  # only good settings can contradict the file
                make_configuration(config, PROJECT)
        except UsageError as error:
            found += error.faults
        return found


def mask_tracebacks() -> None:
    """Have whatever no code catches, in any thread, printed without secrets."""

    def write(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        sys.stderr.write(mask_known("".join(traceback.format_exception(kind, error, trace))))

    def write_of_thread(failure: threading.ExceptHookArgs) -> None:
        if failure.exc_type is not SystemExit:
            write(failure.exc_type, failure.exc_value, failure.exc_traceback)

    sys.excepthook, threading.excepthook = write, write_of_thread


def guard(flows: Sequence[Flow], faults: Sequence[Fault]) -> None:
    """Refuse bad input with exit code 2: the faults of the command line, of variables and of files, all at once.

    invoke reads invoke.yaml and the variables right after this, and chokes on what is not YAML.
    """
    found = [*faults, *(fault for flow in flows or [Flow("")] for fault in flow.faults())]
    if found:
        found = list(dict.fromkeys(found))
        _reporter().error(UsageError(settings.summarize_faults(found), faults=found))
        sys.exit(UsageError.exit_code)


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


def flow(verb: str, name: str, sets: Iterable[str] | None, flags: Mapping[str, str], /, **options: Any) -> Flow:
    """The flow `verb`; flags that are empty were not given."""
    given = {key: value for key, value in {"name": name, **flags}.items() if value}
    return Flow(verb, tuple(sets or ()), given, options)


@functools.cache
def _reporter() -> Any:
    from bootstrap.world.terminal import TerminalReport

    return TerminalReport()


def _unforeseen(error: Exception) -> BootstrapError:
    if isinstance(error, OSError) and error.strerror:  # a full disk, a folder that is not ours
        return BootstrapError(f"{error.strerror}: {error.filename}" if error.filename else error.strerror)
    descriptor, file = tempfile.mkstemp(prefix="tekton-bootstrap-", suffix=".txt")  # mode 0600
    with os.fdopen(descriptor, "w") as report:
        report.write(mask_known("".join(traceback.format_exception(error))))
    words = mask_known(f"a fault of this program: {type(error).__name__}: {error}")
    return BootstrapError(words, hint=f"report it with {file}")
