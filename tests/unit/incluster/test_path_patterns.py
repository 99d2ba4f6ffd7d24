"""Patterns of files: what they mean, and which are refused."""

from __future__ import annotations

import re
import time

import pytest

from bootstrap.incluster.path_patterns import build_path_regex, find_path_fault, has_match

WITHIN = "a path must be within the repository, such as services/orders/**"


@pytest.mark.parametrize(
    ("pattern", "concerned", "others"),
    [
        ("services/orders", ["services/orders", "services/orders/a", "services/orders/a/b.go"], ["services/orders2/a"]),
        ("services/orders/", ["services/orders/a/b"], ["services/orders", "x/services/orders/a"]),
        ("services/orders/**", ["services/orders/a", "services/orders/a/b"], ["services/orders", "services/order"]),
        ("docs/*.md", ["docs/a.md", "docs/.md"], ["docs/a/b.md", "docs/a.md/x", "docs/a.mdx"]),
        ("services/*", ["services/a"], ["services/a/b", "services"]),
        ("services/*/api", ["services/a/api", "services/a/api/x"], ["services/a/b/api", "services/api"]),
        ("services/**/api", ["services/api", "services/a/b/api/x"], ["services/xapi", "api"]),
        ("**/go.mod", ["go.mod", "a/b/go.mod"], ["go.model", "a/xgo.mod"]),
        ("**/*.go", ["a.go", "a/b.go"], ["a.gox"]),
        ("**", ["a", "a/b"], []),
        ("**/", ["a", "a/b"], []),
        ("a.b+c(d)|e$^", ["a.b+c(d)|e$^"], ["axb+c(d)", "e$^"]),
        ("größe/a b", ["größe/a b/c"], ["groesse/a b"]),
        ("a/*/c", ["a/x\ny/c/d\n"], ["a/x/y/c"]),
    ],
)
def test_a_pattern_means(pattern: str, concerned: list[str], others: list[str]) -> None:
    assert find_path_fault(pattern) == ""
    assert [each for each in concerned if not has_match([pattern], [each])] == []
    assert [each for each in others if has_match([pattern], [each])] == []


def test_one_of_several_is_enough() -> None:
    assert has_match(["a/**", "b"], ["c", "b"])
    assert not has_match(["a/**", "b"], ["c", "ab"])
    assert not has_match(["a"], [])


def test_the_expression_is_of_what_re2_knows() -> None:
    regex = build_path_regex(["services/**/a-b", "x y/*.md"])
    assert regex == r"(?s:services/(?:.*/)?a\-b(?:/.*)?|x\ y/[^/]*\.md)"
    assert not re.search(r"\(\?[=!<]|\\[0-9zZA]", regex)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("", "a path must have 1 to 200 characters"),
        ("a" * 201, "a path must have 1 to 200 characters"),
        *[(each, WITHIN) for each in ("/", "/a", "../a", "a/..", "a/../b", ".", "./a", "a/./", "a//b", "a//")],
        ("a**", "** must stand between slashes, such as services/**/api"),
        ("a/**b/c", "** must stand between slashes, such as services/**/api"),
        ("***", "** must stand between slashes, such as services/**/api"),
        ("**/a/**/b/**", "a path must have at most 2 ** and, in one name, at most 2 *"),
        ("a/*b*c*", "a path must have at most 2 ** and, in one name, at most 2 *"),
        *[
            (each, "a path must be of names, * and **, without any of ? [ ] { } \\ and with no ! first")
            for each in ("!a", "a?", "[ab]", "{a,b}", "a\\b", "a\nb", "a\x7f")
        ],
    ],
)
def test_it_refuses(pattern: str, why: str) -> None:
    assert find_path_fault(pattern) == why


@pytest.mark.parametrize("pattern", ["a", "a/", ".github/**", "a..b/...", "a b", "a!", "*/*/*/*"])
def test_it_takes(pattern: str) -> None:
    assert find_path_fault(pattern) == ""


def test_a_hostile_name_takes_no_time() -> None:
    begun = time.monotonic()
    assert not has_match(["**/*a*/**/*b*.go"] * 20, ["a/" * 500 + "ab" * 120])
    assert time.monotonic() - begun < 5
