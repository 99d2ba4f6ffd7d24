"""What the machine did while a test ran."""

from __future__ import annotations

import os
from pathlib import Path

from tests.e2e.machine_load import Load, Reading, compute_load, describe_slowest, read_load


def test_shares_are_of_all_processors_and_pressure_is_of_the_time() -> None:
    before = Reading(100.0, (10.0, 0, 5, 20, 1, 0, 0, 0), 1.0, 0.0)
    after = Reading(110.0, (16.0, 0, 9, 24, 2, 0, 0, 5), 3.0, 0.5)
    assert compute_load(before, after) == Load(10.0, 50.0, 5.0, 25.0, 20.0, 5.0)


def test_the_kernels_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "pressure").mkdir()
    (tmp_path / "stat").write_text("cpu  100 0 50 200 10 0 3 4 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
    (tmp_path / "pressure/io").write_text("some avg10=0.22 avg60=1.05 total=1500000\nfull avg10=0 total=9\n")
    found, ticks = read_load(tmp_path), os.sysconf("SC_CLK_TCK")
    assert found.cpu[:5] == (100 / ticks, 0.0, 50 / ticks, 200 / ticks, 10 / ticks)
    assert (found.io, found.memory) == (1.5, 0.0), "a kernel without pressure tells nothing"


def test_the_slowest_come_first() -> None:
    quick, slow = Load(1, 5, 0, 0, 0, 0), Load(70, 99, 1, 30, 2, 0)
    assert describe_slowest([("quick", quick), ("slow", slow)], 1) == [
        "   70.0 s  processors  99 % busy, 1 % waiting for a disk, 30 % stolen; waited for: disk 2 %, memory 0 %  slow"
    ]
