"""Git repositories as the manager asks them, by git's own client."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bootstrap.incluster import poll_state
from bootstrap.incluster.applications import OWN_SERVER, Application
from bootstrap.incluster.path_patterns import has_match
from bootstrap.incluster.poll import Git, RepositoryUnreadable, make_git_environ
from bootstrap.manager.branch_heads import list_patterns

LOG = logging.getLogger("manager")


class Repositories:
    """environ: PATH, and the variables CREDENTIALS, LOGINS and EXTRA_CA, see `poll.make_git_environ`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)

    def read_heads(self, application: Application) -> tuple[dict[str, str], dict[str, str]]:
        """(branch -> commit of those that are watched, branch -> commit that is to start nothing).

        Raises RepositoryUnreadable.
        """
        patterns = list_patterns(application)
        spaces = (poll_state.HEADS, poll_state.QUIET) if application.is_hosted else (poll_state.HEADS,)
        with tempfile.TemporaryDirectory() as home:
            git = self._make_git(Path(home))
            listing = git.list_refs(application.url, [space + each for space in spaces for each in patterns])
        heads = poll_state.select_watched(poll_state.parse_heads(listing), patterns)
        return dict(heads), dict(poll_state.parse_heads(listing, poll_state.QUIET))

    def concerns(self, application: Application, before: str, after: str) -> bool:
        """Whether one of the application's paths differs between two commits; True where that cannot be told.

        before: "" if there is none to compare with.
        """
        if not application.paths or not before:
            return True
        with tempfile.TemporaryDirectory() as home:
            try:
                changed = self._make_git(Path(home)).list_changed(application.url, before, after, Path(home))
            except RepositoryUnreadable as error:
                LOG.info("%s: %s and %s are not compared: %s", application.name, before[:12], after[:12], error)
                return True
        return has_match(application.paths, changed)

    def _make_git(self, home: Path) -> Git:
        return Git(make_git_environ(self._environ, {"credentialsFor": OWN_SERVER}, home))
