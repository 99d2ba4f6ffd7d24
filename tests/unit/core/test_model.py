from __future__ import annotations

from bootstrap.core.model import LockedImage, Secret


def test_a_secret_shows_in_no_way_that_text_is_made() -> None:
    secret = Secret("hunter2")
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r}", f"{secret}", repr([secret]), repr({1: secret})]
    assert not [text for text in shown if "hunter2" in text]
    assert secret.reveal() == "hunter2"


def test_secrets_compare_by_text_and_only_with_secrets() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert not Secret("")


def test_an_image_is_named_by_digest() -> None:
    assert LockedImage("x", "host:5000/x", "sha256:ab").reference == "host:5000/x@sha256:ab"
