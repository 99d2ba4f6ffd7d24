"""Which images go: those of builds alone that nothing names."""

from __future__ import annotations

import json

from bootstrap.incluster.image_retention import Image, find_expired, find_names, find_repositories

A, B, C = "a" * 40, "b" * 40, "c" * 40
ONE, TWO, CHILD, OTHER = ("sha256:" + each * 64 for each in "1234")


def gone(images: list[Image], *names: str) -> list[tuple[str, ...]]:
    return [each.digests for each in find_expired(images, names)]


def test_names_are_found_wherever_they_stand() -> None:
    found = find_names(json.dumps({"a": f"x/y:{A}@{ONE}", "b": [f'{{"commit":"{B}"}}', "d" * 41, "e" * 64, "f" * 39]}))
    assert found == {A, B, ONE}


def test_what_is_shipped_or_kept_is_not_looked_at() -> None:
    there = ["apps/orders", "bootstrap/pause", "demo/go-echo", "library/golang", "librarya"]
    assert find_repositories(there, ["demo/go-echo"]) == ["apps/orders", "librarya"]


def test_an_image_that_nothing_names_goes() -> None:
    assert gone([Image("apps/x", ONE, (A,)), Image("apps/x", TWO, (B,))], B) == [(ONE,)]


def test_digest_commit_and_child_each_hold_it() -> None:
    image = Image("apps/x", ONE, (A, B), (CHILD,))
    assert [gone([image], each) for each in (ONE, A, B, CHILD)] == [[]] * 4
    assert gone([image], C, TWO) == [(CHILD, ONE)]


def test_a_tag_of_a_person_holds_it() -> None:
    for tag in ("v1", A.upper(), A[:39], f"{A}a"):
        assert gone([Image("apps/x", ONE, (A, tag))]) == []


def test_a_manifest_that_two_have_in_common_stays_with_the_one_that_stays() -> None:
    expired, hand = Image("apps/x", ONE, (A,), (CHILD, OTHER)), Image("apps/x", TWO, ("v1",), (CHILD,))
    assert gone([expired, hand]) == [(OTHER, ONE)]
    assert gone([expired, Image("apps/y", TWO, ("v1",), (CHILD,))]) == [(CHILD, OTHER, ONE)]
    assert gone([expired, Image("apps/x", CHILD, ("arm",))]) == [(OTHER, ONE)]
