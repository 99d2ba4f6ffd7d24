"""What comes from outside does not make a command hang or run for ever."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import pytest

from bootstrap.core import untrusted
from bootstrap.core.errors import UsageError

NAMES = "abcdefghijklmnopqrstuvwxyz"
GROWING = "a: &a [x, x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}, *{old}]\n" for old, new in itertools.pairwise(NAMES)
)
MERGING = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [*{old}, *{old}, *{old}]}}\n" for old, new in itertools.pairwise(NAMES)
)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (GROWING, 12, "its aliases stand for more than 1,000,000 values"),
        (MERGING, 12, "its aliases stand for more than 1,000,000 values"),
        ("a: &a\n  b: *a", 2, "*a stands within what it stands for"),
        ("[" * 5000, 1, "it is nested deeper than 200 levels"),
        ("a: [", 2, "it is not YAML: did not find expected node content"),
        ("x: !!python/name:os.system", 1, "it is not YAML: could not determine a constructor"),
        ("on: 2001-99-99", 0, "it is not YAML: month must be in 1..12"),
        ("a: \x07", 0, "it is not YAML: unacceptable character"),
    ],
)
def test_what_would_never_end_is_refused_at_once_and_by_line(text: str, line: int, said: str) -> None:
    begin = time.process_time()
    with pytest.raises(UsageError) as caught:
        untrusted.load_yaml(text, "theirs.yaml")
    assert time.process_time() - begin < 1
    [fault] = caught.value.faults
    assert (fault.where, fault.line) == ("theirs.yaml", line)
    assert fault.text.startswith(said)


def test_aliases_as_people_use_them_are_read() -> None:
    text = "a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}\n---\nd: &a 1\n"
    assert untrusted.load_yaml(text, "f") == [{"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}, {"d": 1}]


def test_files_that_are_no_files_and_those_too_large_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 2049)
    (tmp_path / "link").symlink_to(tmp_path / "large")
    for name, said in (("pipe", "no regular file"), ("large", "larger than 2 KiB"), ("", "Is a directory")):
        with pytest.raises(OSError, match=said):
            untrusted.read_file(tmp_path / name, 2048)
    with pytest.raises(OSError, match="no regular file"):
        untrusted.read_file(Path("/dev/zero"), 2048)
    assert len(untrusted.read_file(tmp_path / "link", 2049)) == 2049
