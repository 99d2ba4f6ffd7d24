"""Asks repositories for their branches, and starts a run for each commit that was not seen before.

Runs in the cluster as a CronJob, on the standard library and git. A repository is never cloned. Runs are created
first and the commits remembered afterwards; a run's name follows from its commit, so that nothing is lost or doubled
by an end in between, by a second poller, or by a push that was told as well.

Environment: NAMESPACE, SETTINGS (file of JSON: repositories, branches, first, run: the PipelineRun to fill in,
credentialsFor: "scheme://host" or ""), CREDENTIALS (folder with the files username and password), EXTRA_CA.
Ends with 1 if a repository could not be read or a run not be created.
"""

from __future__ import annotations

import copy
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap import polling
from bootstrap.agents.api import MERGE, Api, ApiFailure, event
from bootstrap.polling import State
from bootstrap.run_names import BRANCH, COMMIT, TRIGGER, arrived_name, label_value

Object = dict[str, Any]
STATE = "poller-state"
CRON_JOB = "poller"
WORKERS = 8
LIMIT = 20.0
"""Seconds that a repository is given to answer."""
PAUSE = 60.0
"""Seconds until a server that is overloaded is asked again, if it does not say itself."""
SYSTEM_CA = Path("/etc/ssl/certs/ca-certificates.crt")


class Unread(Exception):
    """Why a repository could not be read. retry_after: seconds that its server wants to be left alone."""

    def __init__(self, why: str, retry_after: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Settings:
    """run: the PipelineRun to fill in. first: "run" or "remember", see polling.changed."""

    repositories: Sequence[str]
    branches: Sequence[str]
    first: str
    run: Object


Refs = Callable[[str, Sequence[str]], str]
"""(address, patterns) -> the output of `git ls-remote`. Raises Unread."""


class Poller:
    """clock: seconds since the epoch. say: one line for people."""

    def __init__(
        self, api: Api, namespace: str, refs: Refs, clock: Callable[[], float], say: Callable[[str], None]
    ) -> None:
        self._api = api
        self._runs = f"/apis/tekton.dev/v1/namespaces/{namespace}/pipelineruns"
        self._state = f"/api/v1/namespaces/{namespace}/configmaps/{STATE}"
        self._events = f"/api/v1/namespaces/{namespace}/events"
        self._namespace = namespace
        self._refs = refs
        self._clock = clock
        self._say = say

    def poll(self, settings: Settings) -> int:
        """0 if all went well. Raises ApiFailure if the state cannot be read."""
        known = self._api.request("GET", self._state).get("data") or {}

        def one(url: str) -> str:
            return self._one(url, known.get(polling.key_of(url)), settings)

        with ThreadPoolExecutor(WORKERS) as pool:
            whys = list(pool.map(one, settings.repositories))
        failed = [f"{url}: {why}" for url, why in zip(settings.repositories, whys, strict=True) if why]
        if failed:
            self._warn("; ".join(failed))
        return 1 if failed else 0

    def _one(self, url: str, kept: str | None, settings: Settings) -> str:
        """Poll one repository; answers why it went wrong, or ""."""
        state, rubbish = polling.load(kept)
        if rubbish:
            self._say(f"{url}: {rubbish}")
        if state.not_before > self._clock():
            why = f"not asked: its server wants to be left alone for {state.not_before - self._clock():.0f} s"
            self._say(f"{url}: {why}")
            return why
        try:
            found = polling.watched(polling.heads(self._refs(url, settings.branches)), settings.branches)
        except Unread as error:
            wait = self._clock() + error.retry_after if error.retry_after else 0.0
            new = State(state.branches, str(error), wait, state.seen)
        else:
            new = self._start(url, state, found, settings)
        if polling.dump(url, new) != kept:
            new = self._keep(url, new)
        self._say(f"{url}: {new.why or f'branches known: {len(new.branches)}'}")
        return new.why

    def _start(self, url: str, state: State, found: Mapping[str, str], settings: Settings) -> State:
        unmade, why = [], ""
        missing = polling.absent(found, settings.branches)
        for branch, commit in polling.changed(state, found, settings.first).items():
            run = filled(settings.run, url, branch, commit)
            try:
                self._api.request("POST", self._runs, run)
                self._say(f"{url}: {branch} is at {commit[:12]}: run {run['metadata']['name']}")
            except ApiFailure as error:
                if error.status != 409:  # else it has its run
                    unmade.append(branch)
                    why = f"no run for {branch}: {error.strerror}"
        return polling.after(state, found, unmade, why or (f"there is no branch {missing[0]}" if missing else ""))

    def _keep(self, url: str, state: State) -> State:
        patch = {"data": {polling.key_of(url): polling.dump(url, state)}}
        try:
            self._api.request("PATCH", self._state, patch, MERGE)
        except ApiFailure as error:
            return State(state.branches, f"its state could not be kept: {error.strerror}", seen=state.seen)
        return state

    def _warn(self, text: str) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock()))
        try:
            self._api.request("POST", self._events, event(self._namespace, CRON_JOB, "PollFailed", text, now))
        except ApiFailure as error:
            self._say(f"no event could be written: {error.strerror}")


