"""The command line as invoke reads it, and everything that is wrong with it at once."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from invoke.main import program

import tasks
from bootstrap.cli import main
from bootstrap.cli.main import Flow
from bootstrap.core.errors import Fault, UsageError
from tests.unit.fakes import FakeReport

ROOT = Path(__file__).resolve().parents[3]
Typed = Callable[..., tuple[list[Flow], list[Fault]]]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Typed:
    """What is made of these words, from where invoke itself has read its own."""

    def read(*words: str) -> tuple[list[Flow], list[Fault]]:
        program.normalize_argv(["invoke", *words])
        before = sys.dont_write_bytecode
        program.parse_core_args()
        monkeypatch.setattr(sys, "dont_write_bytecode", before)
        try:
            return tasks.typed()
        finally:
            program.argv = []
            del program.core

    return read


def test_nothing_is_read_where_invoke_does_not_run() -> None:
    assert tasks.typed() == ([], [])


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("up test-run", [("up", {}), ("test_run", {})]),
        ("up --name a --set git.port=1 --set app.port=2", [("up", {"name": "a"})]),
        ("up -n a", [("up", {"name": "a"})]),
        ("up --bundle b.tar", [("up", {"supply": "bundle", "bundle.file": "b.tar"})]),
        ("tunnel me@host --port 9", [("tunnel", {})]),
        ("--list", []),
        ("--help up", []),
        ("up --help", [("up", {})]),
        ("--complete -- invoke up --no", []),
        ("", []),
    ],
)
def test_good_words_are_flows(typed: Typed, line: str, found: list[tuple[str, dict[str, str]]]) -> None:
    flows, faults = typed(*line.split())
    assert faults == []
    assert [(flow.verb, dict(flow.given)) for flow in flows] == found


def test_values_are_what_they_look_like(typed: Typed) -> None:
    [[up, runs], _] = typed("up", "--dry-run", "--set", "git.port=1", "--set", "app.port=2", "runs", "--limit", "3")
    assert up.options == {"dry_run": True}
    assert up.sets == ("git.port=1", "app.port=2")
    assert runs.options["limit"] == 3
    assert [typed("runs")[0][0].options["limit"], typed("tunnel", "h")[0][0].options["port"]] == [20, 9080]


@pytest.mark.parametrize(
    ("line", "faults"),
    [
        ("up --nonsense", ["--nonsense: invoke up has no such flag"]),
        ("up --dryrun", ["--dryrun: invoke up has no such flag; did you mean --dry-run?"]),
        ("up --nmae=x", ["--nmae: invoke up has no such flag; did you mean --name?"]),
        ("--nonsense up", ["--nonsense: invoke has no such flag"]),
        ("nonsense", ["nonsense: there is no such command"]),
        ("stauts", ["stauts: there is no such command; did you mean status?"]),
        ("up demo", ["demo: there is no such command"]),
        ("deployments orders", ["orders: there is no such command; did you mean --app orders?"]),
        ("--help stauts", ["stauts: there is no such command; did you mean status?"]),
        ("up --name", ["--name: a value is expected"]),
        ("up --name --dry-run", ["--name: a value is expected"]),
        ("up --name a --name b", ["--name: given twice"]),
        ("up --name=a --name=b", ["--name: given twice"]),
        ("up --dry-run=yes", ["--dry-run: takes no value"]),
        ("runs --limit many", ['--limit: "many" is not a whole number']),
        ("runs --limit=-5", ["--limit: -5 is not between 1 and 10000"]),
        ("test-run --timeout 0", ["--timeout: 0 is not between 1 and 1440"]),
        ("listener --port 70000", ["--port: 70000 is not between 1 and 65535"]),
        ("bench --times 1.5", ['--times: "1.5" is not a whole number']),
        ("tunnel h --ssh-port x", ['--ssh-port: "x" is not a whole number']),
        ("up --command-timeout x", ['--command-timeout: "x" is not a whole number']),
        ("--list up", ['--list: "up" is no group of commands']),
        ("tunnel", ["invoke tunnel: TO is missing: user@host: the machine that the git host can reach"]),
        (
            "up --nonsense 3 --name a --name b runs --limit x --wrong status --name",
            [
                "--nonsense: invoke up has no such flag",
                "--name: given twice",
                "--wrong: invoke runs has no such flag",
                "--name: a value is expected",
                '--limit: "x" is not a whole number',
            ],
        ),
    ],
)
def test_every_fault_is_told(typed: Typed, line: str, faults: list[str]) -> None:
    assert [f"{fault.where}: {fault.text}" for fault in typed(*line.split())[1]] == faults


def test_every_number_has_its_range() -> None:
    contexts = [program.initial_context, *copy.deepcopy(tasks.namespace).to_contexts()]
    numbers = {each.names[0] for context in contexts for each in context.args.values() if each.kind is int}
    assert numbers == set(tasks.RANGES)


def test_words_variables_and_files_are_judged_together(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = FakeReport()
    monkeypatch.setattr(main, "_reporter", lambda: report)
    monkeypatch.setattr(main, "PROJECT", tmp_path)
    monkeypatch.setenv("INVOKE_APP_PORT", "x")
    (tmp_path / "invoke.yaml").write_text("git: {prot: 1}\n")
    (tmp_path / "kind-config.yaml").write_text("kind: Cluster\nnods: []\nkind: Cluster\n")
    flows, faults = typed("up", "--nonsense", "--name", "A", "--set", "git.pot=1", "status", "--set", "app=1")
    with pytest.raises(SystemExit) as end:
        main.guard(flows, faults)
    assert end.value.code == 2
    [(_, error)] = report.printed
    assert isinstance(error, UsageError)
    assert [(fault.where, fault.line) for fault in error.faults] == [
        ("--nonsense", 0),
        ("--name", 0),
        ("--set git.pot", 0),
        ("INVOKE_APP_PORT", 0),
        ("invoke.yaml", 1),
        ("kind-config.yaml", 2),
        ("kind-config.yaml", 3),
        ("--set app", 0),
    ]


def test_good_settings_that_contradict_kinds_file_are_found(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("INVOKE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(main, "PROJECT", tmp_path)
    (tmp_path / "invoke.yaml").write_text("cluster: {api_port: 6443}\n")
    kind = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnetworking:\n  apiServerPort: 7000\n"
    (tmp_path / "kind-config.yaml").write_text(kind)
    [[up, status, there], _] = typed("up", "status", "up", "--context", "theirs")
    assert [(fault.where, fault.line) for fault in up.faults()] == [("kind-config.yaml", 4)]
    assert (status.faults(), there.faults()) == ([], []), "it does not matter to them"


def invoke(*words: str) -> subprocess.CompletedProcess[str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("INVOKE_")}
    return subprocess.run([sys.executable, "-m", "invoke", *words], cwd=ROOT, env=ours, capture_output=True, text=True)


def test_invoke_itself_ends_with_2_and_says_all() -> None:
    ended = invoke("up", "--nonsense", "--set", "git.prot=1", "runs", "--limit", "many")
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.splitlines() == [
        '--limit: "many" is not a whole number',
        "--nonsense: invoke up has no such flag",
        "--set git.prot: git.prot: unknown key; did you mean git.port?",
    ]


def test_help_still_explains_every_flag() -> None:
    ended = invoke("--help", "tunnel")
    assert ended.returncode == 0
    flags = [line for line in ended.stdout.splitlines() if line.lstrip().startswith("-")]
    assert len(flags) == 7
    assert all(len(line.split(maxsplit=4)) > 4 for line in flags), flags
