"""The real shell door, with real children."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bootstrap.core.cancel import Cancel
from bootstrap.core.errors import CommandError, Interrupted, PreconditionError, TimedOut
from bootstrap.world import shell as module
from bootstrap.world.shell import SystemShell, run_in_background

ROOT = Path(__file__).resolve().parents[3]


def eventually(condition: Callable[[], bool], limit: float = 10) -> bool:
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


def exists(pid: int) -> bool:
    """Whether the process runs; a zombie that nobody of ours has to reap counts as gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> set[int]:
    """Of any thread of the process; threads that end meanwhile have none."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found |= {int(each) for each in (task / "children").read_text().split()}
    return found


@pytest.fixture
def shell() -> SystemShell:
    return SystemShell()


def test_output_and_code(shell: SystemShell) -> None:
    output = shell.run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    assert (output.code, output.stdout, output.stderr) == (3, "out\n", "err\n")


def test_all_of_a_long_output_is_kept_also_without_a_last_newline(shell: SystemShell) -> None:
    text = shell.run(["sh", "-c", "seq 1 20000; printf end"]).stdout
    assert text.splitlines() == [*map(str, range(1, 20001)), "end"]


def test_lines_are_heard_while_they_come(shell: SystemShell) -> None:
    heard: list[str] = []
    shell.run(["sh", "-c", "echo a; echo b >&2; echo c"], on_line=heard.append)
    assert sorted(heard) == ["a", "b", "c"]


def test_the_child_has_no_terminal(shell: SystemShell) -> None:
    script = "for fd in 0 1 2; do if test -t $fd; then echo tty; fi; done; cat"
    assert shell.run(["sh", "-c", script]).stdout == ""


def test_an_error_keeps_the_tail_and_hides_the_arguments(shell: SystemShell) -> None:
    script = "seq 1 500 >&2; echo the cause >&2; exit 4 # s3cret"
    with pytest.raises(CommandError) as caught:
        shell.run(["sh", "-c", script, "s3cret"])
    assert str(caught.value) == "sh failed with code 4"
    assert caught.value.code == 4
    lines = caught.value.evidence.splitlines()
    assert lines[-1] == "the cause"
    assert len(lines) == module.TAIL_LINES
    assert "s3cret" not in str(caught.value) + caught.value.evidence


def test_evidence_is_stdout_where_stderr_is_empty(shell: SystemShell) -> None:
    with pytest.raises(CommandError) as caught:
        shell.run(["sh", "-c", "echo only here; exit 1"])
    assert caught.value.evidence == "only here"


def test_a_secret_given_by_stdin_is_not_told(shell: SystemShell) -> None:
    with pytest.raises(CommandError) as caught:
        shell.run(["sh", "-c", "cat >/dev/null; echo denied >&2; exit 1"], stdin="s3cret")
    assert "s3cret" not in f"{caught.value!r}{caught.value.evidence}{caught.value.__context__!r}"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
def test_stdin_arrives_whole_and_ends(shell: SystemShell, size: int) -> None:
    assert shell.run(["wc", "-c"], stdin=b"x" * size).stdout.strip() == str(size)


def test_a_child_that_ignores_its_stdin_is_no_error(shell: SystemShell) -> None:
    assert shell.run(["true"], stdin=b"x" * 1_000_000).code == 0


def test_bytes_that_are_not_utf8_are_replaced(shell: SystemShell) -> None:
    assert shell.run(["printf", r"a\377b"]).stdout == "a\N{REPLACEMENT CHARACTER}b"


def test_variables_are_added_and_an_empty_one_is_removed(shell: SystemShell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TB_KEPT", "kept")
    monkeypatch.setenv("TB_GONE", "gone")
    printed = shell.run(["env"], env={"TB_NEW": "new", "TB_GONE": ""}).stdout.splitlines()
    assert {"TB_NEW=new", "TB_KEPT=kept"} <= set(printed)
    assert not [line for line in printed if line.startswith("TB_GONE")]


def test_the_folder(shell: SystemShell, tmp_path: Path) -> None:
    assert shell.run(["pwd", "-P"], cwd=tmp_path).stdout.strip() == str(tmp_path.resolve())


def test_a_missing_program_is_a_precondition(shell: SystemShell) -> None:
    with pytest.raises(PreconditionError, match="the program no-such-program was not found"):
        shell.run(["no-such-program"])


def test_what_cannot_be_started_is_a_command_error(shell: SystemShell, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="true could not be started") as caught:
        shell.run(["true"], cwd=tmp_path / "missing")
    assert "No such file" in caught.value.evidence
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    with pytest.raises(CommandError, match="broken could not be started"):
        shell.run([str(broken)])


def test_a_limit_ends_the_whole_group(shell: SystemShell) -> None:
    pids: list[int] = []
    script = "sleep 300 & echo $!; echo $$; wait"
    with pytest.raises(TimedOut, match=r"sh did not end within 0\.5 s"):
        shell.run(["sh", "-c", script], limit=0.5, on_line=lambda text: pids.append(int(text)))
    assert len(pids) == 2
    assert eventually(lambda: not any(map(exists, pids)))


def test_a_child_deaf_to_sigterm_is_killed(shell: SystemShell) -> None:
    process = shell.start(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"])
    assert eventually(lambda: process.read_tail() == "up")
    start = time.monotonic()
    process.stop(grace=0.2)
    assert time.monotonic() - start < 4
    assert not process.is_alive()
    assert not exists(process.pid)


def test_a_started_child_lives_until_the_block_ends(shell: SystemShell) -> None:
    with run_in_background(shell, ["sh", "-c", "echo serving; exec sleep 300"]) as process:
        assert eventually(lambda: process.read_tail() == "serving")
        assert process.is_alive()
        assert exists(process.pid)
    assert not exists(process.pid)


def test_a_started_child_that_nobody_waits_for_leaves_no_zombie(shell: SystemShell) -> None:
    process = shell.start(["true"])
    assert eventually(lambda: not process.is_alive())
    assert not Path(f"/proc/{process.pid}").exists()
    process.stop()  # of what has ended is nothing, not an error


def test_an_interruption_of_the_main_thread_ends_the_group(shell: SystemShell) -> None:
    pids: list[int] = []

    def heard(text: str) -> None:
        pids.append(int(text))
        if len(pids) == 2:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        shell.run(["sh", "-c", "sleep 300 & echo $!; echo $$; wait"], on_line=heard, limit=60)
    assert eventually(lambda: not any(map(exists, pids)))


def test_a_requested_stop_ends_every_child_and_starts_no_other() -> None:
    cancel = Cancel()
    shell = SystemShell(cancel)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            shell.run(["sleep", "300"], limit=600)
        except Interrupted as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    process = shell.start(["sleep", "300"])
    assert eventually(lambda: len(shell._live) == 4)
    start = time.monotonic()
    cancel.request()
    for thread in threads:
        thread.join(10)
    assert time.monotonic() - start < 4
    assert [str(error) for error in errors] == ["sleep 300 was stopped"] * 3
    assert not process.is_alive()
    with pytest.raises(Interrupted):
        shell.run(["true"])
    assert shell._live == set()


def test_no_child_and_no_child_of_a_child_outlives_a_killed_parent() -> None:
    program = """
