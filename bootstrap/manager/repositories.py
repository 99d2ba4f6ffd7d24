"""Git repositories as the manager asks them, by git's own client."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bootstrap.incluster import poll_state
from bootstrap.incluster.application_source import Source
from bootstrap.incluster.applications import OWN_SERVER, Application
from bootstrap.incluster.git_login import GitLogin, LoginFault, make_ssh_command, write_files
from bootstrap.incluster.kube_api import ApiFailure
from bootstrap.incluster.path_patterns import has_match
from bootstrap.incluster.poll import Git, RepositoryUnreadable, make_git_environ
from bootstrap.incluster.repository_address import find_origin
from bootstrap.manager.branch_heads import list_patterns

LOG = logging.getLogger("manager")
SUFFIXES = (".yaml", ".yml")
MAX_FILES, MAX_FILE_BYTES, MAX_BYTES = 1000, 64 << 10, 512 << 10
"""Of the files that declare Applications: how many, and bytes of one and of all."""


@dataclass(frozen=True)
class Folder:
    """The files of a folder that declare Applications. contents: path -> content, of those that can be read.

    others: path -> why it is none of those. is_there: whether anything is in the folder.
    """

    contents: Mapping[str, bytes]
    others: Mapping[str, str]
    is_there: bool


class Repositories:
    """environ: PATH, and the variables CREDENTIALS, LOGINS and EXTRA_CA, see `poll.make_git_environ`; KEYS: a folder in
    memory for logins, while git runs. read_login: the login that an Application names; raises LoginFault, ApiFailure.
    """

    def __init__(self, environ: Mapping[str, str], read_login: Callable[[Application], GitLogin]) -> None:
        self._environ = dict(environ)
        self._read_login = read_login

    def read_heads(self, application: Application) -> tuple[dict[str, str], dict[str, str]]:
        """(branch -> commit of those that are watched, branch -> commit that is to start nothing).

        Raises RepositoryUnreadable.
        """
        patterns = list_patterns(application)
        spaces = (poll_state.HEADS, poll_state.QUIET) if application.is_hosted else (poll_state.HEADS,)
        with self._open_git(application) as (git, _):
            listing = git.list_refs(application.url, [space + each for space in spaces for each in patterns])
        heads = poll_state.select_watched(poll_state.parse_heads(listing), patterns)
        return dict(heads), dict(poll_state.parse_heads(listing, poll_state.QUIET))

    def concerns(self, application: Application, before: str, after: str) -> bool:
        """Whether one of the application's paths differs between two commits; True where that cannot be told.

        before: "" if there is none to compare with.
        """
        if not application.paths or not before:
            return True
        try:
            with self._open_git(application) as (git, home):
                changed = git.list_changed(application.url, before, after, home)
        except RepositoryUnreadable as error:
            LOG.info("%s: %s and %s are not compared: %s", application.name, before[:12], after[:12], error)
            return True
        return has_match(application.paths, changed)

    def read_head(self, source: Source) -> str:
        """The commit that the branch is at, "" if there is no such branch. Raises RepositoryUnreadable."""
        with tempfile.TemporaryDirectory() as home:
            listing = self._make_git(Path(home)).list_refs(source.url, [poll_state.HEADS + source.branch])
        return str(poll_state.parse_heads(listing).get(source.branch, ""))

    def read_folder(self, source: Source, commit: str) -> Folder:
        """The YAML files of the folder and of those below it, but for what begins with a dot.

        Raises RepositoryUnreadable.
        """
        with tempfile.TemporaryDirectory() as home:
            git, folder = self._make_git(Path(home)), Path(home)
            entries = git.list_entries(source.url, commit, source.path, folder, most=MAX_FILE_BYTES)
            others: dict[str, str] = {}
            digests: dict[str, str] = {}
            for each in entries:
                if any(part.startswith(".") for part in each.path[len(source.path) :].split("/")):
                    continue
                if each.is_submodule:
                    others[each.path] = "it is a submodule, whose files are not read"
                elif not each.path.endswith(SUFFIXES):
                    continue
                elif each.is_link:
                    others[each.path] = "it is a symbolic link; expected a file"
                else:
                    digests[each.path] = each.digest
            if len(digests) > MAX_FILES:
                raise RepositoryUnreadable(f"there are more than {MAX_FILES} files of Applications")
            blobs = git.read_blobs([*digests.values()], folder, most=MAX_FILE_BYTES, total=MAX_BYTES)
        contents: dict[str, bytes] = {}
        for path, digest in digests.items():
            content = blobs[digest]
            if content is None:
                others[path] = f"it has more than {MAX_FILE_BYTES >> 10} KiB"
            else:
                contents[path] = content
        return Folder(contents, others, bool(entries))

    @contextlib.contextmanager
    def _open_git(self, application: Application) -> Iterator[tuple[Git, Path]]:
        """(git with the application's login, a folder), for as long as they are used. Raises RepositoryUnreadable."""
        keys = self._environ.get("KEYS") or None
        with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory(dir=keys) as given:
            if not application.login:
                yield self._make_git(Path(home)), Path(home)
                return
            try:
                login = self._read_login(application)
            except LoginFault as fault:
                raise RepositoryUnreadable(f"{fault}: {fault.hint}" if fault.hint else str(fault)) from None
            except ApiFailure as error:
                raise RepositoryUnreadable(f"Secret {application.login}: {error.strerror}") from None
            write_files(login, Path(given))
            yield Git(self._make_environ(application, login, Path(given), Path(home))), Path(home)

    def _make_environ(self, application: Application, login: GitLogin, given: Path, home: Path) -> dict[str, str]:
        """For git, with that login alone: none of the settings' is told to a host that the application names."""
        environ = {key: value for key, value in self._environ.items() if key not in ("CREDENTIALS", "LOGINS")}
        if login.by_ssh:
            by_ssh = {"GIT_ALLOW_PROTOCOL": "ssh", "GIT_SSH_COMMAND": make_ssh_command(given), "GIT_SSH_VARIANT": "ssh"}
            return make_git_environ(environ, {}, home) | by_ssh
        settings = {"credentialsFor": find_origin(application.url)}
        return make_git_environ(environ | {"CREDENTIALS": str(given)}, settings, home)

    def _make_git(self, home: Path) -> Git:
        return Git(make_git_environ(self._environ, {"credentialsFor": OWN_SERVER}, home))
