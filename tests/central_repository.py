"""A central repository on a git host of the test, with files of Applications in it."""

from __future__ import annotations

from collections.abc import Mapping

from tests.git_host import Bare


def declare(name: str, spec: str = "") -> str:
    """The file of an Application. spec: lines of YAML below `spec`, two spaces in."""
    head = f"apiVersion: tekton-bootstrap.dev/v1alpha1\nkind: Application\nmetadata:\n  name: {name}\n"
    return f"{head}spec:\n{spec}\n" if spec else head


def push(bare: Bare, files: Mapping[str, str], *, links: Mapping[str, str] | None = None, branch: str = "main") -> str:
    """A commit of these files alone, which the branch is then at. files: path -> content; links: path -> target."""
    bare.git("read-tree", "--empty")
    lines = []
    for mode, given in (("100644", files), ("120000", links or {})):
        for path, text in given.items():
            lines.append(f"{mode} {bare.git('hash-object', '-w', '--stdin', text=text)}\t{path}\n")
    bare.git("update-index", "--add", "--index-info", text="".join(lines))
    commit = bare.git("commit-tree", bare.git("write-tree"), "-m", "A change")
    bare.refs({f"refs/heads/{branch}": commit})
    return commit
