"""What the poller's benchmark measures."""

from __future__ import annotations

import subprocess
import sys

from bootstrap.devtools.bench_poller import measure_memory

PROGRAM = """
import subprocess, sys
held = bytearray(b"x") * {mine}
below = "held = bytearray(b'x') * {below}; print('ready', flush=True); input()"
subprocess.run([sys.executable, "-c", below])
"""


def test_memory_is_that_of_a_process_and_all_below_it() -> None:
    program = PROGRAM.format(mine=40_000_000, below=20_000_000)
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert 60_000_000 < measure_memory(process.pid) < 110_000_000
        process.communicate("\n", timeout=10)
    assert measure_memory(process.pid) == 0
