"""The adapter for programs: the sole importer of `sh`.

`sh` as it comes hands the child a terminal, cuts messages at the wrong end and prints argv, secrets included. Here
there is no terminal, the *tail* of stderr is kept, and argv is shown by program and verb only. Secrets go in through
stdin, an environment variable or a 0600 file, never through argv.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import sh

from bootstrap.core.cancel import Cancel
from bootstrap.core.errors import CommandError, Interrupted, PreconditionError, TimedOut

TAIL_LINES = 40
KEPT_LINES = 4000
"""Of stderr; stdout is kept whole."""
STOP_GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL when a child has to end."""


@dataclass(frozen=True)
class Output:
    """How a program ended. code: 0 for success. stdout: whole. stderr: its last KEPT_LINES lines."""

    code: int
    stdout: str
    stderr: str


class Process(Protocol):
    """A child that runs in the background; see `Shell.start`."""

    pid: int

    def is_alive(self) -> bool:
        """Whether the child has not ended yet."""
        ...

    def stop(self, grace: float = STOP_GRACE) -> None:
        """End the child and its process group: SIGTERM, then SIGKILL after `grace` seconds."""
        ...

    def read_tail(self) -> str:
        """The last lines that it printed."""
        ...


class Shell(Protocol):
    """Runs programs. `env` is added to the process's own environment; "" removes a name."""

    def which(self, program: str) -> str | None:
        """The path of a program, None if PATH has none."""
        ...

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str | bytes | IO[bytes] | None = None,
        limit: float = 60,
        check: bool = True,
        on_line: Callable[[str], None] | None = None,
    ) -> Output:
        """Run to the end; stdout and stderr are kept, `on_line` hears stderr (and stdout) line by line.

        stdin: a text, bytes, or a file with a descriptor, which the child reads itself. limit: in seconds. Raises
        PreconditionError (no such program), CommandError (non-zero and `check`), TimedOut, Interrupted (a stop was
        requested).
        """
        ...

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Process:
        """Start a child in the background; `run_in_background` makes sure that it ends.

        Raises PreconditionError, CommandError.
        """
        ...


def _label(argv: Sequence[str]) -> str:
    """Program and verb, so that a message never repeats arguments."""
    words = [Path(argv[0]).name, *(word for word in argv[1:2] if not word.startswith("-"))]
    return " ".join(words)


class SystemShell:
    """Runs programs for real.

    No child outlives us: a requested `cancel` ends all of them with their process groups, and a guard does when this
    process dies, however it dies. What has to stay (an engine) detaches itself, as daemons do.
    """

    def __init__(self, cancel: Cancel | None = None) -> None:
        self._cancel = cancel or Cancel()
        self._cancel.on_request(self.stop_all)
        self._live: set[_Child] = set()
        self._lock = threading.Lock()
        self._guard: _Guard | None = None
        # Signals interrupt the main thread only: a fork in another one cannot be cut in half by Ctrl-C.
        self._forker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fork")

    def which(self, program: str) -> str | None:
        """The path of a program, None if PATH has none."""
        return shutil.which(program)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str | bytes | IO[bytes] | None = None,
        limit: float = 60,
        check: bool = True,
        on_line: Callable[[str], None] | None = None,
    ) -> Output:
        """Run to the end; stdout and stderr are kept, `on_line` hears stderr (and stdout) line by line.

        stdin: a text, bytes, or a file with a descriptor, which the child reads itself.
        Raises PreconditionError (no such program), CommandError (non-zero and `check`), TimedOut,
        Interrupted (a stop was requested). An interruption ends the child's whole process group first.
        """
        out: deque[str] = deque()
        err: deque[str] = deque(maxlen=KEPT_LINES)
        child = self._begin(argv, env, cwd, stdin, (out, err), on_line)
        try:
            ended = child.wait(limit)
        except BaseException:
            child.stop()
            raise
        if not ended:
            child.stop()
            evidence = _join_tail(err) or _join_tail(out)
            raise TimedOut(f"{_label(argv)} did not end within {limit:g} s", evidence=evidence)
        if child.code and self._cancel.is_requested:
            raise Interrupted(f"{_label(argv)} was stopped")
        if child.code and check:
            evidence = _join_tail(err) or _join_tail(out)
            raise CommandError(f"{_label(argv)} failed with code {child.code}", code=child.code, evidence=evidence)
        return Output(child.code, "".join(out), "".join(err))

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Process:
        """Start a child of ours in the background. Use `run_in_background` so that it always ends."""
        lines: deque[str] = deque(maxlen=TAIL_LINES)
        return self._begin(argv, env, cwd, None, (lines, lines), on_line)

    def stop_all(self, grace: float = STOP_GRACE) -> None:
        """End every child and its process group, all at the same time."""
        with self._lock:
            children = list(self._live)
        for child in children:
            child.signal(signal.SIGTERM)
        end = time.monotonic() + grace
        for child in children:
            child.stop(max(0.0, end - time.monotonic()))

    def _begin(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None,
        cwd: Path | None,
        stdin: str | bytes | IO[bytes] | None,
        streams: tuple[deque[str], deque[str]],
        on_line: Callable[[str], None] | None,
    ) -> _Child:
        """streams: where stdout and stderr are kept; the latter is the tail of the child."""

        def fork() -> _Child:
            self._cancel.check()
            self._guard = self._guard or _Guard()
            hear = [_make_listener(stream, on_line) for stream in streams]
            spawned = _spawn(argv, env, cwd, stdin, hear[0], hear[1], self._guard.register)
            child = _Child(spawned, streams[1], self._forget)
            with self._lock:
                self._live.add(child)
            child.start_watching()
            if self._cancel.is_requested:  # it came after stop_all had looked
                child.stop()
            return child

        future = self._forker.submit(fork)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.add_done_callback(lambda done: None if done.exception() else done.result().stop())
            raise

    def _forget(self, child: _Child) -> None:
        with self._lock:
            self._live.discard(child)
            if self._guard:
                self._guard.deregister(child.pid)


