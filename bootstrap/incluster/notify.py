"""Sends a notification of how a PipelineRun ended, and removes the run's directory from the shared volume.

Runs as the last task of the pipeline, inside the cluster, on the standard library alone. The facts
are read from the API: a `finally` task that took results of other tasks as parameters would be skipped
exactly when one of them failed. It never fails the run; whether the notification was sent is its result.

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
from bootstrap.incluster.applications import DEFAULT_NOTIFY
from bootstrap.incluster.chat_formats import RobotAnswer
from bootstrap.incluster.json_object import Object
from bootstrap.incluster.kube_api import Api
from bootstrap.incluster.rate_limit import RateLimit
from bootstrap.incluster.retry_after import parse_retry_after
from bootstrap.incluster.run_names import SUPERSEDED, SUPERSEDED_BY
from bootstrap.incluster.text import clean, one_line

Get = Callable[[str], bytes]
"""Path and query on the API server -> body. Raises OSError (any failure, and any status but 200)."""
Post = Callable[[str, bytes], RobotAnswer]
"""Address, JSON -> the server's answer. Raises OSError."""
Turn = Callable[[], str]
"""Waits until one more message may be sent; answers why none may, or ""."""

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
TAIL_LINES = 10
TAIL_CHARACTERS = 4000
ATTEMPTS = 3
ANSWER_BYTES = 10_000
REQUEST_SECONDS = 10.0
"""Of one request: the run is over, and nobody should wait long for an address that does not answer."""
SENDING_SECONDS = 80.0
"""Seconds in which an attempt may begin: long enough for a second one when the minute of a robot's limit is over."""
LIMIT_SECONDS = 90.0
"""Seconds of all attempts together. Tekton gives the task two minutes, and fails the run when they are over."""


# -- the message ------------------------------------------------------------------------------------


def compose_message(run: Object, task_runs: Sequence[Object], status: str, tail: str, now: float) -> Object:
    """The message. status: `$(tasks.status)`. now: seconds since the epoch; the duration is in whole seconds."""
    params = {one["name"]: one.get("value", "") for one in _get_at(run, "spec", "params") or ()}
    results = _collect_results(task_runs)
    failed = find_failed_task(task_runs)
    outcome = read_outcome(run, task_runs, status)
    if outcome == SUPERSEDED:  # nothing is wrong with it: no task to be named, no log to be read
        failed, tail = None, ""
    return {
        "pipelineRun": _get_at(run, "metadata", "name") or "",
        "namespace": _get_at(run, "metadata", "namespace") or "",
        "status": outcome,
        "reason": explain_superseded(run, task_runs) if outcome == SUPERSEDED else "",
        "repository": _strip_credentials(str(params.get("REPO", ""))),
        "branch": _read_branch(run, results, str(params.get("REVISION", ""))),
        "commit": results.get("commit") or _read_mark(run, "commit"),
        "author": results.get("author", ""),
        "message": results.get("message", ""),
        "image": params.get("IMAGE", ""),
        "digest": results.get("image-digest") or params.get("DIGEST", ""),
        "durationSeconds": _count_seconds_since(_get_at(run, "status", "startTime"), now),
        "failedTask": _read_task_name(failed) if failed else "",
        "logTail": tail,
    }


def read_outcome(run: Object, task_runs: Sequence[Object], status: str) -> str:
    """ "succeeded", "failed", "cancelled", "timed out" or "superseded".

    The run itself is not over while its last task runs.
    """
    if str(_get_at(run, "spec", "status") or "").startswith(("Cancelled", "StoppedRun")):
        return SUPERSEDED if _get_at(run, "metadata", "annotations", SUPERSEDED_BY) else "cancelled"
    if any(_is_timed_out(each) for each in task_runs):
        return "timed out"
    failed = find_failed_task(task_runs)
    if failed and _read_superseded(failed):
        return SUPERSEDED
    return "succeeded" if status in ("Succeeded", "Completed") and failed is None else "failed"


def explain_superseded(run: Object, task_runs: Sequence[Object]) -> str:
    """ "superseded by NAME", or what the task says in which it was found out."""
    name = _get_at(run, "metadata", "annotations", SUPERSEDED_BY)
    return f"superseded by {name}" if name else next(filter(None, map(_read_superseded, task_runs)), SUPERSEDED)


def _read_superseded(task_run: Object) -> str:
    """What a task that failed says of it; "" if it failed for another reason, or did not."""
    told = _collect_results([task_run]).get(SUPERSEDED, "") if _read_succeeded(task_run) == "False" else ""
    return told if told.startswith(SUPERSEDED) else ""


def _is_timed_out(task_run: Object) -> bool:
    """Whether its own or the run's time limit ended it (Pipelines v1.9, pkg/apis/pipeline/v1/taskrun_types.go)."""
    reasons = {one.get("reason") for one in _get_at(task_run, "status", "conditions") or ()}
    return "TaskRunTimeout" in reasons or "has timed out" in str(_get_at(task_run, "spec", "statusMessage") or "")


