"""Deletes old runs; bootstrap.incluster.retention decides which. Or removes what ended runs left on the shared volume.

Runs in the cluster as two CronJobs, on the standard library. `cleanup` reads the runs in pages, retries when the API
server is busy, and deletes a run only in the version that it read: a run that has changed meanwhile stays until the
next time. `workspace-cleanup` has the variable WORKSPACE, and looks at nothing but the folders of runs in there; see
bootstrap.incluster.run_folders.

Runs are all PipelineRuns of the namespace, and the TaskRuns that the listener made by themselves (`webhook.debug`);
other TaskRuns go with their PipelineRun, or are not ours.

Environment: NAMESPACE, CRON_JOB (its name), WORKSPACE (folder, or ""), KEEP, DAYS, EXCLUDE (label selector, may be ""),
ARCHIVE (folder, or ""), DRY_RUN ("on", "off"). Ends with 1 if a variable is wrong, the runs could not be listed, or one
could not be archived, deleted or removed; an event tells it too.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from bootstrap.incluster import retention, run_folders
from bootstrap.incluster.json_object import Object
from bootstrap.incluster.kube_api import Api, ApiFailure, write_event
from bootstrap.incluster.patient_api import PatientApi

TEKTON = "tekton.dev/v1"
KINDS = {"pipelineruns": "", "taskruns": "!tekton.dev/pipelineRun,triggers.tekton.dev/eventlistener"}
"""What is cleaned up -> selector of those that are ours."""
WORKERS = 4
LOG_LINES, LOG_BYTES = 20_000, 2_000_000
"""Of each step's log in the archive: the last lines, and of these no more bytes."""
FOLDER_SECONDS = 600
"""How long the folder of a run that is over stays: pods of one that was cancelled may still end."""
CHANGED, GONE = 409, 404
"""HTTP statuses."""


@dataclass(frozen=True)
class CleanupOptions:
    """What a cleanup deletes.

    keep: the newest runs of each pipeline and result that stay. days: younger runs stay, may be a fraction. exclude:
    label selector of runs that stay. archive: folder for what is deleted, None for none.
    """

    keep: int
    days: float
    exclude: str = ""
    archive: Path | None = None
    dry_run: bool = False


