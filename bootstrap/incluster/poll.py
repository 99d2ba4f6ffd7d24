"""Asks repositories for their branches, and starts a run for each commit that was not seen before.

Runs in the cluster as two CronJobs, on the standard library and git. `poller` asks the repositories of which no webhook
arrives. `reconciler` asks those whose pushes are announced, for a push whose event was lost. A repository is never
cloned. Runs are created first and the commits saved afterwards; a run's name follows from its commit. So no run is lost
or made twice when the program ends in between, when a second poller runs, or when a webhook brings the same push.

Environment: NAMESPACE, CRON_JOB (its name; the state is in the ConfigMap CRON_JOB-state), SETTINGS (file of JSON:
repositories, branches, first, run: the PipelineRun to fill in, credentialsFor: "scheme://host" or "", and the optional
fields of PollOptions), CREDENTIALS (folder with the files username and password), LOGINS (a file of git's configuration
with further logins, see bootstrap.settings.git_logins), EXTRA_CA; both may be missing. Ends with 1 if a repository
could not be read or a run not be created.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from bootstrap.incluster import poll_state
from bootstrap.incluster.json_object import Object
from bootstrap.incluster.kube_api import MERGE, Api, ApiFailure, write_event
from bootstrap.incluster.poll_state import RepositoryState
from bootstrap.incluster.retry_after import parse_retry_after
from bootstrap.incluster.run_names import BRANCH, COMMIT, TRIGGER, make_triggered_run_name, to_label_value
from bootstrap.incluster.text import one_line

WORKERS = 5  # each is git and its helper: some 12 MB
LIMIT_SECONDS = 20.0
"""Seconds that a repository is given to answer."""
MAX_LISTING_BYTES = 4_000_000
"""Bytes of an answer: some 40,000 branches."""
CHANGED_BYTES = 250_000
"""Of a list of changed files: some 5,000 names."""
COMPARING_KIB, FETCHED_KIB = 48 << 10, 64 << 10
"""Memory of a git process that compares two commits, and the largest file that it may write. 60,000 files in 3,000
folders took 37 MiB and 5 MiB.
"""
COMPARING = {
    "fetch.unpackLimit": "1",
    "maintenance.auto": "false",
    "pack.threads": "1",
    "core.deltaBaseCacheLimit": "8m",
    "core.packedGitWindowSize": "1m",
    "core.packedGitLimit": "16m",
}
"""Git's configuration for that: one pack, streamed."""
AT_ONCE = 20
"""Runs that one poll starts for one repository; those of further branches are left to the next poll."""
NAMED = 5
"""Branches that a message names."""
BUDGET = 180.0
"""Seconds after which no further repository is asked, so that the poll ends by itself within the Job's limit."""
PAUSE = 60.0
"""Seconds until a server that is overloaded is asked again, if it does not say itself."""
LONGEST = 86_400.0
"""The longest Retry-After that is obeyed, in seconds."""
BY_SSH = "Could not read from remote repository"
"""Git's last word where ssh could not connect."""
SYSTEM_CA = Path("/etc/ssl/certs/ca-certificates.crt")