def find_failed_task(task_runs: Sequence[Object]) -> Object | None:
    """The TaskRun that failed, the earliest if there are several."""
    failed = [one for one in task_runs if _read_succeeded(one) == "False"]
    return min(failed, key=lambda one: str(_get_at(one, "status", "completionTime") or "~")) if failed else None


def find_failed_container(task_run: Object) -> tuple[str, str]:
    """(pod, container) of the step that ended first with a code other than 0; ("", "") if no step did."""
    for step in _get_at(task_run, "status", "steps") or ():
        if (_get_at(step, "terminated", "exitCode") or 0) != 0:
            return str(_get_at(task_run, "status", "podName") or ""), str(step.get("container", ""))
    return "", ""


def take_last_lines(text: str) -> str:
    """The end of a log, up to TAIL_CHARACTERS, without empty lines and without what a terminal would act on."""
    lines = [line.rstrip() for line in clean(text).replace("\t", " ").splitlines()]
    return "\n".join(line for line in lines if line)[-TAIL_CHARACTERS:]


def _read_branch(run: Object, results: Mapping[str, str], revision: str) -> str:
    """The branch that the run was started for, "" if none is known: a run of one commit may have it as a mark."""
    named = "" if COMMIT.fullmatch(revision) else revision.removeprefix("refs/heads/")
    return _read_mark(run, "branch") or results.get("branch") or named


def _read_mark(run: Object, key: str) -> str:
    metadata = _get_at(run, "metadata") or {}
    name = f"tekton-bootstrap.dev/{key}"
    return str(_get_at(metadata, "annotations", name) or _get_at(metadata, "labels", name) or "")


def _collect_results(task_runs: Sequence[Object]) -> dict[str, str]:
    pairs = ((one["name"], one["value"]) for task in task_runs for one in _get_at(task, "status", "results") or ())
    return {name: value.strip() for name, value in pairs if isinstance(value, str)}


def _read_succeeded(task_run: Object) -> str:
    conditions = _get_at(task_run, "status", "conditions") or ()
    return next((str(one.get("status")) for one in conditions if one.get("type") == "Succeeded"), "Unknown")


def _read_task_name(task_run: Object) -> str:
    return str(
        _get_at(task_run, "metadata", "labels", "tekton.dev/pipelineTask") or _get_at(task_run, "metadata", "name")
    )


def _count_seconds_since(start: str | None, now: float) -> int:
    return max(0, round(now - calendar.timegm(time.strptime(start, "%Y-%m-%dT%H:%M:%SZ")))) if start else 0