import threading, time
from bootstrap.world.shell import SystemShell
shell = SystemShell()
shell.run(["true"])
script = "trap '' HUP; sleep 300 & echo $! $$; wait"
hear = lambda text: print(text, flush=True)
threading.Thread(target=shell.start, args=(["sh", "-c", script],), kwargs={"on_line": hear}).start()
time.sleep(300)
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(exists, pids))
        guards = children(parent.pid) - set(pids)
        assert guards
        parent.kill()
    assert eventually(lambda: not any(map(exists, [*pids, *guards])))


def test_the_guard_ends_with_us_and_kills_nobody_who_left() -> None:
    program = """
import os
from bootstrap.world.shell import SystemShell
shell = SystemShell()
[shell.run(["true"]) for _ in range(3)]
print(shell.run(["sh", "-c", "setsid sleep 300 >/dev/null 2>&1 & echo $!"]).stdout.strip(), os.getpid(), flush=True)
input()
"""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as parent:
        assert parent.stdout
        daemon, pid = (int(word) for word in parent.stdout.readline().split())
        guards = children(pid)
        assert guards
        parent.communicate("\n")
    try:
        assert eventually(lambda: not any(map(exists, guards)))
        assert exists(daemon)  # what detached itself stays
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_the_program_is_named_without_its_arguments() -> None:
    assert module._label(["/usr/bin/docker", "login", "-p", "s3cret"]) == "docker login"
    assert module._label(["kubectl", "--token=s3cret"]) == "kubectl"


def test_children_leave_no_descriptors_open(shell: SystemShell) -> None:
    shell.run(["true"])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        shell.run(["sh", "-c", "echo a; echo b >&2"], stdin="c")
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