class RepositoryUnreadable(Exception):
    """A repository could not be read; the text says why.

    retry_after: seconds of its server's Retry-After, 0 if none.
    """

    def __init__(self, why: str, retry_after: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after = retry_after


@dataclass(frozen=True)
class PollOptions:
    """What is polled.

    repositories: addresses. branches: names and patterns. run: the PipelineRun to fill in. first: "run" or "remember",
    see poll_state.find_changed. names: repositories that the webhook knows by name alone. quiet: addresses whose server
    notes pushes that are to start nothing, see poll_state.QUIET. grace: seconds that an event has to start the run of a
    commit that is new, before a run is made here. optional: a branch that is named need not be there.
    trigger: how the runs arrived, "poll" or "push".
    """

    repositories: Sequence[str]
    branches: Sequence[str]
    first: str
    run: Object
    names: Sequence[str] = ()
    quiet: Sequence[str] = ()
    grace: float = 0.0
    optional: bool = False
    trigger: str = "poll"


@dataclass(frozen=True)
class TreeEntry:
    """Something in a commit. path: from its top. mode: as git writes it. digest: of its content."""

    path: str
    mode: str
    digest: str

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return self.mode == "120000"

    @property
    def is_submodule(self) -> bool:
        """Whether it stands for another repository."""
        return self.mode == "160000"


Refs = Callable[[str, Sequence[str]], str]
"""(address, patterns of full references) -> the output of `git ls-remote`. Raises RepositoryUnreadable."""


class Poller:
    """Polls repositories, with its state in a ConfigMap.

    clock: seconds since the epoch. say: prints one line. sleep: waits so many seconds.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        refs: Refs,
        clock: Callable[[], float],
        say: Callable[[str], None],
        *,
        cron_job: str = "poller",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api = api
        self._cron_job = cron_job
        self._sleep = sleep
        self._runs = f"/apis/tekton.dev/v1/namespaces/{namespace}/pipelineruns"
        self._state = f"/api/v1/namespaces/{namespace}/configmaps/{cron_job}-state"
        self._namespace = namespace
        self._refs = refs
        self._clock = clock
        self._say = say

    def poll(self, settings: PollOptions) -> int:
        """Poll every repository; answers the exit code, 0 if all were read and all runs created.

        Raises ApiFailure if the state cannot be read.
        """
        kept = self._api.request("GET", self._state).get("data") or {}
        known = {url: kept.get(poll_state.make_key(url)) for url in settings.repositories}
        # What failed before comes last: servers that hang are not to keep the others waiting.
        urls = sorted(known, key=lambda url: bool(poll_state.load_state(known[url])[0].why))
        end = self._clock() + BUDGET

        def one(url: str) -> str:
            return self._poll_one(url, known[url], settings) if self._clock() < end else self._skip_late(url)

        with ThreadPoolExecutor(WORKERS) as pool:
            whys = list(pool.map(one, urls))
        failed = [f"{url}: {why}" for url, why in zip(urls, whys, strict=True) if why]
        if failed:
            self._write_event("; ".join(failed))
        return 1 if failed else 0

    def _poll_one(self, url: str, kept: str | None, settings: PollOptions) -> str:
        """Poll one repository; answers why that failed, or ""."""
        state, rubbish = poll_state.load_state(kept)
        if self._clock() < state.not_before <= self._clock() + LONGEST:
            why = f"not asked: its server asks for a pause of {state.not_before - self._clock():.0f} s"
            self._say(f"{url}: {why}")
            return why
        try:
            found, quiet = self._read_branches(url, settings)
            if settings.grace and poll_state.find_changed(state.note(quiet), found, settings.first):
                self._sleep(settings.grace)
                found, quiet = self._read_branches(url, settings)
        except RepositoryUnreadable as error:
            wait = self._clock() + error.retry_after if error.retry_after else 0.0
            new = RepositoryState(state.branches, str(error), wait, state.seen)
        else:
            new = self._start_runs(url, state.note(quiet), found, settings)
            missing = [] if settings.optional else poll_state.find_missing(found, settings.branches)
            if not new.why and missing:
                new = replace(new, why=f"there is no branch {missing[0]}{self._describe_others(url)}")
        if rubbish and not new.why:  # commits may have been passed over: somebody is to know
            new = replace(new, why=rubbish)
        if poll_state.dump_state(url, new) != kept:
            new = self._save_state(url, new)
        self._say(f"{url}: {new.why or f'branches known: {len(new.branches)}'}")
        return new.why

    def _read_branches(self, url: str, settings: PollOptions) -> tuple[dict[str, str], dict[str, str]]:
        """Watched branches with their commits, and those of them whose commit is to start nothing."""
        spaces = (poll_state.HEADS, poll_state.QUIET) if url in settings.quiet else (poll_state.HEADS,)
        listing = self._refs(url, [space + each for space in spaces for each in settings.branches])
        found = poll_state.select_watched(poll_state.parse_heads(listing), settings.branches)
        noted = poll_state.parse_heads(listing, poll_state.QUIET)
        return found, {name: commit for name, commit in found.items() if noted.get(name) == commit}

    def _skip_late(self, url: str) -> str:
        """Say that there was no time left for a repository; answers that as its failure."""
        why = f"not asked: the others took {BUDGET:g} s"
        self._say(f"{url}: {why}")
        return why

    def _start_runs(
        self, url: str, state: RepositoryState, found: Mapping[str, str], settings: PollOptions
    ) -> RepositoryState:
        """Create the runs of the commits that are new; answers the state afterwards."""
        unmade, why = [], ""
        for number, (branch, commit) in enumerate(poll_state.find_changed(state, found, settings.first).items()):
            if number >= AT_ONCE:
                unmade.append(branch)
                continue
            run = fill_run(settings.run, url, branch, commit, settings.names, settings.trigger)
            try:
                self._api.request("POST", self._runs, run)
                self._say(f"{url}: {branch} is at {commit[:12]}: run {run['metadata']['name']}")
            except ApiFailure as error:
                if error.status != 409:  # else it has its run
                    unmade.append(branch)
                    why = f"no run for {branch}: {error.strerror}"
        if len(unmade) and not why:
            self._say(f"{url}: {len(unmade)} more branches are left to the next poll")
        return poll_state.advance_state(state, found, settings.branches, unmade, why)

    def _describe_others(self, url: str) -> str:
        """Which branches the repository has, "" if it does not say: asked only where one is missing."""
        try:
            names = sorted(poll_state.parse_heads(self._refs(url, [f"{poll_state.HEADS}*"])))
        except RepositoryUnreadable:
            return ""
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return f"; there are: {', '.join(one_line(each)[:60] for each in names[:NAMED])}{more}" if names else ""

    def _save_state(self, url: str, state: RepositoryState) -> RepositoryState:
        patch = {"data": {poll_state.make_key(url): poll_state.dump_state(url, state)}}
        try:
            self._api.request("PATCH", self._state, patch, MERGE)
        except ApiFailure as error:
            return RepositoryState(state.branches, f"its state could not be kept: {error.strerror}", seen=state.seen)
        return state

    def _write_event(self, message: str) -> None:
        write_event(
            self._api.request,
            self._say,
            namespace=self._namespace,
            cron_job=self._cron_job,
            reason="PollFailed",
            message=message,
            seconds=self._clock(),
        )


def fill_run(
    run: Object, url: str, branch: str, commit: str, names: Sequence[str] = (), trigger: str = "poll"
) -> Object:
    """The PipelineRun of a commit, from the template `run`. The texts are set as values and never read as templates.

    names: see `run_names.make_run_prefix`. trigger: how it arrived.
    """
    made = copy.deepcopy(run)
    metadata = made.setdefault("metadata", {})
    metadata.pop("generateName", None)
    metadata["name"] = make_triggered_run_name(url, commit, names)
    labels = {TRIGGER: trigger, COMMIT: to_label_value(commit), BRANCH: to_label_value(branch)}
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), COMMIT: commit, BRANCH: branch}  # in full
    values = dict(zip(poll_state.FILLED, (url, commit, branch), strict=True))
    made["spec"]["params"] = [
        each | ({"value": values[each["name"]]} if each["name"] in values else {}) for each in made["spec"]["params"]
    ]
    return made


# -- the outside -------------------------------------------------------------------------------------


class Git:
    """What is asked of repositories, with limits. environ: of each git process, PATH included; see `git_environ`."""

    def __init__(
        self, environ: Mapping[str, str], *, limit: float = LIMIT_SECONDS, most: int = MAX_LISTING_BYTES
    ) -> None:
        self._environ = dict(environ)
        self._limit = limit
        self._most = most

    def list_refs(self, url: str, patterns: Sequence[str]) -> str:
        """The output of `git ls-remote` for the references of these patterns. Raises RepositoryUnreadable.

        `--heads` lets the server leave out tags and pull requests; it knows no patterns, so git applies those here.
        """
        heads = ["--heads"] if all(each.startswith(poll_state.HEADS) for each in patterns) else []
        argv = ["git", "ls-remote", *heads, "--", url, *patterns]
        with tempfile.TemporaryDirectory() as folder:
            said, headers = Path(folder, "said"), Path(folder, "headers")
            environ = self._environ | {"GIT_TRACE_CURL": str(headers), "GIT_TRACE_CURL_NO_DATA": "1"}
            try:
                code, listing, late = self._run(argv, environ, said)
            except OSError as error:
                raise RepositoryUnreadable(f"git does not start: {error.strerror}") from None
            if late:
                raise RepositoryUnreadable(f"no answer within {self._limit:g} s")
            if len(listing) > self._most:
                raise RepositoryUnreadable(f"the list of branches is longer than {self._most // 1_000_000} MB")
            if code:
                raise parse_git_error(_read_start(said), _read_start(headers), time.time())
        return listing.decode(errors="replace")

    def list_changed(self, url: str, before: str, after: str, folder: Path) -> list[str]:
        """The files that differ between two commits, wherever these are in the history. Raises RepositoryUnreadable.

        Only the two commits' folders are fetched, into `folder`, not the files; a server that knows no filter sends
        these as well. How much that may be is limited, and so is git's memory.
        """
        self._fetch(url, folder, [before, after], "blob:none")
        listing = self._run_within(
            folder, ["diff-tree", "-r", "-z", "--name-only", "--no-renames", before, after], config=_make_remote(url)
        )
        if len(listing) > CHANGED_BYTES:
            raise RepositoryUnreadable(f"the list of changed files is longer than {CHANGED_BYTES // 1000} kB")
        return [each for each in listing.decode(errors="replace").split("\0") if each]

    def list_entries(self, url: str, commit: str, path: str, folder: Path, *, most: int) -> list[TreeEntry]:
        """All that is below a folder of a commit, which is fetched into `folder`: files of at most `most` bytes alone.

        path: "" for the whole commit. Empty if there is no such folder. Raises RepositoryUnreadable.
        """
        self._fetch(url, folder, [commit], f"blob:limit={most + 1}")
        words = ["ls-tree", "-r", "-z", "--full-tree", commit, *(["--", f"{path}/"] if path else [])]
        listing = self._run_within(folder, words)
        if len(listing) > self._most:
            raise RepositoryUnreadable(f"the list of files is longer than {self._most // 1_000_000} MB")
        found = []
        for each in listing.decode(errors="replace").split("\0"):
            about, tab, name = each.partition("\t")
            if tab:
                mode, _, digest = about.split()
                found.append(TreeEntry(name, mode, digest))
        return found

    def read_blobs(self, digests: Sequence[str], folder: Path, *, most: int, total: int) -> dict[str, bytes | None]:
        """The contents of files of a commit that was fetched into `folder`, by their digests.

        None for one of more than `most` bytes. Raises RepositoryUnreadable, also for more than `total` bytes.
        """
        wanted = [*dict.fromkeys(digests)]
        asked = Path(folder, "asked")
        asked.write_text("".join(f"{each}\n" for each in wanted))
        told = self._run_within(folder, ["cat-file", "--batch-check"], stdin=asked).decode().splitlines()
        sizes = {each.split()[0]: int(each.split()[2]) for each in told if each.count(" ") == 2}
        small = [each for each in wanted if sizes.get(each, most + 1) <= most]
        if sum(sizes[each] for each in small) > total:
            raise RepositoryUnreadable(f"its files have more than {total // 1024} KiB together")
        asked.write_text("".join(f"{each}\n" for each in small))
        answer = self._run_within(folder, ["cat-file", "--batch"], stdin=asked) if small else b""
        found: dict[str, bytes | None] = dict.fromkeys(wanted)
        at = 0
        for each in small:
            begin = answer.index(b"\n", at) + 1
            at = begin + sizes[each] + 1
            found[each] = answer[begin : at - 1]
        return found

    def _fetch(self, url: str, folder: Path, commits: Sequence[str], objects: str) -> None:
        """Commits without their history into a new repository in `folder`. objects: which, as a filter of git's."""
        form = "sha1" if len(commits[0]) == 40 else "sha256"
        self._run_within(folder, ["init", "--quiet", "--bare", "--template=", f"--object-format={form}"])
        fetch = ["fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", f"--filter={objects}"]
        config = _make_remote(url) | {"remote.origin.partialclonefilter": objects}
        self._run_within(folder, [*fetch, "origin", *commits], config=config)

    def _run_within(
        self, folder: Path, words: Sequence[str], *, config: Mapping[str, str] = COMPARING, stdin: Path | None = None
    ) -> bytes:
        """The output of git in a repository, with limits to its memory and files. Raises RepositoryUnreadable."""
        said = Path(folder, "said")
        # ulimit -f counts 512 bytes.
        settings = [word for key, value in config.items() for word in ("-c", f"{key}={value}")]
        git = ["sh", "-c", f'ulimit -d {COMPARING_KIB} && ulimit -f {2 * FETCHED_KIB} && exec git "$@"', "git"]
        try:
            code, output, late = self._run([*git, "-C", str(folder), *settings, *words], self._environ, said, stdin)
        except OSError as error:
            raise RepositoryUnreadable(f"git does not start: {error.strerror}") from None
        if late:
            raise RepositoryUnreadable(f"no answer within {self._limit:g} s")
        if code and len(output) <= self._most:
            raise parse_git_error(_read_start(said), "", time.time())
        return output

    def _run(
        self, argv: Sequence[str], environ: Mapping[str, str], said: Path, stdin: Path | None = None
    ) -> tuple[int, bytes, bool]:
        """Run git; answers its exit code, its output up to one byte beyond the limit, and whether time ran out.

        A session of its own, ended as a whole: git's helper would hold the pipe open after git is gone.
        """
        with said.open("wb") as errors, (stdin or Path(os.devnull)).open("rb") as given:
            process = subprocess.Popen(
                argv,
                env=environ,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        late = threading.Event()

        def end() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        def expire() -> None:
            late.set()
            end()

        timer = threading.Timer(self._limit, expire)
        timer.start()
        try:
            with process:
                listing = process.stdout.read(self._most + 1) if process.stdout else b""
                if len(listing) > self._most:
                    end()
        finally:
            timer.cancel()
        return process.returncode, listing, late.is_set()


def _make_remote(url: str) -> dict[str, str]:
    """Git's configuration for a server that need not send every object."""
    return COMPARING | {"remote.origin.url": url, "remote.origin.promisor": "true"}


def _read_start(path: Path) -> str:
    """The first 100,000 characters of a file, "" if there is none."""
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(100_000)


def parse_git_error(said: str, headers: str, now: float) -> RepositoryUnreadable:
    """The cause in git's words, in at most 300 characters.

    said: its stderr. headers: its trace, the only place of the Retry-After header that an overloaded server sends.
    now: seconds since the epoch.
    """
    lines = [line for line in said.strip().splitlines() if line] or ["git failed"]
    told = next((line for line in lines if line.startswith("fatal:")), lines[-1]).removeprefix("fatal: ")
    if told.startswith(BY_SSH):
        told = _select_words_of_ssh(lines) or told
    why = one_line(told)[:300]
    if any(f"error: {status}" in why for status in (429, 503)):
        found = re.findall(r"Recv header: retry-after: *(.+)", headers, re.IGNORECASE)
        pause = parse_retry_after(found[-1], now) if found else None
        return RepositoryUnreadable(why, PAUSE if pause is None else min(max(pause, 1.0), LONGEST))
    return RepositoryUnreadable(why)


def _select_words_of_ssh(lines: Sequence[str]) -> str:
    """Why ssh could not connect: what stands before git's own words, without the frame of its warnings."""
    before = itertools.takewhile(lambda line: not line.startswith("fatal:"), lines)
    return " ".join([each for each in before if not each.startswith("@")][-2:])


def make_git_environ(environ: Mapping[str, str], settings: Mapping[str, Any], home: Path) -> dict[str, str]:
    """For git: the password is read from its file by git's own helper, for the one host that it is for."""
    authorities = home / "authorities.crt"
    extra = Path(environ.get("EXTRA_CA", ""))
    texts = [path.read_text() for path in (SYSTEM_CA, extra) if path.is_file()]
    authorities.write_text("\n".join(texts))
    config = {"protocol.version": "2", "http.lowSpeedLimit": "1", "http.lowSpeedTime": "15"}
    if settings.get("credentialsFor"):
        folder = environ.get("CREDENTIALS", "/etc/git-auth")
        parts = " ".join(f'"$(cat {shlex.quote(folder)}/{name})"' for name in ("username", "password"))
        helper = f'!f() {{ printf "username=%s\npassword=%s\n" {parts}; }}; f'
        config[f"credential.{settings['credentialsFor']}.helper"] = helper
    logins = environ.get("LOGINS", "")
    if logins and Path(logins).is_file():
        config["include.path"] = logins  # after the helper above, which it may take back
    made = {
        "PATH": environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "http:https",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TRACE_REDACT": "1",
        "GIT_SSL_CAINFO": str(authorities),
        "GIT_CONFIG_COUNT": str(len(config)),
    }
    for number, (key, value) in enumerate(config.items()):
        made |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return made | {name: value for name, value in environ.items() if name.lower().endswith("_proxy")}


def main(environ: Mapping[str, str]) -> int:
    """Poll as SETTINGS says; answers the exit code."""

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    found = json.loads(Path(environ["SETTINGS"]).read_text())
    settings = PollOptions(**{each.name: found[each.name] for each in fields(PollOptions) if each.name in found})
    with tempfile.TemporaryDirectory() as home:
        git = Git(make_git_environ(environ, found, Path(home)))
        api = Api.from_environ(environ)
        poller = Poller(api, environ["NAMESPACE"], git.list_refs, time.time, say, cron_job=environ["CRON_JOB"])
        try:
            return poller.poll(settings)
        except ApiFailure as error:
            say(f"the state could not be read: {error.strerror}")
            return 1


if __name__ == "__main__":
    sys.exit(main(os.environ))