class Cleanup:
    """Deletes the old runs of one namespace, or their folders.

    clock: seconds since the epoch. sleep: seconds. say: prints one line. cron_job: of which events tell.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        cron_job: str = "cleanup",
    ) -> None:
        self._api = PatientApi(api, sleep)
        self._cron_job = cron_job
        self._namespace = namespace
        self._say = say
        self._clock = clock

    def start(self, environ: Mapping[str, str]) -> int:
        """As `run`, with the options of these variables. Deletes nothing and answers 1 if one of them is wrong."""
        try:
            settings = read_options(environ)
        except ValueError as error:
            self._say(str(error))
            self._write_event(str(error))
            return 1
        workspace = environ.get("WORKSPACE", "")
        return self.run_folders(Path(workspace), dry_run=settings.dry_run) if workspace else self.run(settings)

    def run(self, settings: CleanupOptions) -> int:
        """Delete the old runs, and write an event about failures.

        Answers the exit code: 0 if each old run is deleted or has changed meanwhile.
        """
        try:
            failed = self.clean(settings)
        except ApiFailure as error:
            failed = [f"the runs could not be listed: {error.strerror}"]
            self._say(failed[0])
        if failed:
            self._write_event("; ".join(failed))
        return 1 if failed else 0

    def run_folders(self, volume: Path, *, dry_run: bool) -> int:
        """Remove the folders of runs that are over or gone, and write an event about failures.

        Answers the exit code: 0 if each of them is removed. Nothing is, if the runs cannot be listed.
        """
        try:
            folders = run_folders.list_run_folders(volume)
            runs = self._list(TEKTON, "pipelineruns", "")
            limit = _format_time(self._clock() - FOLDER_SECONDS)
            under_way = {run["metadata"]["name"] for run in runs if _is_under_way(run, limit)}
        except OSError as error:
            failed = [f"the folders of runs could not be compared with the runs: {error.strerror or error}"]
            self._say(failed[0])
        else:
            failed = [
                why
                for each in run_folders.find_left_over(folders, under_way)
                if (why := self._remove_folder(volume, each, dry_run=dry_run))
            ]
            self._say(f"folders of runs: {len(folders)}, in use: {len(under_way & set(folders))}")
        if failed:
            self._write_event("; ".join(failed))
        return 1 if failed else 0

    def _remove_folder(self, volume: Path, run: str, *, dry_run: bool) -> str:
        """Remove the folder of a run; answers why that failed, or ""."""
        if dry_run:
            self._say(f"would remove the folder of {run}")
            return ""
        try:
            run_folders.remove_run_folder(volume, run)
        except OSError as error:
            why = f"the folder of {run}: {error.strerror or error}"
            self._say(f"kept {why}")
            return why
        self._say(f"removed the folder of {run}")
        return ""

    def clean(self, settings: CleanupOptions) -> list[str]:
        """Delete the old runs; answers those that could not be, each with its cause.

        Raises ApiFailure if listing fails.
        """
        total, old = 0, list[tuple[str, Object]]()
        for plural, selector in KINDS.items():
            runs = [retention.trim_run(run) for run in self._list(TEKTON, plural, selector)]
            total += len(runs)
            old += [(plural, run) for run in self._find_expired(plural, runs, settings)]
        with ThreadPoolExecutor(WORKERS) as pool:
            results = list(pool.map(lambda each: self._remove(each[0], each[1], settings), old))
        failed = [why for _, why in results if why]
        gone = sum(gone for gone, _ in results)
        counts = ((len(old) - gone - len(failed), "changed meanwhile"), (len(failed), "failed"))
        more = "".join(f", {number} {what}" for number, what in counts if number)
        self._say(f"{total} runs, {gone} {'to delete' if settings.dry_run else 'deleted'}{more}")
        return failed

    def _find_expired(self, plural: str, runs: list[Object], settings: CleanupOptions) -> list[Object]:
        """The runs to delete.

        The API server evaluates the selector, after the runs were read: a run that is labelled later has another
        version then, and its deletion is refused.
        """
        excluded: set[str] = set()
        if settings.exclude:
            selector = ",".join(filter(None, (KINDS[plural], settings.exclude)))
            excluded = {run["metadata"]["uid"] for run in self._list(TEKTON, plural, selector)}
        limit = _format_time(self._clock() - settings.days * 86_400)
        return retention.find_expired(runs, settings.keep, excluded, limit)

    def _remove(self, plural: str, run: Object, settings: CleanupOptions) -> tuple[bool, str]:
        """Archive and delete one run; answers (whether it is deleted, or would be; why that failed, or "")."""
        name, told = run["metadata"]["name"], f"{retention.read_outcome(run)} {retention.read_finish_time(run)}"
        if settings.dry_run:
            self._say(f"would delete {name} ({told})")
            return True, ""
        try:
            if settings.archive:
                self._archive(plural, run, settings.archive)
            self._delete(plural, run)
        except OSError as error:
            if isinstance(error, ApiFailure) and error.status == CHANGED:
                self._say(f"kept {name}: it has changed meanwhile")
                return False, ""
            if not isinstance(error, ApiFailure) or error.status != GONE:
                why = f"{name}: {error.strerror or error}"
                self._say(f"kept {why}")
                return False, why
        self._say(f"deleted {name} ({told})")
        return True, ""

    def _delete(self, plural: str, run: Object) -> None:
        """Delete a run in the version that was read. Raises ApiFailure: CHANGED if there is another now, GONE."""
        metadata = run["metadata"]
        only = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background", "preconditions": only}
        self._api.request("DELETE", self._path(TEKTON, plural, metadata["name"]), body)

    def _archive(self, plural: str, run: Object, folder: Path) -> None:
        """Write one file per run: the run, its TaskRuns and the logs of their steps. Raises ApiFailure and OSError.

        Written under a unique name, then renamed: a cleanup by hand may write the same run at the same time.
        """
        name, uid = run["metadata"]["name"], run["metadata"]["uid"]
        whole = self._api.request("GET", self._path(TEKTON, plural, name))
        if whole["metadata"]["resourceVersion"] != run["metadata"]["resourceVersion"]:
            raise ApiFailure(CHANGED, "it has changed")
        task_runs = list(self._list(TEKTON, "taskruns", f"tekton.dev/pipelineRun={name}"))
        logs = {}
        for task_run in [*task_runs, whole]:  # a PipelineRun has no steps of its own
            status = task_run.get("status") or {}
            for step in status.get("steps") or ():
                logs[f"{task_run['metadata']['name']}/{step['name']}"] = self._read_log(status.get("podName"), step)
        file = folder / f"{name}-{uid[:8]}.json.gz"
        aside = file.with_name(f".{file.name}-{secrets.token_hex(4)}")
        try:
            with aside.open("wb") as raw:
                with gzip.open(raw, "wt", encoding="utf-8") as packed:
                    json.dump({"run": whole, "taskRuns": task_runs, "logs": logs}, packed)
                raw.flush()
                os.fsync(raw.fileno())
            aside.replace(file)
        finally:
            aside.unlink(missing_ok=True)

    def _read_log(self, pod: str | None, step: Object) -> str | None:
        """The log of a step; None when it was deleted with its pod. Raises ApiFailure."""
        query = urlencode({"container": step.get("container", ""), "tailLines": LOG_LINES, "limitBytes": LOG_BYTES})
        path = f"{self._path('v1', 'pods', pod or '-')}/log?{query}"
        try:
            return self._api.read(path).decode(errors="replace")
        except ApiFailure as error:
            if error.status in (400, GONE):
                return None
            raise

    def _list(self, api_version: str, plural: str, selector: str) -> Iterator[Object]:
        return self._api.list_objects(self._path(api_version, plural), selector)

    def _path(self, api_version: str, plural: str, name: str = "") -> str:
        root = "/api/v1" if api_version == "v1" else f"/apis/{api_version}"
        return f"{root}/namespaces/{self._namespace}/{plural}" + (f"/{quote(name, safe='')}" if name else "")

    def _write_event(self, message: str) -> None:
        write_event(
            self._api.request,
            self._say,
            namespace=self._namespace,
            cron_job=self._cron_job,
            reason="CleanupFailed",
            message=message,
            seconds=self._clock(),
        )


def _is_under_way(run: Object, limit: str) -> bool:
    """Whether the run is not over, or ended after `limit`."""
    return not retention.read_outcome(run) or retention.read_finish_time(run) > limit


def _format_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def read_options(environ: Mapping[str, str]) -> CleanupOptions:
    """The options of these variables.

    Raises ValueError for every doubt: people edit a CronJob by hand, and what is misread here is deleted.
    """
    keep, days, dry_run = environ.get("KEEP", ""), environ.get("DAYS", ""), environ.get("DRY_RUN", "off")
    if not re.fullmatch(r"[0-9]{1,9}", keep):
        raise ValueError(f"KEEP is {keep!r}, and not a whole number of 0 or more")
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,9})?", days):
        raise ValueError(f"DAYS is {days!r}, and not a number of 0 or more")
    if dry_run not in ("on", "off"):
        raise ValueError(f"DRY_RUN is {dry_run!r}, and not on or off")
    archive = environ.get("ARCHIVE", "")
    return CleanupOptions(
        int(keep), float(days), environ.get("EXCLUDE", ""), Path(archive) if archive else None, dry_run == "on"
    )


def main(environ: Mapping[str, str]) -> int:
    """Clean up as the variables say; answers the exit code."""

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    with closing(Api.from_environ(environ)) as api:
        return Cleanup(api, environ["NAMESPACE"], say, cron_job=environ.get("CRON_JOB", "cleanup")).start(environ)


if __name__ == "__main__":
    sys.exit(main(os.environ))
