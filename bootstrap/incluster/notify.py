"""Tells the outside how a PipelineRun ended, and removes the run's directory from the shared volume.

Runs as the last task of the pipeline, inside the cluster, on the standard library alone. What it says
is read from the API: a `finally` task that took results of other tasks as parameters would be skipped
exactly when one of them failed. It never fails the run; what became of the notification is its result.

Environment: RUN, NAMESPACE, TASKS_STATUS (Tekton's `$(tasks.status)`), RESULT (file for the outcome),
WORKSPACE (mounted volume, or ""), EXTRA_CA (file of further authorities, may be missing), NOTIFY_KIND
("none", "generic", or a robot's name; by default whether there is an address), NOTIFY_URL and NOTIFY_SECRET (secret).
"""

from __future__ import annotations

import calendar
import http.client
import json
import os
import re
import shutil
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from bootstrap.incluster import chat_formats
from bootstrap.incluster.chat_formats import Answer
from bootstrap.incluster.kube_api import Api
from bootstrap.incluster.rate_limit import PATIENCE, Turns
from bootstrap.incluster.retry_after import parse_retry_after
from bootstrap.incluster.text import clean, one_line

Object = dict[str, Any]
Get = Callable[[str], bytes]
"""Path and query on the API server -> body. Raises OSError (any failure, and any status but 200)."""
Post = Callable[[str, bytes], Answer]
"""Address, JSON -> what the other side said. Raises OSError."""
Turn = Callable[[], str]
"""Waits until one more message may be sent; answers why none may, or ""."""

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
TAIL_LINES = 10
TAIL_CHARACTERS = 4000
ATTEMPTS = 3
ANSWER_BYTES = 10_000
SECONDS = 10.0
"""Of one request: the run is over, and nobody should wait long for an address that does not answer."""
LIMIT = 90.0
"""Seconds of all attempts together. Tekton gives the task two minutes, and fails the run when they are over."""


# -- what is said ------------------------------------------------------------------------------------


def compose(run: Object, task_runs: Sequence[Object], status: str, tail: str, now: float) -> Object:
    """The message. status: `$(tasks.status)`. now: seconds since the epoch; the duration is in whole seconds."""
    params = {one["name"]: one.get("value", "") for one in _at(run, "spec", "params") or ()}
    results = _results(task_runs)
    failed = failed_task(task_runs)
    return {
        "pipelineRun": _at(run, "metadata", "name") or "",
        "namespace": _at(run, "metadata", "namespace") or "",
        "status": outcome_of(run, task_runs, status),
        "repository": _without_credentials(str(params.get("REPO", ""))),
        "branch": _branch(run, results, str(params.get("REVISION", ""))),
        "commit": results.get("commit") or _mark(run, "commit"),
        "author": results.get("author", ""),
        "message": results.get("message", ""),
        "image": params.get("IMAGE", ""),
        "digest": results.get("image-digest", ""),
        "durationSeconds": _seconds_since(_at(run, "status", "startTime"), now),
        "failedTask": _task_name(failed) if failed else "",
        "logTail": tail,
    }


def outcome_of(run: Object, task_runs: Sequence[Object], status: str) -> str:
    """ "succeeded", "failed", "cancelled" or "timed out". The run itself is not over while its last task runs."""
    if str(_at(run, "spec", "status") or "").startswith(("Cancelled", "StoppedRun")):
        return "cancelled"
    if any(_timed_out(each) for each in task_runs):
        return "timed out"
    return "succeeded" if status in ("Succeeded", "Completed") and failed_task(task_runs) is None else "failed"


def _timed_out(task_run: Object) -> bool:
    """By a limit of its own, or by that of the run (Pipelines v1.9, pkg/apis/pipeline/v1/taskrun_types.go)."""
    reasons = {one.get("reason") for one in _at(task_run, "status", "conditions") or ()}
    return "TaskRunTimeout" in reasons or "has timed out" in str(_at(task_run, "spec", "statusMessage") or "")


def failed_task(task_runs: Sequence[Object]) -> Object | None:
    """The TaskRun that failed, the earliest if there are several."""
    failed = [one for one in task_runs if _succeeded(one) == "False"]
    return min(failed, key=lambda one: str(_at(one, "status", "completionTime") or "~")) if failed else None