def filled(run: Object, url: str, branch: str, commit: str) -> Object:
    """The PipelineRun of a commit. Whatever stands in these texts is put in as a value, never as a template."""
    made = copy.deepcopy(run)
    metadata = made.setdefault("metadata", {})
    metadata.pop("generateName", None)
    metadata["name"] = arrived_name(url, commit)
    labels = {TRIGGER: "poll", COMMIT: label_value(commit), BRANCH: label_value(branch)}
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    values = {"REPO": url, "REVISION": commit}
    made["spec"]["params"] = [
        {**each, "value": values.get(each["name"], each["value"])} for each in made["spec"]["params"]
    ]
    return made


# -- the outside -------------------------------------------------------------------------------------


class Git:
    """`git ls-remote` with a limit. environ: of each git process, PATH included; see `git_environ`."""

    def __init__(self, environ: Mapping[str, str], *, limit: float = LIMIT) -> None:
        self._environ = dict(environ)
        self._limit = limit

    def refs(self, url: str, patterns: Sequence[str]) -> str:
        argv = ["git", "ls-remote", "--", url, *(f"{polling.HEADS}{each}" for each in patterns)]
        try:
            done = subprocess.run(
                argv,
                env=self._environ,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self._limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unread(f"no answer within {self._limit:g} s") from None
        if done.returncode == 0:
            return done.stdout
        raise unread(url, done.stderr)


def unread(url: str, said: str) -> Unread:
    """What git said, short. How long an overloaded server wants to be left alone is not among it, and is asked for."""
    lines = [line for line in said.strip().splitlines() if line] or ["git failed"]
    told = next((line for line in lines if line.startswith("fatal:")), lines[-1]).removeprefix("fatal: ")
    why = "".join(c if c.isprintable() else " " for c in told)[:300]
    if any(f"error: {status}" in why for status in (429, 503)):
        return Unread(why, retry_after(url))
    return Unread(why)


def retry_after(url: str) -> float:
    """Seconds of the server's Retry-After, PAUSE without one."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/info/refs?service=git-upload-pack", timeout=5):  # noqa: S310
            return PAUSE
    except urllib.error.HTTPError as error:
        told = error.headers.get("Retry-After") or ""
        return float(told) if told.isdigit() else PAUSE
    except (OSError, ValueError):
        return PAUSE


def git_environ(environ: Mapping[str, str], settings: Mapping[str, Any], home: Path) -> dict[str, str]:
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
    made = {
        "PATH": environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "http:https",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_SSL_CAINFO": str(authorities),
        "GIT_CONFIG_COUNT": str(len(config)),
    }
    for number, (key, value) in enumerate(config.items()):
        made |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return made | {name: value for name, value in environ.items() if name.lower().endswith("_proxy")}


def main(environ: Mapping[str, str]) -> int:
    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    found = json.loads(Path(environ["SETTINGS"]).read_text())
    settings = Settings(found["repositories"], found["branches"], found["first"], found["run"])
    with tempfile.TemporaryDirectory() as home:
        git = Git(git_environ(environ, found, Path(home)))
        poller = Poller(Api.of(environ), environ["NAMESPACE"], git.refs, time.time, say)
        try:
            return poller.poll(settings)
        except ApiFailure as error:
            say(f"the state could not be read: {error.strerror}")
            return 1


if __name__ == "__main__":
    sys.exit(main(os.environ))
