"""The content-addressed cache: complete or absent, also with other processes beside us and after a kill."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from bootstrap.core.cancel import Cancel
from bootstrap.core.clock import SystemClock
from bootstrap.core.errors import Interrupted
from bootstrap.supply.build_cache import Store, compute_key, compute_tree_key
from tests.unit.fakes import FakeClock

ROOT = Path(__file__).resolve().parents[3]

CHILD = """
import sys, time
from pathlib import Path
from bootstrap.supply.build_cache import Store
from bootstrap.core.clock import SystemClock

root, key = Path(sys.argv[1]), sys.argv[2]

def build(folder):
    (folder / "half").write_text("")
    print("building", flush=True)
    while not (root / "go on").exists():
        time.sleep(0.02)
    (folder / "done").write_text(key)

Store(root, SystemClock()).put("part", key, build, lambda: print("waiting", flush=True))
print("end", flush=True)
"""


def nobody_waits() -> None:
    raise AssertionError("no other process holds the lock")


def write(text: str) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        (folder / "result").write_text(text)

    return build


def not_again(folder: Path) -> None:
    raise AssertionError("it is there already")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, FakeClock())


Child = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    """Starts a process that builds in the same cache, and ends when there is a file "go on": child(key)."""
    with contextlib.ExitStack() as stack:

        def start(key: str) -> subprocess.Popen[str]:
            argv = [sys.executable, "-c", CHILD, str(tmp_path), key]
            process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_keys_frame_their_inputs() -> None:
    assert compute_key("ab", "c") != compute_key("a", "bc")
    assert compute_key("ab") == compute_key(b"ab")
    assert len(compute_key()) == 16


def test_the_key_of_files_follows_names_contents_modes_and_links(tmp_path: Path) -> None:
    def key() -> str:
        return compute_tree_key(tmp_path, tmp_path.iterdir())

    keys = []
    file, link = tmp_path / "a", tmp_path / "link"
    for change in (
        partial(file.write_text, "1"),
        partial(file.write_text, "2"),
        partial(file.chmod, 0o755),
        partial(file.rename, tmp_path / "b"),
        partial(link.symlink_to, "b"),
        partial(link.replace, tmp_path / "other link"),
    ):
        change()
        keys.append(key())
    assert len(set(keys)) == len(keys)
    (tmp_path / "b").touch()
    (tmp_path / "b").chmod(0o700)
    assert key() == keys[-1], "neither times nor who else may read it count"


def test_what_is_there_is_not_built_again(store: Store) -> None:
    folder = store.put("part", "k1", write("one"), nobody_waits)
    assert (folder / "result").read_text() == "one"
    assert store.has("part", "k1")
    assert store.put("part", "k1", not_again, nobody_waits) == folder


def test_a_build_that_fails_leaves_nothing(store: Store) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.put("part", "k1", fail, nobody_waits)
    assert not store.has("part", "k1")
    assert list(store.get_path("part", "k1").parent.iterdir()) == []
    assert store.put("part", "k1", write("one"), nobody_waits).is_dir()


def test_the_last_used_results_are_kept(store: Store) -> None:
    for age, key in ((300, "old"), (200, "older version in use"), (100, "new")):
        folder = store.put("part", key, write(key), nobody_waits)
        os.utime(folder, (time.time() - age, time.time() - age))
    assert not store.has("part", "old")
    store.put("part", "older version in use", not_again, nobody_waits)
    store.put("part", "newest", write("newest"), nobody_waits)
    assert [store.has("part", key) for key in ("older version in use", "new", "newest")] == [True, False, True]


def test_the_result_just_built_stays_whatever_its_files_say(store: Store) -> None:
    for key in ("a", "b"):
        store.put("part", key, write(key), nobody_waits)

    def unpack(folder: Path) -> None:
        (folder / "result").write_text("")
        os.utime(folder, (1, 1))

    assert store.put("part", "c", unpack, nobody_waits).is_dir()


def test_what_a_killed_build_left_is_cleared_away(store: Store) -> None:
    store.put("part", "k1", write("one"), nobody_waits)
    left = store.get_path("part", ".new-abc")
    left.mkdir()
    assert not store.has("part", "k2")
    store.put("part", "k2", write("two"), nobody_waits)
    assert not left.exists()


def test_scratch_is_empty_each_time(store: Store) -> None:
    folder = store.make_scratch("engine-node")
    (folder / "left behind").mkdir()
    assert store.make_scratch("engine-node") == folder
    assert list(folder.iterdir()) == []


def test_a_second_process_waits_and_finds_the_first_ones_result(child: Child, tmp_path: Path) -> None:
    first = child("k1")
    assert next_line(first) == "building"
    second = child("k1")
    assert next_line(second) == "waiting"
    (tmp_path / "go on").touch()
    assert next_line(second) == "end", "it did not build"
    assert (first.wait(10), second.wait(10)) == (0, 0)


def test_kill_9_in_the_middle_leaves_no_half_result_and_no_lock(child: Child, tmp_path: Path) -> None:
    first = child("k1")
    assert next_line(first) == "building"
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    store = Store(tmp_path, FakeClock())
    assert not store.has("part", "k1")
    folder = store.put("part", "k1", write("whole"), nobody_waits)
    assert [path.name for path in folder.parent.iterdir()] == ["k1"]
    assert [path.name for path in folder.iterdir()] == ["result"]


def test_waiting_for_another_process_can_be_interrupted(tmp_path: Path) -> None:
    cancel = Cancel()
    store = Store(tmp_path, SystemClock(cancel))
    with store.hold_lock("part", nobody_waits), pytest.raises(Interrupted):
        store.put("part", "k1", not_again, cancel.request)


def test_different_parts_do_not_wait_for_each_other(store: Store) -> None:
    with store.hold_lock("one", nobody_waits):
        store.put("two", "k", write(""), nobody_waits)
