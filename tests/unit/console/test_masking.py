"""What may reach a browser, what several readers share, and which command is next."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bootstrap.console.masking import KEEP_SECONDS, Mask, sanitize
from bootstrap.console.next_command import choose_next_command
from bootstrap.console.read_cache import REST, ReadCache
from bootstrap.core.errors import ApiError
from bootstrap.core.model import Failed, Pending, Ready, Secret, Unknown
from bootstrap.objects.run_status import parse_run
from bootstrap.steps.reconcile import Outcome
from tests.unit import page_world as stage
from tests.unit.fakes import FakeClock


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
        ('"authorization": "Basic dXNlcjpwYXNz"', '"authorization": "Basic ***"'),
        ("token eyJhbGciOiJSUzI1.eyJpc3MiOiJrdWI.c2lnbmF0dXJl end", "token *** end"),
        ("t-eyJhbGciOiJSUzI1.eyJpc3MiOiJrdWI.c2lnbmF0dXJl", "t-***"),
        ("aaaaaaaaaaa.bbbbbbbb.eyJhbGciOiJSUzI1.eyJpc3MiOiJrdWI.c2lnbmF0dXJl", "aaaaaaaaaaa.bbbbbbbb.***"),
        ("http://user:word@git.example/a", "http://***@git.example/a"),
        ("http://git.example/a@b", "http://git.example/a@b"),
        ("Basic authentication failed for abc", "Basic authentication failed for abc"),
        ("sesame and sesame2", "*** and ***2"),
    ],
)
def test_masking(text: str, shown: str) -> None:
    assert sanitize({"a": [text, 1, None, True]}, [Secret("sesame"), Secret("a")]) == {"a": [shown, 1, None, True]}


def test_the_mask_learns_of_new_secrets_and_lets_colours_of_logs_pass() -> None:
    clock, known = FakeClock(), [Secret("sesame")]
    mask = Mask(lambda: known, clock.now)
    assert mask({"a": "sesame"}) == {"a": "***"}
    known.append(Secret("hunter2"))
    clock.time += KEEP_SECONDS
    assert mask.mask_lines(["\x1b[31mhunter2\x1b[0m", "\x1b]0;title\x07\x1b[2Jplain\x07"]) == [
        "\x1b[31m***\x1b[0m",
        "plain",
    ]
    assert mask.mask_lines([]) == [""]


@pytest.mark.parametrize(
    "text",
    [
        "eyJaaaaaaaa-",
        "eyJaaaaaaaa.",
        "eyJ",
        "-eyJ",
        "a-",
        "://",
        "://a",
        "authorization: ",
        "authorization:bearer ",
        "a.",
    ],
)
def test_a_long_text_is_masked_in_time_in_proportion_to_it(text: str) -> None:
    """A megabyte; in square time it would take minutes."""
    start = time.thread_time()
    sanitize(text * (1_000_000 // len(text)), [Secret("sesame")])
    assert time.thread_time() - start < 5


# the cache


def test_a_slow_read_rests_in_proportion_and_a_refusal_is_kept_too() -> None:
    clock, reads = FakeClock(), []

    def read() -> int:
        reads.append(1)
        clock.sleep(4)
        if len(reads) == 2:
            raise ApiError("down", status=0)
        return len(reads)

    cache = ReadCache(clock.now)
    assert cache.get("a", read) == 1
    clock.time += 4 * REST - 0.1
    assert cache.get("a", read) == 1
    clock.time += 0.2
    for _ in range(2):
        with pytest.raises(ApiError):
            cache.get("a", read)
    clock.time += 4 * REST
    assert cache.get("a", read) == 3


# what to type next

READY = [Outcome("engine", Ready(), 0), Outcome("cluster", Ready(), 0)]


@pytest.mark.parametrize(
    ("outcomes", "runs", "command"),
    [
        (READY, [], "invoke test-run --name x"),
        (READY, None, "invoke doctor --name x"),
        (READY, [stage.pipeline_run("r1", "Running")], "invoke logs --run r1 --name x"),
        (READY, [stage.pipeline_run("r1", "Failed"), stage.pipeline_run("r0")], "invoke rerun --run r1 --name x"),
        (READY, [stage.pipeline_run("r1"), stage.pipeline_run("r0", "Failed")], "invoke test-run --name x"),
        ([Outcome("a", Unknown("needs b"), 0), Outcome("b", Pending("absent"), 0)], [], "invoke up --name x"),
        (
            [Outcome("a", Pending("absent"), 0), Outcome("b", Failed("foreign", hint="invoke down"), 0)],
            [],
            "invoke down",
        ),
        ([Outcome("a", Failed("broken"), 0)], [], "invoke up --name x"),
    ],
)
def test_the_next_command(outcomes: list[Outcome], runs: list[dict[str, Any]] | None, command: str) -> None:
    found = None if runs is None else [parse_run(run) for run in runs]
    advice = choose_next_command(outcomes, found, " --name x")
    assert advice.command == command
    assert advice.why