def failed_container(task_run: Object) -> tuple[str, str]:
    """(pod, container) of the step that ended first with a code other than 0; ("", "") if no step did."""
    for step in _at(task_run, "status", "steps") or ():
        if (_at(step, "terminated", "exitCode") or 0) != 0:
            return str(_at(task_run, "status", "podName") or ""), str(step.get("container", ""))
    return "", ""


def last_lines(text: str) -> str:
    """The end of a log, up to TAIL_CHARACTERS, without empty lines and without what a terminal would act on."""
    lines = [line.rstrip() for line in clean(text).replace("\t", " ").splitlines()]
    return "\n".join(line for line in lines if line)[-TAIL_CHARACTERS:]


def _branch(run: Object, results: Mapping[str, str], asked: str) -> str:
    """What the run was started for; a run of one commit may still be marked with its branch."""
    named = "" if COMMIT.fullmatch(asked) else asked.removeprefix("refs/heads/")
    return _mark(run, "branch") or results.get("branch") or named


def _mark(run: Object, key: str) -> str:
    metadata = _at(run, "metadata") or {}
    name = f"tekton-bootstrap.dev/{key}"
    return str(_at(metadata, "annotations", name) or _at(metadata, "labels", name) or "")


def _results(task_runs: Sequence[Object]) -> dict[str, str]:
    pairs = ((one["name"], one["value"]) for task in task_runs for one in _at(task, "status", "results") or ())
    return {name: value.strip() for name, value in pairs if isinstance(value, str)}


def _succeeded(task_run: Object) -> str:
    conditions = _at(task_run, "status", "conditions") or ()
    return next((str(one.get("status")) for one in conditions if one.get("type") == "Succeeded"), "Unknown")


def _task_name(task_run: Object) -> str:
    return str(_at(task_run, "metadata", "labels", "tekton.dev/pipelineTask") or _at(task_run, "metadata", "name"))


def _seconds_since(start: str | None, now: float) -> int:
    return max(0, round(now - calendar.timegm(time.strptime(start, "%Y-%m-%dT%H:%M:%SZ")))) if start else 0


