"""A clone on this machine, with git as a user has it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

WHO = {
    "GIT_AUTHOR_NAME": "Ada Example",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada Example",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_TERMINAL_PROMPT": "0",
}


class Repository:
    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self._environ = {**environ, **WHO}
        self.said = ""
        """What was last written for people; not every command writes something."""

    def git(self, *words: str) -> str:
        """Raises AssertionError with what git said when it fails."""
        done = subprocess.run(
            ["git", *words],  # noqa: S607
            cwd=self.folder,
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.said = done.stderr or self.said
        assert done.returncode == 0, f"git {words[0]} failed:\n{done.stderr}"
        return done.stdout.strip()

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def push(self, branch: str, message: str, file: str, text: str, *, told: bool = False) -> str:
        """Commit `text` at the end of `file`, on top of main, and push it as `branch`; the commit.

        told: the listener hears of it, as of any push; most tests start their runs in another way.
        """
        self.git("checkout", "--quiet", "-B", branch, "main")
        with (self.folder / file).open("a") as handle:
            handle.write(text)
        self.git("commit", "--quiet", "--all", f"--message={message}")
        self.git("push", "--quiet", *([] if told else ["--push-option=no-webhook"]), "origin", branch)
        return self.head
