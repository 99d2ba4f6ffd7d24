"""A console as a process of its own, over a small made-up cluster; started by console/test_server.

argv: folder, number of runs, seconds that the library takes longer to be loaded. Prints its address. A line on stdin is
what the cluster does next: lose, back, or print with a line for every log.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from bootstrap.console.server import Console
from bootstrap.core.clock import SystemClock
from bootstrap.world.kube.watch import BACK, LOST
from bootstrap.world.listen import listen
from tests.unit import page_world as stage

EVIL = '<img src=x onerror=alert(1)></script><script>alert("2")</script>`${alert(3)}`{{ alert(4) }}'
RUN = "evil-run"
LINES = 100_000


def cluster(count: int) -> stage.FakeKube:
    evil = stage.pipeline_run(RUN, "Failed", age=1, branch=EVIL)
    evil["spec"]["params"].append({"name": "MESSAGE", "value": f"{EVIL} {stage.PASSWORD}"})
    task = stage.task_run(RUN, "build-image", "Failed")
    task["status"]["results"] = [{"name": "author", "value": EVIL}]
    runs = [stage.pipeline_run(f"run-{i}", age=60 + i, branch=f"b{i % 9}") for i in range(count)]
    return stage.kube(evil, *runs, tasks=[task])


PRINTED: list[str] = []
NEWS = threading.Condition()


class LongLog:
    """Of every step: as many lines as a page must not choke on, in colour, the last but one tells why; then what is
    PRINTED."""

    def __init__(self) -> None:
        self._closed = False

    def __enter__(self) -> Iterator[str]:
        for number in range(1, LINES - 1):
            yield f"\x1b[3{number % 8}mline {number}\x1b[0m of many that a build may print"
        yield "./main.go:31:7: syntax error: unexpected name"
        yield f"build-image: the build failed {EVIL}"
        given = 0
        while not self._closed:
            with NEWS:
                while not self._closed and len(PRINTED) == given:
                    NEWS.wait()
                more = PRINTED[given:]
            yield from more
            given += len(more)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with NEWS:
            self._closed = True
            NEWS.notify_all()


def main(folder: Path, count: int, longer: float) -> None:
    kube = cluster(count)
    world = stage.make_world(folder, kube, clock=SystemClock())
    console = Console(world, listen(0), stage.ready_steps)

    def obey() -> None:
        for line in sys.stdin:
            word, _, text = line.strip().partition(" ")
            if word == "print":
                with NEWS:
                    PRINTED.append(text)
                    NEWS.notify_all()
            elif word == "lose":
                kube.watches["PipelineRun"].news.put((LOST, {"message": "connection refused"}))
            elif word == "back":
                kube.watches["PipelineRun"].news.put((BACK, {}))

    load = console._load

    def slowly() -> Any:
        time.sleep(longer)
        return load()

    cast(Any, console)._load = slowly
    threading.Thread(target=obey, daemon=True).start()
    cast(Any, kube).follow_log = lambda *_, **__: LongLog()
    sys.stdout.write(console.url + "\n")
    sys.stdout.flush()
    console.serve()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
