"""What a message shows of secrets."""

from __future__ import annotations

import time

import pytest

from bootstrap.core.masking import mask_known, mask_secrets
from bootstrap.core.model import Secret


@pytest.mark.parametrize(
    ("secret", "text", "shown"),
    [
        ("t0ken-7", "Invalid header value b'Bearer t0ken-7\\n'", "Invalid header value b'Bearer ***\\n'"),
        ("t0ken-7\n", "the token t0ken-7 is refused", "the token *** is refused"),
        ("p@ss/w:d", "GET /login?password=p%40ss%2Fw%3Ad", "GET /login?password=***"),
        ('say "so"', r'{"password": "say \"so\""}', '{"password": "***"}'),
        ("tab\tbed", r"b'tab\tbed'", "b'***'"),
        ("abc", "abc stays, for words have it in them", "abc stays, for words have it in them"),
    ],
)
def test_a_secret_is_found_in_the_forms_that_messages_give_it(secret: str, text: str, shown: str) -> None:
    assert mask_secrets(text, [Secret(secret)]) == shown


def test_every_secret_that_was_made_is_known() -> None:
    Secret("sesame-of-test-masking")
    assert mask_known("open sesame-of-test-masking") == "open ***"


@pytest.mark.parametrize("part", ["eyJaaaaaaaa-", "eyJaaaaaaaa.", "://a", "authorization: "])
def test_a_long_line_is_masked_in_time(part: str) -> None:
    begin = time.process_time()
    mask_secrets(part * 40_000, [])
    assert time.process_time() - begin < 2
