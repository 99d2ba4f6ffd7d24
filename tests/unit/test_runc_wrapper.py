"""The program that BuildKit calls instead of runc, run by a real shell with a stand-in for runc."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bootstrap.core.paths import PROJECT

WRAPPER = PROJECT / "images/buildkit/runc-in-pid-namespace"
OTHERS = [{"type": "ipc"}, {"type": "mount"}]


def run(folder: Path, namespaces: list[dict[str, str]]) -> Any:
    """The namespaces of the container that runc would start."""
    runc = folder / "bin/runc"
    runc.parent.mkdir()
    runc.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    runc.chmod(0o755)
    bundle = folder / "a bundle"
    bundle.mkdir()
    config = bundle / "config.json"
    config.write_text(json.dumps({"linux": {"namespaces": namespaces}}, separators=(",", ":")))
    argv = [str(WRAPPER), "--log", "log.json", "run", "--bundle", str(bundle), "--keep", "name"]
    environ = {"PATH": f"{runc.parent}:/usr/bin:/bin"}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=10, check=True)
    assert done.stdout.splitlines() == argv[1:]
    return json.loads(config.read_text())["linux"]["namespaces"]


@pytest.mark.parametrize("before", [OTHERS, [*OTHERS, {"type": "pid"}]])
def test_each_container_has_one_pid_namespace(tmp_path: Path, before: list[dict[str, str]]) -> None:
    found = run(tmp_path, before)
    assert sorted(each["type"] for each in found) == ["ipc", "mount", "pid"]


def test_commands_without_a_bundle_are_passed_on(tmp_path: Path) -> None:
    runc = tmp_path / "runc"
    runc.write_text('#!/bin/sh\necho "$*"; exit 3\n')
    runc.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(
        [str(WRAPPER), "kill", "name"], env=environ, capture_output=True, text=True, timeout=10, check=False
    )
    assert (done.returncode, done.stdout) == (3, "kill name\n")
