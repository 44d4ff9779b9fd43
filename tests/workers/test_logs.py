"""Nothing that opens a door is logged."""

from __future__ import annotations

import pytest

from workers.logs import redact, redacted


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("GET https://h/a.m3u8?sig=abc 403", "GET https://h/a.m3u8?*** 403"),
        ("s3://b/k?X-Amz-Signature=1&b=2, then", "s3://b/k?*** then"),
        ("redis://:hunter2@h:1/0", "redis://***@h:1/0"),
        ("https://user:pw@h/x#frag", "https://***@h/x?***"),
        ("Authorization: Bearer abcdefghijkl", "Authorization: Bearer ***"),
        ("key cr_live_abc123_xyz", "key ***"),
        ("nothing to hide: a/b 5 > 3?", "nothing to hide: a/b 5 > 3?"),
    ],
)
def test_urls_and_keys_lose_their_secrets(text: str, clean: str) -> None:
    assert redacted(text) == clean


def test_fields_named_for_secrets_are_starred_at_any_depth() -> None:
    event = {"event": "x", "auth": {"apiKey": "k", "list": [{"password": "p", "n": 1}]}}

    assert redact(None, "info", event) == {
        "event": "x",
        "auth": {"apiKey": "***", "list": [{"password": "***", "n": 1}]},
    }
