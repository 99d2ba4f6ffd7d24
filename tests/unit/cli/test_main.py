"""From the command line to an exit code: never a traceback, never a wrong code."""

from __future__ import annotations

import copy
import errno
import inspect
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tasks
from bootstrap.cli import dispatch, main
from bootstrap.core.errors import (
    ApiError,
    BootstrapError,
    CommandError,
    Fault,
    Interrupted,
    LockedError,
    NotFound,
    PreconditionError,
    RunFailed,
    TimedOut,
    UsageError,
)
from bootstrap.core.model import Secret
from bootstrap.core.paths import Paths
from bootstrap.settings.config import Config
from tests.unit.fakes import FakeReport


class Ended(Exception):  # stands in for invoke's Exit
    def __init__(self, code: int) -> None:
        self.code = code


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> FakeReport:
    found = FakeReport()
    monkeypatch.setattr(main, "_reporter", lambda: found)
    return found


def code_of(flow: Callable[[], int]) -> int:
    """The exit code of a command whose flow is this."""
    try:
        main.ending(lambda: flow, Ended)()
    except Ended as end:
        return end.code
    return 0


def raising(error: BaseException) -> Callable[[], int]:
    def flow() -> int:
        raise error

    return flow


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BootstrapError("x"), 1),
        (UsageError("x", faults=[Fault("invoke.yaml", 1, "wrong")]), 2),
        (PreconditionError("x"), 3),
        (NotFound("x"), 3),
        (LockedError("x"), 4),
        (CommandError("x", code=9), 1),
        (ApiError("x", status=500), 1),
        (RunFailed("x"), 1),
        (TimedOut("x"), 124),
        (Interrupted("x"), 130),
    ],
)
def test_every_error_has_its_code_and_is_told_once(report: FakeReport, error: BootstrapError, code: int) -> None:
    assert code_of(raising(error)) == code
    assert report.printed == [("error", error)]


def test_a_flow_ends_with_its_own_code(report: FakeReport) -> None:
    assert [code_of(lambda: 0), code_of(lambda: 1), code_of(lambda: 3)] == [0, 1, 3]
    assert report.printed == []


def test_a_late_interruption_is_130_without_a_word(report: FakeReport) -> None:
    assert code_of(raising(KeyboardInterrupt())) == 130
    assert report.printed == []


def told(report: FakeReport) -> BootstrapError:
    [(kind, error)] = report.printed
    assert kind == "error"
    assert isinstance(error, BootstrapError)
    return error


def test_a_full_disk_is_the_users_to_mend(report: FakeReport) -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/cache/store")
    assert code_of(raising(error)) == 1
    assert told(report).message == "No space left on device: /cache/store"


def test_a_fault_of_ours_is_one_line_and_a_file_for_its_owner(
    report: FakeReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert code_of(raising(ZeroDivisionError("division by zero"))) == 1
    assert told(report).message == "a fault of this program: ZeroDivisionError: division by zero"
    [file] = tmp_path.iterdir()
    assert told(report).hint == f"report it with {file}"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "Traceback" in file.read_text()


def test_a_fault_of_ours_shows_no_secret(
    report: FakeReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    token = Secret("t0ken-of-test-main").reveal()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    error = ValueError(f"Invalid header value b'Bearer {token}\\n'")
    assert code_of(raising(error)) == 1
    assert told(report).message == "a fault of this program: ValueError: Invalid header value b'Bearer ***\\n'"
    [file] = tmp_path.iterdir()
    assert token not in file.read_text()
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    main.mask_tracebacks()
    sys.excepthook(ValueError, error, None)
    threading.excepthook(threading.ExceptHookArgs((ValueError, error, None, None)))
    assert capsys.readouterr().err == "ValueError: Invalid header value b'Bearer ***\\n'\n" * 2


def test_a_task_keeps_the_signature_that_invoke_reads(report: FakeReport) -> None:
    def body(_: object, name: str = "", limit: int = 20) -> Callable[[], int]:
        """Say it."""
        return lambda: 0

    wrapped = main.ending(body, Ended)
    assert list(inspect.signature(wrapped).parameters) == ["_", "name", "limit"]
    assert wrapped.__doc__ == "Say it."


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Config, Paths, dict[str, Any]]]:
    found: list[tuple[str, Config, Paths, dict[str, Any]]] = []

    def run(verb: str, config: Config, paths: Paths, report: object, options: dict[str, Any]) -> int:
        found.append((verb, config, paths, options))
        return 0

    monkeypatch.setattr(dispatch, "run", run)
    for name in [name for name in os.environ if name.startswith("INVOKE_")]:
        monkeypatch.delenv(name)
    return found