def _strip_credentials(url: str) -> str:
    parts = _split_url(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _split_url(url: str) -> SplitResult:
    """As urlsplit, but a text that is no address has no host instead of raising ValueError."""
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")


def _get_at(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


# -- sending it ---------------------------------------------------------------------------------------


def gather_message(get: Get, namespace: str, run: str, status: str, now: float) -> Object:
    """The message about a run, read from the API. status: `$(tasks.status)`. Raises OSError when the API fails."""
    runs = f"/apis/tekton.dev/v1/namespaces/{quote(namespace, safe='')}"
    selector = urlencode({"labelSelector": f"tekton.dev/pipelineRun={run}"})
    task_runs = json.loads(get(f"{runs}/taskruns?{selector}")).get("items") or []
    one = json.loads(get(f"{runs}/pipelineruns/{quote(run, safe='')}"))
    return compose_message(one, task_runs, status, _read_tail(get, namespace, find_failed_task(task_runs)), now)


def _read_tail(get: Get, namespace: str, task_run: Object | None) -> str:
    if task_run is None:
        return ""
    pod, container = find_failed_container(task_run)
    reason = next((str(one.get("message", "")) for one in _get_at(task_run, "status", "conditions") or ()), "")
    if not pod:
        return take_last_lines(reason)
    query = urlencode({"container": container, "tailLines": TAIL_LINES})
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}/log?{query}"
    try:
        return take_last_lines(get(path).decode(errors="replace")) or take_last_lines(reason)
    except OSError:
        return take_last_lines(reason)


@dataclass(frozen=True)
class Channel:
    """Where a notification goes, and how. kind: "generic" or a key of `chat_formats.ROBOTS`. secret: "" for none.

    turn: waits for the rate limit. sleep: seconds. clock: seconds since the epoch.
    """

    kind: str
    url: str
    secret: str
    post: Post
    turn: Turn
    sleep: Callable[[float], None]
    clock: Callable[[], float]


def send_message(channel: Channel, message: Object) -> str:
    """POST the message, again while the server is busy. Answers "sent", "failed: REASON" or "held back: REASON".

    A message that may have arrived is not sent again: nobody wants it twice.
    """
    if _split_url(channel.url).scheme not in ("http", "https") or not _split_url(channel.url).hostname:
        return "failed: the address is not an http or https address"
    result = chat_formats.SendResult("nothing was sent")
    end = channel.clock() + SENDING_SECONDS
    for attempt in range(ATTEMPTS):
        if attempt:
            pause = max(result.after, float(attempt))
            if channel.clock() + pause > end:
                return f"failed: {result.why}, and it asks for a pause of {pause:g} s"
            channel.sleep(pause)
        why = channel.turn()
        if why:
            return f"held back: {why}"
        result = _try_send(channel, message)
        if not result.why:
            return "sent"
        if not result.busy:
            break
    return f"failed: {result.why}"


def _try_send(channel: Channel, message: Object) -> chat_formats.SendResult:
    url, body = channel.url, message
    if channel.kind in chat_formats.ROBOTS:
        url, body = chat_formats.build_request(channel.kind, channel.url, channel.secret, message, channel.clock())
    try:
        return chat_formats.judge_answer(channel.kind, channel.post(url, chat_formats.encode_body(body)))
    except (OSError, ValueError, http.client.HTTPException) as error:
        return chat_formats.SendResult(describe_error(error), busy=_is_unsent(error))


def _is_unsent(error: BaseException) -> bool:
    """Whether an attempt ended before the message was sent.

    `urllib.request` wraps in a URLError what happens before it waits for the answer. A connection that was reset or
    closed by then may have carried the message.
    """
    if not isinstance(error, urllib.error.URLError):
        return False
    return isinstance(error.reason, ConnectionRefusedError) or not isinstance(error.reason, ConnectionError)


def describe_error(error: BaseException) -> str:
    """The cause in at most 200 characters, without the address, which may hold a token."""
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    cause = inner if isinstance(inner, BaseException) else error
    text = cause.strerror if isinstance(cause, OSError) else ""
    return one_line(text or type(cause).__name__)[:200]


def notify(environ: Mapping[str, str], get: Get, make_channel: Callable[[str, str], Channel], now: float) -> str:
    """Answers "off", "sent", "held back: REASON" or "failed: REASON". make_channel: (kind, address) -> Channel."""
    url, source = environ.get("NOTIFY_URL", "").strip(), environ.get("NOTIFY_FROM", "")
    kind = environ.get("NOTIFY_KIND", "").strip() or ("generic" if url else "none")
    if kind == "none" and source not in ("", DEFAULT_NOTIFY) and not environ.get("NOTIFY_KIND"):
        return f"failed: the Secret {one_line(source)[:63]} is missing, or has neither kind nor url"
    if kind == "none":
        return "off"
    if kind != "generic" and kind not in chat_formats.ROBOTS:
        return f"failed: {one_line(kind)[:40]} is not a kind of notification"
    try:
        message = gather_message(get, environ["NAMESPACE"], environ["RUN"], environ.get("TASKS_STATUS", ""), now)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"failed: the run could not be read ({describe_error(error)})"
    return send_message(make_channel(kind, url), message)


def format_line(outcome: str, url: str) -> str:
    """The line for the task's log; of the address it has only the host."""
    host = _split_url(url).hostname or "no address"
    if outcome == "off":
        return "notifications are off"
    return f"notification to {host}: {outcome}"


def run_within(limit: float, do: Callable[[], str]) -> str:
    """What `do` answers, or "failed: REASON" after `limit` seconds.

    A thread that hangs then (on a name server, or an answer that comes byte by byte) ends with the program.
    """
    found: list[str] = []

    def run() -> None:
        try:
            found.append(do())
        except Exception as error:  # noqa: BLE001  whatever is wrong with a notification, the run is not
            found.append(f"failed: {describe_error(error)}")

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


def make_poster(extra_ca: str) -> Post:
    """A `Post` that trusts the system's authorities and those of the file `extra_ca`, if there is one."""

    def post(url: str, body: bytes) -> RobotAnswer:
        context = ssl.create_default_context()
        if extra_ca and Path(extra_ca).is_file():
            context.load_verify_locations(cafile=extra_ca)
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirect())
        headers = {"Content-Type": "application/json", "User-Agent": "tekton-bootstrap"}
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310  checked in send
        try:
            with opener.open(request, timeout=REQUEST_SECONDS) as answer:
                return RobotAnswer(int(answer.status), answer.read(ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            return RobotAnswer(error.code, b"", parse_retry_after(error.headers.get("Retry-After") or "", time.time()))

    return post


def main(environ: Mapping[str, str]) -> int:
    """Send the notification, write its result and remove the run's directory. Answers 0, whatever became of it."""

    def make_channel(kind: str, url: str) -> Channel:
        turns = RateLimit(Api.from_environ(environ), environ["NAMESPACE"], time.sleep, time.time)
        turn = turns.take if kind in chat_formats.ROBOTS else lambda: ""
        post = make_poster(environ.get("EXTRA_CA", ""))
        return Channel(kind, url, environ.get("NOTIFY_SECRET", "").strip(), post, turn, time.sleep, time.time)

    outcome = run_within(
        LIMIT_SECONDS,
        lambda: notify(environ, lambda path: Api.from_environ(environ).read(path), make_channel, time.time()),
    )
    sys.stdout.write(format_line(outcome, environ.get("NOTIFY_URL", "")) + "\n")
    Path(environ["RESULT"]).write_text(outcome[:500])
    remove_run(environ.get("WORKSPACE", ""), environ.get("RUN", ""))
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
