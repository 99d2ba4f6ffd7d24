from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from bootstrap.core import terminal_layout
from bootstrap.core.errors import CommandError, Fault, Interrupted, StepError, UsageError
from bootstrap.core.model import Secret
from bootstrap.world.terminal import CAUSE_PAUSE, PROGRESS_PAUSE, TerminalReport

ESCAPE = "\x1b["


class Screen(io.StringIO):
    """A stream that says that it is a terminal, or that it is not."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


class Bench:
    """A report with everything around it in hand. now: its time in seconds."""

    def __init__(self, *, terminal: bool = False, environ: Mapping[str, str] | None = None) -> None:
        self.now = 0.0
        self.out, self.err = Screen(terminal=terminal), Screen(terminal=terminal)
        environ = {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "25"} if environ is None else environ
        self.report = TerminalReport(self.out, self.err, environ, lambda: self.now)

    @property
    def printed(self) -> list[str]:
        return self.out.getvalue().splitlines()

    @property
    def complained(self) -> list[str]:
        return self.err.getvalue().splitlines()


def visible(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_line_per_change_without_a_terminal() -> None:
    bench = Bench()
    line = bench.report.step("tekton")
    line.show_cause("absent")
    bench.now = 12
    line.show_cause("waiting for the webhook")
    bench.now = 18
    line.end_ready("Pipelines 1.9.0, Triggers 0.35.0, dry runs accepted", changed=True)
    assert bench.printed == [
        "  ...  tekton      absent                                                    0 s",
        "  ...  tekton      waiting for the webhook                                  12 s",
        "  ok   tekton      Pipelines 1.9.0, Triggers 0.35.0, dry runs accepted      18 s",
    ]
    assert {len(text) for text in bench.printed} == {80}
    assert "\r" not in bench.out.getvalue()
    assert ESCAPE not in bench.out.getvalue()


def test_without_a_terminal_lines_are_neither_repeated_nor_too_many() -> None:
    bench = Bench()
    line = bench.report.step("images")
    for second in range(60):
        bench.now = second
        line.show_cause(f"{second} of 60 built")
        line.show_progress("kubernetes" if second < 30 else "tekton")
    causes = [text for text in bench.printed if "built" in text]
    details = [text for text in bench.printed if "built" not in text]
    assert len(causes) == 60 / CAUSE_PAUSE
    assert len(details) == 2
    assert PROGRESS_PAUSE >= 15


def test_what_did_not_change_is_silent_unless_something_does() -> None:
    bench = Bench()
    bench.report.step("engine").end_ready("Docker 29", changed=False)
    bench.report.step("images").end_ready("14 images", changed=False)
    assert bench.printed == []
    bench.report.step("demo").end_ready("2 of 2 pods", changed=True)
    assert [text.split()[1] for text in bench.printed] == ["engine", "images", "demo"]


def test_nothing_changed_leaves_the_summary_alone() -> None:
    bench = Bench()
    bench.report.step("engine").end_ready("Docker 29", changed=False)
    bench.report.line("environment demo is ready")
    bench.report.step("task").end_ready("done", changed=True)
    assert [text.split("  0 s")[0].rstrip() for text in bench.printed] == [
        "environment demo is ready",
        "  ok   task        done",
    ]


def test_a_step_is_one_line_until_it_ends() -> None:
    report = Bench().report
    line = report.step("engine")
    assert report.step("engine") is line
    line.end_failed("no space")
    assert report.step("engine") is not line


def test_failed_and_skipped() -> None:
    bench = Bench()
    bench.report.step("build-image").end_failed("exit 1 in step build")
    bench.report.step("deploy").end_skipped("needs build-image")
    assert [text.split("  0 s")[0].rstrip() for text in bench.printed] == [
        "  FAIL build-image exit 1 in step build",
        "  skip deploy      needs build-image",
    ]


def test_log_lines_carry_the_name_and_no_control_characters() -> None:
    bench = Bench()
    bench.report.step("build").show_log(
        "a \x1b[31mred\x1b[0m word\r\nfake\x1b]0;title\x07\ndone 10%\rdone 99%\n\ttab\x00\u202e"
    )
    assert bench.printed == [
        "       build | a red word",
        "       build | fake",
        "       build | done 99%",
        "       build |         tab",
    ]


def test_foreign_text_cannot_forge_lines() -> None:
    bench = Bench()
    bench.report.step("a").end_failed("broken\n  ok   a  all fine\x1b[2K")
    bench.report.line("run\x1b[1A x")
    assert len(bench.printed) == 2
    assert ESCAPE not in bench.out.getvalue()


def test_markup_of_the_printing_library_means_nothing() -> None:
    bench = Bench()
    bench.report.line("[bold]x[/bold] [link=http://x]y :smile:")
    assert bench.printed == ["[bold]x[/bold] [link=http://x]y :smile:"]


def test_a_terminal_redraws_and_keeps_what_ended() -> None:
    bench = Bench(terminal=True)
    first, second = bench.report.step("images"), bench.report.step("registry")
    first.show_cause("9 of 14 built")
    first.show_progress("kubernetes, etcd")
    second.show_cause("Deployment tekton-pipelines/tekton-pipelines-controller: 0 of 1 pods available")
    picture = [part.plain for line in (first, second) for part in line.render()]  # type: ignore[attr-defined]
    assert picture == [
        "  ...  images      9 of 14 built                                             0 s",
        "         kubernetes, etcd",
        "  ...  registry    Deployment tekton-…nes-controller: 0 of 1 pods available  0 s",
    ]
    second.show_log("pulled")
    second.end_ready("push and pull proved", changed=True)
    first.end_failed("no space")
    text = bench.out.getvalue()
    assert "[?25l" in text.replace("\x1b", "")
    assert text.rindex("?25h") > text.rindex("?25l")  # the cursor is back
    kept = [
        line
        for line in visible(text).replace("\r", "\n").splitlines()
        if line.startswith(("  ok", "  FAIL", "       r"))
    ]
    assert [line.split()[:2] for line in kept] == [["registry", "|"], ["ok", "registry"], ["FAIL", "images"]]


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {}, {"TERM": "unknown"}])
def test_a_terminal_that_can_nothing_gets_plain_lines(environ: Mapping[str, str]) -> None:
    bench = Bench(terminal=True, environ=environ)
    line = bench.report.step("engine")
    line.show_cause("starting")
    line.end_ready("Docker 29", changed=True)
    assert len(bench.printed) == 2
    assert ESCAPE not in bench.out.getvalue()


def test_no_color_is_respected() -> None:
    for environ, colour in (({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False)):
        bench = Bench(terminal=True, environ=environ)
        bench.report.warn("careful")
        assert (f"{ESCAPE}33m" in bench.err.getvalue()) == colour


def test_an_error_ends_what_is_live_and_goes_to_stderr() -> None:
    bench = Bench(terminal=True)
    bench.report.step("cluster").show_cause("starting")
    bench.report.error(StepError("cluster: no space", hint="invoke doctor"))
    assert bench.out.getvalue().endswith(f"{ESCAPE}?25h\r{ESCAPE}1A{ESCAPE}2K")
    assert visible(bench.err.getvalue()).splitlines() == ["error: cluster: no space", "  next: invoke doctor"]


def test_an_error_shows_cause_evidence_and_next_command() -> None:
    bench = Bench()
    evidence = "main.go:14:2: undefined: \x1b[1mfmt.Printn\nexit 1"
    bench.report.error(CommandError("go build failed with code 1", code=1, hint="invoke up", evidence=evidence))
    assert bench.printed == []
    assert bench.complained == [
        "error: go build failed with code 1",
        "         main.go:14:2: undefined: fmt.Printn",
        "         exit 1",
        "  next: invoke up",
    ]


def test_no_secret_shows_in_what_goes_wrong_and_a_result_is_left_alone() -> None:
    bench = Bench()
    secret = Secret("sesame-of-test-terminal").reveal()
    bench.report.error(CommandError(f"git {secret} failed", code=1, hint=f"try {secret}", evidence=f"no {secret}"))
    bench.report.warn(f"{secret} is old")
    bench.report.step("git").end_failed(f"{secret} was refused")
    bench.report.line(secret)
    assert bench.complained[:3] == ["error: git *** failed", "         no ***", "  next: try ***"]
    assert bench.complained[3:] == ["warning: *** is old"]
    assert "*** was refused" in bench.printed[0]
    assert bench.printed[1] == secret


def test_faults_are_grouped_by_file() -> None:
    found = [
        Fault("invoke.yaml", 12, 'cleanup.keep: "many" is not a whole number'),
        Fault("INVOKE_GIT_PORT", 0, 'git.port: "x" is not a whole number'),
        Fault("invoke.yaml", 7, "tekton.pipelnes: unknown key; did you mean tekton.pipelines?"),
        Fault("kind-config.yaml", 3, "nodes: at least one control-plane is needed"),
    ]
    bench = Bench()
    bench.report.error(UsageError("the settings: 4 faults", faults=found))
    assert bench.complained == [
        "invoke.yaml: 2 faults",
        "  line 7   tekton.pipelnes: unknown key; did you mean tekton.pipelines?",
        '  line 12  cleanup.keep: "many" is not a whole number',
        "kind-config.yaml: 1 fault",
        "  line 3  nodes: at least one control-plane is needed",
        'INVOKE_GIT_PORT: git.port: "x" is not a whole number',
    ]


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (UsageError("--limit is not a number"), ["error: --limit is not a number"]),
        (Interrupted("stopped during images", hint="invoke up"), ["stopped during images", "  next: invoke up"]),
        (KeyError("spec"), ["error: KeyError: 'spec'"]),
    ],
)
def test_other_errors(error: BaseException, lines: list[str]) -> None:
    assert list(terminal_layout.format_error(error)) == lines


def test_a_table_is_aligned_and_its_header_optional() -> None:
    bench = Bench()
    bench.report.table(["setting", "value"], [["name", "demo"], ["git.port", "3000"]])
    bench.report.table(["", ""], [["ok", "kernel\nx"]])
    bench.report.table(["name", "value"], [])
    assert bench.printed == [
        "setting   value",
        "name      demo",
        "git.port  3000",
        "ok  kernel x",
        "name  value",
    ]


def test_json_is_one_line_and_masks_secrets() -> None:
    bench = Bench()
    value: dict[str, Any] = {"name": "démo", "password": Secret("hunter2"), "long": "x" * 200}
    bench.report.json(value)
    assert json.loads(bench.out.getvalue()) == value | {"password": "***"}
    assert len(bench.printed) == 1
    with pytest.raises(TypeError, match="object"):
        bench.report.json(object())


def test_warnings_go_to_stderr() -> None:
    bench = Bench()
    bench.report.warn("cgroup v1")
    assert (bench.printed, bench.complained) == ([], ["warning: cgroup v1"])


@pytest.mark.parametrize("terminal", [False, True])
def test_steps_of_several_threads_do_not_mix_lines_or_lock_up(terminal: bool) -> None:
    bench = Bench(terminal=terminal)

    def work(name: str) -> None:
        for index in range(20):
            line = bench.report.step(name)
            line.show_cause(f"cause {index}")
            line.show_log(f"log {index}")
            line.end_ready(f"end {index}", changed=True)

    threads = [threading.Thread(target=work, args=(f"step{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not [thread for thread in threads if thread.is_alive()]
    assert visible(bench.out.getvalue()).count("  ok   step") == 80