def test_flags_outweigh_the_environment_and_empty_ones_do_not_count(
    report: FakeReport, ran: list[tuple[str, Config, Paths, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVOKE_NAME", "staging")
    monkeypatch.setenv("INVOKE_ENGINE", "docker")
    main.flow("up", "", ["app.replicas=3"], {"engine": "managed", "supply": ""}, dry_run=True)()
    [(verb, config, paths, options)] = ran
    assert (verb, config.name, config.engine, config.app.replicas) == ("up", "staging", "managed", 3)
    assert paths.env.name == "staging"
    assert options == {"dry_run": True}


def test_without_any_set_flag(report: FakeReport, ran: list[tuple[str, Config, Paths, dict[str, Any]]]) -> None:
    assert main.flow("status", "other", None, {})() == 0
    assert ran[0][1].name == "other"


def test_faulty_settings_reach_no_flow(
    report: FakeReport, ran: list[tuple[str, Config, Paths, dict[str, Any]]]
) -> None:
    assert code_of(main.flow("up", "", ["git.prot=1", "app.replicas=many"], {})) == 2
    assert ran == []
    error = told(report)
    assert isinstance(error, UsageError)
    assert len(error.faults) == 2


def test_a_faulty_file_is_refused_before_invoke_reads_it(
    report: FakeReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main.guard([], [])
    (tmp_path / "invoke.yaml").write_text("git: {prot: 1}\n")
    monkeypatch.setattr(main, "PROJECT", tmp_path)
    with pytest.raises(SystemExit) as end:
        main.guard([], [])
    assert end.value.code == 2
    assert isinstance(told(report), UsageError)


# -- commands --------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", dispatch.MODULES)
def test_every_command_has_its_function(verb: str) -> None:
    function = getattr(import_module(f"bootstrap.{dispatch.MODULES[verb]}"), verb)
    assert next(iter(inspect.signature(function).parameters)) == "world"


@pytest.fixture
def make_world(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The world that a command is given."""
    world = SimpleNamespace(cancelled=0)
    world.cancel = SimpleNamespace(request=lambda: setattr(world, "cancelled", world.cancelled + 1))
    monkeypatch.setattr(dispatch, "make_world", lambda *_: world)
    return world


@pytest.fixture
def handler() -> Iterator[Any]:
    before = signal.getsignal(signal.SIGTERM)
    yield before
    assert signal.getsignal(signal.SIGTERM) is before


def run(monkeypatch: pytest.MonkeyPatch, flow: Callable[..., int], **options: Any) -> int:
    monkeypatch.setattr(dispatch, "_import_command", lambda verb: flow)
    config = Config()
    return dispatch.run("test_run", config, Paths.of(config.name), FakeReport(), options)


def test_a_command_is_given_world_and_options(
    monkeypatch: pytest.MonkeyPatch, make_world: SimpleNamespace, handler: Any
) -> None:
    def flow(world: object, *, purge: bool) -> int:
        assert world is make_world
        return 7 if purge else 0

    assert run(monkeypatch, flow, purge=True) == 7
    assert make_world.cancelled == 0


def test_sigterm_ends_a_command_as_ctrl_c_does(
    monkeypatch: pytest.MonkeyPatch, make_world: SimpleNamespace, handler: Any
) -> None:
    def flow(world: object) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it went on")

    with pytest.raises(Interrupted) as failure:
        run(monkeypatch, flow)
    assert failure.value.hint == "to go on: invoke test-run"
    assert make_world.cancelled == 1, "children and sleeps have to hear of it"


def test_a_world_is_made_without_touching_anything(tmp_path: Path) -> None:
    paths = Paths.of("demo", {"HOME": str(tmp_path)})
    world = dispatch.make_world(Config(), paths, FakeReport())
    assert list(tmp_path.iterdir()) == []
    assert world.kubeconfig == paths.env / "kubeconfig"
    assert world.context == "kind-demo"


# -- what invoke sees ------------------------------------------------------------------------------


def surface() -> dict[str, Any]:
    """Copies: a task gives away its help texts only once."""
    return {name: copy.deepcopy(tasks.namespace[name]) for name in tasks.namespace.task_names}


def test_every_command_is_a_task_and_every_task_a_command() -> None:
    assert {name.replace("-", "_") for name in surface()} == set(dispatch.MODULES)


def test_every_task_has_a_line_and_every_flag_a_help() -> None:
    for name, task in surface().items():
        assert re.fullmatch(r"[A-Z].{10,60}\.", (task.body.__doc__ or "").strip()), name
        for argument in task.get_arguments():
            assert argument.help, f"{name} --{argument.name}"
        assert {"name", "set"} <= {argument.name for argument in task.get_arguments()}, name


def test_numbers_and_switches_are_what_they_look_like() -> None:
    kinds = {(name, each.name): each.kind for name, task in surface().items() for each in task.get_arguments()}
    assert kinds["test-run", "timeout"] is int
    assert kinds["up", "dry_run"] is bool
    assert kinds["down", "purge"] is bool
    assert all(kind is list for (_, flag), kind in kinds.items() if flag == "set")
