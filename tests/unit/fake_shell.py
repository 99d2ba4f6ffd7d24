"""A shell that knows in advance what may be run; anything else fails the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bootstrap.core.errors import CommandError
from bootstrap.world.shell import Output, Process


@dataclass
class FakeShell:
    """answers: the words of a command, joined by blanks, or the beginning of them -> what it prints.

    An Output with a code that is not 0 fails as the real one does. The longest beginning wins.
    on_run: hears the variables of each command, to play the part of what it starts.
    """

    answers: Mapping[str, str | Output] = field(default_factory=dict)
    programs: Mapping[str, str] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    environs: list[Mapping[str, str]] = field(default_factory=list)
    on_run: Callable[[Mapping[str, str]], None] = lambda _: None

    def which(self, program: str) -> str | None:
        return self.programs.get(program)

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
        command = " ".join(argv)
        self.ran.append(command)
        self.environs.append(env or {})
        self.on_run(env or {})
        known = [words for words in self.answers if command.startswith(words)]
        assert known, f"unforeseen command: {command}"
        answer = self.answers[max(known, key=len)]
        output = Output(0, answer, "") if isinstance(answer, str) else answer
        if on_line:
            for line in (output.stdout + output.stderr).splitlines():
                on_line(line)
        if output.code and check:
            raise CommandError("failed", code=output.code, evidence=output.stderr)
        return output

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Process:
        raise AssertionError(f"unforeseen background command: {' '.join(argv)}")
