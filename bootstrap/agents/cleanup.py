"""Deletes old runs; which, is in bootstrap.retention.

Runs in the cluster as a CronJob, on the standard library. Pages through any number of runs, is gentle with the API
server, and deletes a run only as it was seen: one that has changed meanwhile stays for the next time.

Environment: NAMESPACE, KEEP, DAYS, EXCLUDE (label selector, may be ""), ARCHIVE (folder, or ""), DRY_RUN ("on", "off").
Ends with 1 if something could not be archived or deleted.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from bootstrap import retention
from bootstrap.agents.api import Api, ApiFailure, event

Object = dict[str, Any]
CRON_JOB = "cleanup"
PAGE = 500
WORKERS = 8
TRIES = 5
LOG_BYTES = 2_000_000
"""Of each step's log in the archive, its beginning."""
EXPIRED = 410
"""Status of a page whose list is too old to be gone on with."""


@dataclass(frozen=True)
class Settings:
    """days: may be a fraction. archive: None for none."""

    keep: int
    days: float
    exclude: str = ""
    archive: Path | None = None
    dry_run: bool = False


class Cleanup:
    """clock: seconds since the epoch. say: one line for people."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._say = say
        self._clock = clock
        self._sleep = sleep

    def clean(self, settings: Settings) -> int:
        """0 if everything that was to go is gone. Raises ApiFailure if the runs cannot be listed."""
        runs = list(self._list("tekton.dev/v1", "pipelineruns", ""))
        excluded: set[str] = set()
        if settings.exclude:
            excluded = {run["metadata"]["uid"] for run in self._list("tekton.dev/v1", "pipelineruns", settings.exclude)}
        limit = _rfc3339(self._clock() - settings.days * 86_400)
        old = retention.expired(runs, settings.keep, excluded, limit)
        with ThreadPoolExecutor(WORKERS) as pool:
            failed = [why for why in pool.map(lambda run: self._remove(run, settings), old) if why]
        done = "to delete" if settings.dry_run else "deleted"
        self._say(f"{len(runs)} runs, {len(old) - len(failed)} {done}" + (f", {len(failed)} failed" if failed else ""))
        if failed:
            self._warn(f"{len(failed)} runs stay: {failed[0]}")
        return 1 if failed else 0

    def _remove(self, run: Object, settings: Settings) -> str:
        """Answers why the run stays although it was to go, or ""."""
        name, told = run["metadata"]["name"], f"{retention.outcome(run)} {retention.finished(run)}"
        if settings.dry_run:
            self._say(f"would delete {name} ({told})")
            return ""
        try:
            if settings.archive:
                self._archive(run, settings.archive)
            self._delete(run)
        except OSError as error:
            why = f"{name}: {error.strerror or error}"
            self._say(f"kept {why}")
            return why
        self._say(f"deleted {name} ({told})")
        return ""

    def _delete(self, run: Object) -> None:
        """Gone already is fine. Raises ApiFailure, 409 if it has changed since it was seen."""
        metadata = run["metadata"]
        only = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background", "preconditions": only}
        try:
            self._ask("DELETE", self._path("tekton.dev/v1", "pipelineruns", metadata["name"]), body)
        except ApiFailure as error:
            if error.status != 404:
                raise

    def _archive(self, run: Object, folder: Path) -> None:
        """One file per run: the run, its TaskRuns and what their steps printed. Written aside, then renamed."""
        name = run["metadata"]["name"]
        task_runs = list(self._list("tekton.dev/v1", "taskruns", f"tekton.dev/pipelineRun={name}"))
        logs = {}
        for task_run in task_runs:
            status = task_run.get("status") or {}
            for step in status.get("steps") or ():
                logs[f"{task_run['metadata']['name']}/{step['name']}"] = self._log(status.get("podName"), step)
        aside = folder / f".{name}.json.gz"
        with gzip.open(aside, "wt", encoding="utf-8") as file:
            json.dump({"run": run, "taskRuns": task_runs, "logs": logs}, file)
        aside.replace(folder / f"{name}-{run['metadata']['uid'][:8]}.json.gz")

    def _log(self, pod: str | None, step: Object) -> str:
        """Of a step; empty when the pod is gone."""
        query = urlencode({"container": step.get("container", ""), "limitBytes": LOG_BYTES})
        try:
            return self._api.read(f"{self._path('v1', 'pods', pod or '-')}/log?{query}").decode(errors="replace")
        except ApiFailure as error:
            if error.status in (400, 404):
                return ""
            raise

    def _list(self, api_version: str, plural: str, selector: str) -> Iterator[Object]:
        """All of them, in pages. A list that got too old meanwhile is begun anew; nothing is told twice."""
        seen: set[str] = set()
        token = ""
        while True:
            query = {"limit": str(PAGE), "labelSelector": selector, "continue": token}
            try:
                page = self._ask("GET", f"{self._path(api_version, plural)}?{urlencode(query)}")
            except ApiFailure as error:
                if error.status != EXPIRED or not token:
                    raise
                token = ""
                continue
            for each in page.get("items") or ():
                if each["metadata"]["uid"] not in seen:
                    seen.add(each["metadata"]["uid"])
                    yield each
            token = (page.get("metadata") or {}).get("continue") or ""
            if not token:
                return

    def _ask(self, method: str, path: str, body: Any = None) -> Object:
        """Asks again, later, when the server is busy or does not answer."""
        for attempt in range(TRIES - 1):
            try:
                return self._api.request(method, path, body)
            except ApiFailure as error:
                if error.status not in (0, 429) and error.status < 500:
                    raise
                self._sleep(min(30.0, error.retry_after if error.retry_after is not None else 2.0**attempt / 2))
        return self._api.request(method, path, body)

    def _path(self, api_version: str, plural: str, name: str = "") -> str:
        root = "/api/v1" if api_version == "v1" else f"/apis/{api_version}"
        return f"{root}/namespaces/{self._namespace}/{plural}" + (f"/{quote(name, safe='')}" if name else "")

    def _warn(self, text: str) -> None:
        now = _rfc3339(self._clock())
        try:
            self._ask("POST", self._path("v1", "events"), event(self._namespace, CRON_JOB, "CleanupFailed", text, now))
        except ApiFailure as error:
            self._say(f"no event could be written: {error.strerror}")


def _rfc3339(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def settings_of(environ: Mapping[str, str]) -> Settings:
    return Settings(
        keep=int(environ["KEEP"]),
        days=float(environ["DAYS"]),
        exclude=environ.get("EXCLUDE", ""),
        archive=Path(environ["ARCHIVE"]) if environ.get("ARCHIVE") else None,
        dry_run=environ.get("DRY_RUN", "off") == "on",
    )


def main(environ: Mapping[str, str]) -> int:
    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    try:
        return Cleanup(Api.of(environ), environ["NAMESPACE"], say).clean(settings_of(environ))
    except ApiFailure as error:
        say(f"the runs could not be listed: {error.strerror}")
        return 1


if __name__ == "__main__":
    sys.exit(main(os.environ))
