"""A watch without end: what is there, what then happens, and what becomes of it when the server goes away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest

from bootstrap.core.errors import ApiError, PreconditionError
from bootstrap.core.model import Object
from bootstrap.world.kube import watch
from bootstrap.world.kube.watch import Feed, follow_changes

REFUSED = ApiError("connection refused", status=0)
GONE = ApiError("too old", status=410)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PAUSES", (0.0,))


def named(name: str, version: str) -> Object:
    return {"metadata": {"name": name, "resourceVersion": version}}


def event(kind: str, name: str, version: str) -> bytes:
    return json.dumps({"type": kind, "object": named(name, version)}).encode()


class Server:
    """Each asking takes the next of its answers: lists are names or an error, watches are lines or an error."""

    def __init__(self, lists: Sequence[Any], watches: Sequence[Any]) -> None:
        self._lists, self._watches = iter(lists), iter(watches)
        self.asked: list[str] = []
        self.feed = Feed(cast(Callable[..., Iterator[bytes]], lambda response: response))

    def pages(self) -> Iterator[tuple[list[Object], str]]:
        found = next(self._lists)
        self.asked.append("list")
        if isinstance(found, Exception):
            raise found
        yield [named(each, "1") for each in found], "10"

    def reopen(self, version: str, seconds: float) -> Any:
        self.asked.append(f"watch {version}")
        found = next(self._watches, None)
        if found is None:
            self.feed.close()
            found = ()
        if isinstance(found, Exception):
            raise found
        return _Response(found)

    def told(self) -> list[tuple[str, str]]:
        seen = follow_changes(self.feed, self.pages, self.reopen)
        return [(kind, each.get("message") or each.get("metadata", {}).get("name", "")) for kind, each in seen]


class _Response:
    def __init__(self, lines: Sequence[Any]) -> None:
        self._lines = lines

    def __iter__(self) -> Iterator[bytes]:
        for each in self._lines:
            if isinstance(each, Exception):
                raise each
            yield each

    def close(self) -> None:
        pass


def test_all_that_is_there_comes_first_and_a_watch_goes_on_where_the_last_one_ended() -> None:
    server = Server(
        [["a", "b"]], [[event("ADDED", "c", "11"), event("BOOKMARK", "", "15")], [event("DELETED", "a", "16")]]
    )
    assert server.told() == [
        ("RESET", ""),
        ("ADDED", "a"),
        ("ADDED", "b"),
        ("SYNCED", ""),
        ("ADDED", "c"),
        ("DELETED", "a"),
    ]
    assert server.asked == ["list", "watch 10", "watch 15", "watch 16"]


def test_a_version_that_is_too_old_begins_anew_without_an_alarm() -> None:
    server = Server([["a"], ["b"]], [[event("MODIFIED", "a", "11")], GONE])
    assert [kind for kind, _ in server.told()] == ["RESET", "ADDED", "SYNCED", "MODIFIED", "RESET", "ADDED", "SYNCED"]


def test_a_server_that_goes_away_is_told_once_and_nothing_is_missed_after_it() -> None:
    server = Server([["a"]], [[event("MODIFIED", "a", "11"), REFUSED], REFUSED, REFUSED, [event("DELETED", "a", "12")]])
    assert server.told()[3:] == [("MODIFIED", "a"), ("LOST", "connection refused"), ("BACK", ""), ("DELETED", "a")]
    assert server.asked == ["list", *["watch 10"], *["watch 11"] * 3, "watch 12"]


def test_a_short_break_is_no_alarm() -> None:
    server = Server([["a"]], [[REFUSED], [event("MODIFIED", "a", "11")]])
    assert server.told()[3:] == [("MODIFIED", "a")]


def test_one_that_is_not_there_at_first_is_asked_until_it_is() -> None:
    missing = PreconditionError("there is no kubeconfig")
    server = Server([missing, missing, ["a"]], [[]])
    assert server.told() == [
        ("RESET", ""),
        ("LOST", "there is no kubeconfig"),
        ("RESET", ""),
        ("RESET", ""),
        ("ADDED", "a"),
        ("SYNCED", ""),
        ("BACK", ""),
    ]


def test_a_list_that_breaks_off_is_read_again_as_a_whole() -> None:
    class Broken(Server):
        def pages(self) -> Iterator[tuple[list[Object], str]]:
            first = "list" not in self.asked
            for number, page in enumerate(super().pages()):
                yield page
                if first and number == 0:
                    raise REFUSED

    server = Broken([["a"], ["a", "b"]], [[]])
    kinds = [kind for kind, _ in server.told()]
    assert kinds == ["RESET", "ADDED", "LOST", "RESET", "ADDED", "ADDED", "SYNCED", "BACK"]


def test_a_cluster_made_anew_refuses_the_old_version_and_is_read_anew() -> None:
    foreign = ApiError("Too large resource version", status=504)
    server = Server([["a"], ["b"]], [[event("MODIFIED", "a", "900")], foreign, foreign, [event("ADDED", "c", "11")]])
    told = server.told()
    assert ("ADDED", "b") in told
    assert told[-1] == ("ADDED", "c")


def test_what_is_no_json_is_an_error_like_another() -> None:
    server = Server([["a"]], [[b"<html>"], [b"<html>"]])
    assert ("LOST", "the watch sent something that is not JSON") in server.told()