def _without_credentials(url: str) -> str:
    parts = _split(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _split(url: str) -> SplitResult:
    """As urlsplit, but an address that is none has no host instead of raising."""
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")


def _at(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


# -- what is done ------------------------------------------------------------------------------------


def gather(get: Get, namespace: str, run: str, status: str, now: float) -> Object:
    """Read the run and its TaskRuns, and compose. Raises OSError when the API does not answer."""
    runs = f"/apis/tekton.dev/v1/namespaces/{quote(namespace, safe='')}"
    selector = urlencode({"labelSelector": f"tekton.dev/pipelineRun={run}"})
    task_runs = json.loads(get(f"{runs}/taskruns?{selector}")).get("items") or []
    one = json.loads(get(f"{runs}/pipelineruns/{quote(run, safe='')}"))
    return compose(one, task_runs, status, _tail(get, namespace, failed_task(task_runs)), now)


def _tail(get: Get, namespace: str, task_run: Object | None) -> str:
    if task_run is None:
        return ""
    pod, container = failed_container(task_run)
    reason = next((str(one.get("message", "")) for one in _at(task_run, "status", "conditions") or ()), "")
    if not pod:
        return last_lines(reason)
    query = urlencode({"container": container, "tailLines": TAIL_LINES})
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}/log?{query}"
    try:
        return last_lines(get(path).decode(errors="replace")) or last_lines(reason)
    except OSError:
        return last_lines(reason)


@dataclass(frozen=True)
class Way:
    """Where to and how. kind: "generic" or a robot. clock: seconds since the epoch."""

    kind: str
    url: str
    secret: str
    post: Post
    turn: Turn
    sleep: Callable[[float], None]
    clock: Callable[[], float]


def send(way: Way, message: Object) -> str:
    """POST, again when the other side is busy. Answers "sent", "failed: REASON" or "held back: REASON"."""
    if _split(way.url).scheme not in ("http", "https") or not _split(way.url).hostname:
        return "failed: the address is not an http or https address"
    found = chat_formats.Verdict("nothing was sent")
    for attempt in range(ATTEMPTS):
        if attempt:
            pause = max(found.after, float(attempt))
            if pause > PATIENCE:
                return f"failed: {found.why}, and it wants to be left alone for {pause:g} s"
            way.sleep(pause)
        held = way.turn()
        if held:
            return f"held back: {held}"
        found = _once(way, message)
        if not found.why:
            return "sent"
        if not found.busy:
            break
    return f"failed: {found.why}"


def _once(way: Way, message: Object) -> chat_formats.Verdict:
    url, body = way.url, message
    if way.kind in chat_formats.ROBOTS:
        url, body = chat_formats.request(way.kind, way.url, way.secret, message, way.clock())
    try:
        return chat_formats.verdict(way.kind, way.post(url, chat_formats.encode(body)))
    except (OSError, ValueError, http.client.HTTPException) as error:
        return chat_formats.Verdict(reason(error), busy=True)


def reason(error: BaseException) -> str:
    """Short, and without the address, which may hold a token."""
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    cause = inner if isinstance(inner, BaseException) else error
    text = cause.strerror if isinstance(cause, OSError) else ""
    return one_line(text or type(cause).__name__)[:200]


def notify(environ: Mapping[str, str], get: Get, way: Callable[[str, str], Way], now: float) -> str:
    """Answers "off", "sent", "held back: REASON" or "failed: REASON". way: (kind, address) -> how to send."""
    url = environ.get("NOTIFY_URL", "").strip()
    kind = environ.get("NOTIFY_KIND", "").strip() or ("generic" if url else "none")
    if kind == "none":
        return "off"
    if kind != "generic" and kind not in chat_formats.ROBOTS:
        return f"failed: {one_line(kind)[:40]} is not a kind of notification"
    try:
        message = gather(get, environ["NAMESPACE"], environ["RUN"], environ.get("TASKS_STATUS", ""), now)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"failed: the run could not be read ({reason(error)})"
    return send(way(kind, url), message)


def line(outcome: str, url: str) -> str:
    """What a reader of the log is told; of the address only the host."""
    host = _split(url).hostname or "no address"
    if outcome == "off":
        return "notifications are off"
    return f"notification to {host}: {outcome}"


def within(limit: float, do: Callable[[], str]) -> str:
    """What `do` answers, or that it took too long; whatever hangs then (a name that is looked up, an answer that comes
    byte by byte) is left behind, and ends with the program."""
    found: list[str] = []

    def run() -> None:
        try:
            found.append(do())
        except Exception as error:  # noqa: BLE001  whatever is wrong with a notification, the run is not
            found.append(f"failed: {reason(error)}")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit)
    return found[0] if found else f"failed: not sent within {limit:g} s"


def remove_run(workspace: str, run: str) -> None:
    """Remove the run's own directory below `workspace`, and nothing else."""
    if workspace and run and run == Path(run).name and run not in (".", ".."):
        shutil.rmtree(Path(workspace) / run, ignore_errors=True)


# -- the outside -------------------------------------------------------------------------------------


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its body."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def poster(extra_ca: str) -> Post:
    """POST over the system's authorities and those of the file `extra_ca`, if it is there."""

    def post(url: str, body: bytes) -> Answer:
        context = ssl.create_default_context()
        if extra_ca and Path(extra_ca).is_file():
            context.load_verify_locations(cafile=extra_ca)
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirect())
        headers = {"Content-Type": "application/json", "User-Agent": "tekton-bootstrap"}
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310  checked in send
        try:
            with opener.open(request, timeout=SECONDS) as answer:
                return Answer(int(answer.status), answer.read(ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            return Answer(error.code, b"", parse_retry_after(error.headers.get("Retry-After") or "", time.time()))

    return post


def main(environ: Mapping[str, str]) -> int:
    def way(kind: str, url: str) -> Way:
        turns = Turns(Api.of(environ), environ["NAMESPACE"], time.sleep, time.time)
        turn = turns.take if kind in chat_formats.ROBOTS else lambda: ""
        post = poster(environ.get("EXTRA_CA", ""))
        return Way(kind, url, environ.get("NOTIFY_SECRET", "").strip(), post, turn, time.sleep, time.time)

    outcome = within(LIMIT, lambda: notify(environ, lambda path: Api.of(environ).read(path), way, time.time()))
    sys.stdout.write(line(outcome, environ.get("NOTIFY_URL", "")) + "\n")
    Path(environ["RESULT"]).write_text(outcome[:500])
    remove_run(environ.get("WORKSPACE", ""), environ.get("RUN", ""))
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
