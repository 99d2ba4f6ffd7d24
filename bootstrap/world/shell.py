"""The door to programs: the sole importer of `sh`.

`sh` as it comes hands the child a terminal, cuts messages at the wrong end and prints argv, secrets
included. Here there is no terminal, the *tail* of stderr is kept, and argv is shown by program and
verb only. Secrets go in through stdin, an environment variable or a 0600 file, never through argv.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import sh

from bootstrap.errors import CommandError, PreconditionError, TimedOut

TAIL_LINES = 40
STOP_GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL when a child has to end."""


@dataclass(frozen=True)
class Output:
    code: int
    stdout: str
    stderr: str


class Process(Protocol):
    """A child that runs in the background; see `Shell.start`."""

    pid: int

    def alive(self) -> bool: ...

    def stop(self, grace: float = STOP_GRACE) -> None:
        """End the child and its process group: SIGTERM, then SIGKILL after `grace` seconds."""
        ...

    def tail(self) -> str:
        """The last lines it printed."""
        ...


class Shell(Protocol):
    def which(self, program: str) -> str | None: ...

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str | bytes | None = None,
        limit: float = 60,
        check: bool = True,
        on_line: Callable[[str], None] | None = None,
    ) -> Output: ...

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Process: ...


def _label(argv: Sequence[str]) -> str:
    """Program and verb, so that a message never repeats arguments."""
    words = [Path(argv[0]).name, *(word for word in argv[1:2] if not word.startswith("-"))]
    return " ".join(words)


class SystemShell:
    """Runs programs for real. `env` is added to the process's own environment, "" removes a name."""

    def which(self, program: str) -> str | None:
        return shutil.which(program)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str | bytes | None = None,
        limit: float = 60,
        check: bool = True,
        on_line: Callable[[str], None] | None = None,
    ) -> Output:
        """Run to the end; stdout and stderr are kept, `on_line` hears stderr (and stdout) line by line.

        Raises PreconditionError (no such program), CommandError (non-zero and `check`), TimedOut.
        An interruption ends the child's whole process group before it travels on.
        """
        out: list[str] = []
        err: deque[str] = deque(maxlen=4000)

        def hear(sink: Any) -> Callable[[str], None]:
            def line(text: str) -> None:
                sink.append(text)
                if on_line:
                    on_line(text.rstrip("\n"))

            return line

        child = self._spawn(argv, env, cwd, stdin, hear(out), hear(err))
        try:
            child.wait(timeout=limit)
        except sh.TimeoutException:
            _end_group(child, STOP_GRACE)
            raise TimedOut(f"{_label(argv)} did not end within {limit:g} s", evidence=_tail(err)) from None
        except sh.ErrorReturnCode:
            pass
        except BaseException:
            _end_group(child, STOP_GRACE)
            raise
        code = int(child.exit_code)
        if code and check:
            evidence = _tail(err) or _tail(out)
            raise CommandError(f"{_label(argv)} failed with code {code}", code=code, evidence=evidence)
        return Output(code, "".join(out), "".join(err))

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Process:
        """Start a child of ours in the background. Use `running` so that it always ends."""
        lines: deque[str] = deque(maxlen=TAIL_LINES)

        def hear(text: str) -> None:
            lines.append(text)
            if on_line:
                on_line(text.rstrip("\n"))

        return _Child(self._spawn(argv, env, cwd, None, hear, hear), lines)

    @staticmethod
    def _spawn(
        argv: Sequence[str],
        env: Mapping[str, str] | None,
        cwd: Path | None,
        stdin: str | bytes | None,
        out: Callable[[str], None],
        err: Callable[[str], None],
    ) -> Any:
        try:
            program = sh.Command(argv[0])
        except sh.CommandNotFound:
            raise PreconditionError(f"the program {argv[0]} was not found") from None
        environ = {**os.environ, **(env or {})}
        return program(
            *argv[1:],
            _bg=True,
            _bg_exc=False,
            _new_session=True,
            _tty_in=False,
            _tty_out=False,
            _env={name: value for name, value in environ.items() if value != ""},
            _cwd=str(cwd) if cwd else None,
            _in=stdin if stdin is not None else b"",
            _out=out,
            _err=err,
            _encoding="utf-8",
            _decode_errors="replace",
        )


class _Child:
    def __init__(self, child: Any, lines: deque[str]) -> None:
        self._child = child
        self._lines = lines
        self.pid = int(child.pid)

    def alive(self) -> bool:
        return bool(self._child.is_alive())

    def stop(self, grace: float = STOP_GRACE) -> None:
        _end_group(self._child, grace)

    def tail(self) -> str:
        return _tail(self._lines)


def _tail(lines: Sequence[str] | deque[str]) -> str:
    return "".join(list(lines)[-TAIL_LINES:]).rstrip()


def _end_group(child: Any, grace: float) -> None:
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, grace)):
        if not child.is_alive():
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        with contextlib.suppress(sh.ErrorReturnCode, sh.TimeoutException):
            child.wait(timeout=seconds)


@contextlib.contextmanager
def running(shell: Shell, argv: Sequence[str], **options: Any) -> Iterator[Process]:
    """A background child that ends when the block does, however it does."""
    process = shell.start(argv, **options)
    try:
        yield process
    finally:
        process.stop()
