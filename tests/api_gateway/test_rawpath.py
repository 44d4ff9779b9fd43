"""A slash inside a fileId is told apart from a slash between segments."""

from __future__ import annotations

import pytest

from api_gateway.problems import Problem
from api_gateway.rawpath import file_id, rewritten

C = "/v1/connectors/c1/files"


def segments(raw: bytes) -> list[str]:
    """The segments a router sees, each with its slashes back."""
    path = rewritten({"type": "http", "path": "", "raw_path": raw})
    return [file_id(segment, None) for segment in path.split("/")]


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (f"{C}/a%2Fb/clip", ["a/b", "clip"]),
        (f"{C}/a%2fb/clip", ["a/b", "clip"]),
        (f"{C}/a/b/clip", ["a/b", "clip"]),
        (f"{C}/a%2Fclip", ["a/clip"]),
        (f"{C}/a/clip/clip", ["a/clip", "clip"]),
        (f"{C}/a/b", ["a/b"]),
        (f"{C}/clip", ["clip"]),
        (f"{C}/../x/clip", ["../x", "clip"]),
        (f"{C}/..%2Fx/clip", ["../x", "clip"]),
        (f"{C}/a//b/clip", ["a//b", "clip"]),
        (f"{C}/a%252Fb/clip", ["a%2Fb", "clip"]),
        (f"{C}/a%1Fb/clip", ["a\x1eb", "clip"]),
        (f"{C}/%C3%A9%2Fb/clip", ["é/b", "clip"]),
        (f"{C}/a%/clip", ["a%", "clip"]),
        (f"{C}/a+b/clip", ["a+b", "clip"]),
    ],
)
def test_a_raw_path_is_split_before_it_is_decoded(raw: str, found: list[str]) -> None:
    assert segments(raw.encode()) == ["", "v1", "connectors", "c1", "files", *found]


def test_other_paths_keep_their_segments() -> None:
    assert segments(b"/v1/jobs/a%2Fb") == ["", "v1", "jobs", "a/b"]


def test_a_parameter_says_what_the_path_could_not() -> None:
    assert file_id("-", "a/b") == "a/b"


def test_a_path_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(Problem) as refused:
        segments(b"/v1/jobs/%FF")

    assert refused.value.status == 400
