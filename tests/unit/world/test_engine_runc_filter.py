"""Which capabilities are missing, and what becomes of the files that runc reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bootstrap.world.engine import runc_filter
from bootstrap.world.engine.runc_filter import (
    CAPABILITIES,
    filter_process,
    find_missing_capabilities,
    find_option,
    prepare_file,
    read_missing_capabilities,
)

WITHOUT = frozenset({"CAP_SYS_RESOURCE"})
PROCESS = {"capabilities": {"bounding": ["CAP_CHOWN", "CAP_SYS_RESOURCE"], "ambient": None}, "args": ["sh"]}
KEPT = {"capabilities": {"bounding": ["CAP_CHOWN"], "ambient": []}, "args": ["sh"]}


def test_names_stand_at_the_kernels_bits() -> None:
    assert CAPABILITIES.index("CAP_SYS_ADMIN") == 21
    assert CAPABILITIES.index("CAP_SYS_RESOURCE") == 24
    assert len(CAPABILITIES) == 41


@pytest.mark.parametrize(
    ("bounding", "last", "names"),
    [
        (0x1FFFFFFFFFF, 40, set()),
        (0x1FFFEFFFFFF, 40, {"CAP_SYS_RESOURCE"}),
        (0x3FFFFFFFFF, 37, set()),  # an older kernel has fewer: those are not missing
        (0x3FFFFFFFFF, 40, {"CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE"}),
    ],
)
def test_missing(bounding: int, last: int, names: set[str]) -> None:
    assert find_missing_capabilities(bounding, last) == names


def test_missing_here_reads_the_bounding_set(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "self/status").write_text("CapEff:\t0000000000000000\nCapBnd:\t000001fffeffffff\n")
    (tmp_path / "sys/kernel/cap_last_cap").write_text("40\n")
    assert read_missing_capabilities(tmp_path) == WITHOUT


def test_filtered_keeps_everything_else() -> None:
    assert filter_process(PROCESS, WITHOUT) == KEPT
    assert filter_process({"args": ["sh"]}, WITHOUT) == {"args": ["sh"]}


@pytest.mark.parametrize("argv", [["--bundle", "/b"], ["-b", "/b"], ["--bundle=/b"], ["--log", "x", "-b=/b"]])
def test_option_in_each_spelling(argv: list[str]) -> None:
    assert find_option(argv, "--bundle", "-b") == "/b"


def test_option_without_one() -> None:
    assert find_option(["--bundle"], "--bundle") == ""
    assert find_option(["list"], "--bundle") == ""


@pytest.mark.parametrize("verb", ["create", "run"])
def test_create_and_run_filter_the_bundle(tmp_path: Path, verb: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"ociVersion": "1", "process": PROCESS}))
    prepare_file(["--root", "/r", verb, "--bundle", str(tmp_path), "id"], WITHOUT)
    assert json.loads((tmp_path / "config.json").read_text()) == {"ociVersion": "1", "process": KEPT}


def test_exec_filters_its_process_file(tmp_path: Path) -> None:
    file = tmp_path / "process.json"
    file.write_text(json.dumps(PROCESS))
    prepare_file(["--root", "/r", "exec", "--process", str(file), "--detach", "id"], WITHOUT)
    assert json.loads(file.read_text()) == KEPT


def test_other_verbs_touch_no_file() -> None:
    prepare_file(["--version"], WITHOUT)
    prepare_file(["--root", "/r", "delete", "id"], WITHOUT)


def test_it_needs_the_standard_library_only() -> None:
    source = Path(runc_filter.__file__).read_text()
    assert "bootstrap" not in source.partition('"""')[2].partition('"""')[2]