class _Guard:
    """A process of its own that ends the groups of our children once we are gone, also by `kill -9`.

    It reads their numbers from a pipe that only we hold open; the end of the file is our end.
    """

    _SCRIPT = """
trap '' INT TERM HUP
groups=' '
while read -r verb group; do
  case $verb in
  +) groups="$groups$group " ;;
  -) groups="${groups%% $group *} ${groups#* $group }" ;;
  esac
done
for group in $groups; do kill -s TERM -- "-$group"; done
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do
  left=
  for group in $groups; do kill -s 0 -- "-$group" && left=yes; done
  [ "$left" ] || exit 0
  sleep 0.2
done
for group in $groups; do kill -s KILL -- "-$group"; done
"""

    def __init__(self) -> None:
        reader, self._writer = os.pipe()
        weakref.finalize(self, os.close, self._writer)
        with os.fdopen(reader) as numbers, Path(os.devnull).open("w") as nowhere:
            guard = sh.Command("/bin/sh")(
                *("-c", self._SCRIPT, "guard"),
                **_DETACHED,
                _in=numbers,
                _out=nowhere,
                _err=nowhere,
            )
        threading.Thread(target=guard.process.wait, name="guard", daemon=True).start()

    def register(self) -> None:
        """Called in the child, between fork and program, so that there is no moment without a guard."""
        os.write(self._writer, b"+ %d\n" % os.getpid())

    def deregister(self, pid: int) -> None:
        """Its number may soon be somebody else's."""
        with contextlib.suppress(OSError):
            os.write(self._writer, b"- %d\n" % pid)


_DETACHED: Mapping[str, Any] = {
    "_bg": True,
    "_bg_exc": False,
    "_new_session": True,
    "_tty_in": False,
    "_tty_out": False,
}
"""In the background and without a terminal, so that Ctrl-C reaches us alone and we decide."""


class _Child:
    """A process, its group, and a thread that waits for it, so that nobody polls and no zombie stays."""

    def __init__(self, child: Any, lines: deque[str], ended: Callable[[_Child], None]) -> None:
        self._child = child
        self._lines = lines
        self._on_end = ended
        self._ended = threading.Event()
        self.pid = int(child.pid)
        self.code = 0

    def start_watching(self) -> None:
        """Wait for the end in a thread."""
        threading.Thread(target=self._reap, name=f"reap {self.pid}", daemon=True).start()

    def wait(self, limit: float) -> bool:
        """Whether it ended within `limit` seconds, with all its output read."""
        return self._ended.wait(limit)

    def is_alive(self) -> bool:
        """Whether the child has not ended yet."""
        return not self._ended.is_set()

    def signal(self, number: int) -> None:
        """To the whole process group, while the child lives."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def stop(self, grace: float = STOP_GRACE) -> None:
        """End the child and its process group: SIGTERM, then SIGKILL after `grace` seconds."""
        if not self.is_alive():
            return
        self.signal(signal.SIGTERM)
        self._ended.wait(grace)
        # Also when the child itself went: what it left behind in its group is ours too.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._ended.wait(STOP_GRACE)

    def read_tail(self) -> str:
        """The last lines that it printed."""
        return _join_tail(self._lines)

    def _reap(self) -> None:
        self.code = int(self._child.process.wait())
        self._on_end(self)
        self._ended.set()


def _spawn(
    argv: Sequence[str],
    env: Mapping[str, str] | None,
    cwd: Path | None,
    stdin: str | bytes | IO[bytes] | None,
    out: Callable[[str], None],
    err: Callable[[str], None],
    before: Callable[[], None],
) -> Any:
    environ = {**os.environ, **(env or {})}
    try:
        return sh.Command(argv[0])(
            *argv[1:],
            **_DETACHED,
            _env={name: value for name, value in environ.items() if value != ""},
            _cwd=str(cwd) if cwd else None,
            _in=stdin if stdin is not None else b"",
            _out=out,
            _err=err,
            _encoding="utf-8",
            _decode_errors="replace",
            _preexec_fn=before,
        )
    except sh.CommandNotFound:
        raise PreconditionError(f"the program {argv[0]} was not found") from None
    except (sh.ForkException, OSError) as error:  # not executable, no such folder, too many processes
        cause = str(error).strip().splitlines()[-1]
        raise CommandError(f"{_label(argv)} could not be started", code=126, evidence=cause) from None


def _make_listener(sink: deque[str], on_line: Callable[[str], None] | None) -> Callable[[str], None]:
    def hear(text: str) -> None:
        sink.append(text)
        if on_line:
            on_line(text.rstrip("\n"))

    return hear


def _join_tail(lines: deque[str]) -> str:
    return "".join(list(lines)[-TAIL_LINES:]).rstrip()


@contextlib.contextmanager
def run_in_background(shell: Shell, argv: Sequence[str], **options: Any) -> Iterator[Process]:
    """A child that runs beside the block, and ends when the block does, however that ends.

    options: those of `Shell.start`.
    """
    process = shell.start(argv, **options)
    try:
        yield process
    finally:
        process.stop()
