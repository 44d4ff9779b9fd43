"""What to read next of a file, what an earlier attempt left, and where it all goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines import localize
from pipelines.localize import MAX_PART_BYTES, MIN_PART_BYTES, Ramp
from schemas.commands import LocalizeFile
from schemas.errors import CorruptMedia, SourceChanged, TooLarge
from schemas.localized import FetchedFile, LocalizedFile, Resume, SourceFile, Validators
from schemas.media import ByteRange, MediaInfo
from schemas.plans import FetchFile, Plan
from tests.builders import a_connector_ref

PLANS = Path(__file__).parents[1] / "plans"
VERSION = Validators(size=1000, etag='"a"', modified_ms=5)


def spans(*pairs: tuple[int, int]) -> tuple[ByteRange, ...]:
    return tuple(ByteRange(offset=start, length=end - start) for start, end in pairs)


@pytest.mark.parametrize(
    ("done", "gaps"),
    [
        ([], [(0, 1000)]),
        ([(0, 1000)], []),
        ([(0, 10)], [(10, 1000)]),
        ([(990, 1000)], [(0, 990)]),
        ([(10, 20), (15, 30), (500, 600)], [(0, 10), (30, 500), (600, 1000)]),
        ([(900, 2000)], [(0, 900)]),
        ([(1500, 2000)], [(0, 1000)]),
    ],
    ids=["nothing", "all", "a head", "a tail", "overlaps", "past the end", "beyond the end"],
)
def test_what_is_missing_is_what_nobody_has_brought(
    done: list[tuple[int, int]], gaps: list[tuple[int, int]]
) -> None:
    assert localize.missing(spans(*done), 1000) == spans(*gaps)


def test_a_resume_file_tells_the_version_and_the_ranges() -> None:
    text = (
        localize.resume_head(VERSION, "boot")
        + localize.resume_line(0, 100)
        + localize.resume_line(100, 50)
        + localize.resume_line(500, 10)
    )

    assert localize.resume_of(text) == Resume(
        validators=VERSION, boot="boot", done=spans((0, 150), (500, 510))
    )


@pytest.mark.parametrize(
    "torn", ["300 4", "300", "3x 40\n", "300 0\n", "-3 40\n", "99999999999999999999 1\n", "\x00\n"]
)
def test_a_line_torn_by_a_kill_is_not_believed(torn: str) -> None:
    text = localize.resume_head(VERSION, "boot") + localize.resume_line(0, 100) + torn

    held = localize.resume_of(text)

    assert held is not None
    assert held.done == spans((0, 100))


@pytest.mark.parametrize("text", ["", "{}", "not json\n1 2\n", '{"validators":{},"boot":1}\n'])
def test_a_file_that_is_no_resume_file_says_nothing(text: str) -> None:
    assert localize.resume_of(text) is None


def held(validators: Validators = VERSION, boot: str = "boot") -> Resume:
    return Resume(validators=validators, boot=boot, done=spans((0, 100)))


def test_the_same_version_is_gone_on_with() -> None:
    assert localize.still_good(held(), VERSION, "boot") == spans((0, 100))


@pytest.mark.parametrize(
    "change", [{"size": 999}, {"etag": '"b"'}, {"modified_ms": 6}], ids=["size", "etag", "time"]
)
def test_a_changed_source_is_refused(change: dict[str, Any]) -> None:
    now = VERSION.model_copy(update=change)

    with pytest.raises(SourceChanged) as raised:
        localize.still_good(held(), now, "boot")

    assert raised.value.error_code == "source_changed"


def test_bytes_from_before_the_machine_restarted_are_fetched_again() -> None:
    assert localize.still_good(held(), VERSION, "another boot") == ()


@pytest.mark.parametrize("version", [Validators(size=1000), Validators(etag='"a"')])
def test_a_source_that_proves_nothing_is_begun_anew(version: Validators) -> None:
    assert localize.still_good(held(version), version, "boot") == ()


def test_a_weak_etag_is_no_condition_for_a_range() -> None:
    assert Validators(etag='W/"a"').strong_etag is None
    assert Validators(etag='"a"').strong_etag == '"a"'


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        (VERSION, VERSION, True),
        (VERSION, Validators(size=1000), False),
        (Validators(size=1000), Validators(size=1000), False),
        (VERSION, VERSION.model_copy(update={"etag": '"b"'}), False),
        (Validators(modified_ms=5), Validators(modified_ms=5, etag='"x"'), True),
    ],
    ids=["equal", "size alone", "both size alone", "another etag", "times agree"],
)
def test_a_copy_is_fresh_only_where_that_is_proven(
    before: Validators, after: Validators, same: bool
) -> None:
    assert localize.same_version(before, after) is same


@pytest.mark.parametrize("connections", [1, 3, 8, 16])
def test_parts_shrink_towards_the_end(connections: int) -> None:
    left, sizes = 2 * 1024**3, []
    while left > 0:
        size = min(left, localize.part_bytes(left, connections))
        sizes.append(size)
        left -= size

    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes) == MAX_PART_BYTES
    assert sizes[-1] <= MIN_PART_BYTES


def ramp_of(rates: list[float], most: int = 8) -> list[int]:
    ramp, widths = Ramp(most=most), []
    for rate in rates:
        if not localize.settled(ramp):
            ramp = localize.ramped(ramp, rate)
        widths.append(ramp.connections)
    return widths


def test_connections_are_added_while_that_makes_it_faster() -> None:
    assert ramp_of([20, 40, 80, 160]) == [2, 4, 8, 8]


def test_connections_are_not_added_where_the_line_is_full() -> None:
    assert ramp_of([100, 101, 99, 102, 100, 98, 100, 101, 100, 500]) == [2] * 10


def test_never_more_connections_than_allowed() -> None:
    assert ramp_of([10, 20, 40, 80], most=3) == [2, 3, 3, 3]
    assert ramp_of([10, 20], most=1) == [1, 1]


def test_a_refused_connection_is_not_tried_again() -> None:
    narrow = localize.narrowed(Ramp(connections=8), 3)

    assert (narrow.connections, narrow.most, localize.settled(narrow)) == (3, 3, True)
    assert localize.narrowed(Ramp(), 0).connections == 1


@pytest.mark.parametrize(
    ("config", "limit"),
    [({}, None), ({"maxBytesPerS": 10**6}, 10**6), ({"maxBytesPerS": None}, None)],
)
def test_the_config_says_how_fast(config: dict[str, Any], limit: int | None) -> None:
    assert localize.rate_limit(config) == limit


def test_a_low_rate_is_not_shared_among_many() -> None:
    assert localize.connections_at(None, 8) == 8
    assert localize.connections_at(2 * 1024 * 1024, 8) == 2
    assert localize.connections_at(65536, 8) == 1


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("Match 1.MP4", "source.mp4"),
        ("x.tar.gz", "source.gz"),
        ("no ending", "source.bin"),
        ("evil.mp4;rm -rf", "source.bin"),
        ("x.", "source.bin"),
        ("x.waytoolongending", "source.bin"),
    ],
)
def test_only_a_plain_ending_of_the_sources_name_is_kept(name: str, ours: str) -> None:
    assert localize.workspace_name(name) == ours


def source(size: int | None) -> SourceFile:
    return SourceFile(file_id="a/b.mp4", name="b.mp4", validators=Validators(size=size))


def test_a_plan_fetches_the_whole_file_as_the_connector_allows() -> None:
    ref = a_connector_ref(type="http", config={"baseUrl": "x", "maxBytesPerS": 1024 * 1024})

    plan = localize.fetch_plan(ref, source(10), "source.mp4", connections=8, max_bytes=100)

    assert plan.steps == (
        FetchFile(
            connector=ref,
            source=source(10),
            name="source.mp4",
            max_bytes=100,
            max_connections=1,
            max_bytes_per_s=1024 * 1024,
        ),
    )


def test_what_is_too_large_or_empty_is_refused_before_a_byte_comes() -> None:
    with pytest.raises(TooLarge):
        localize.fetch_plan(a_connector_ref(), source(101), "x", connections=8, max_bytes=100)
    with pytest.raises(CorruptMedia):
        localize.fetch_plan(a_connector_ref(), source(0), "x", connections=8, max_bytes=100)


def test_a_command_names_its_connector() -> None:
    command = LocalizeFile(
        tenant_id="t1",
        requested_by="u",
        connector=a_connector_ref(),
        file_id="a.mp4",
    )

    assert command.connectors == (a_connector_ref(),)


def a_record() -> LocalizedFile:
    command = LocalizeFile(
        tenant_id="t1", requested_by="u", connector=a_connector_ref(type="http"), file_id="a/b.mp4"
    )
    return localize.record_of(
        command,
        "f1",
        "job_1",
        "source.mp4",
        source(10),
        FetchedFile(name="source.mp4", size=10, sha256="0" * 64),
        MediaInfo(container="mp4", size=10, duration_ms=1000, streams=()),
        1_643_957_046_000,
    )


def whole_plans() -> dict[str, Plan]:
    """One plan of each phase that has any."""
    quick = a_connector_ref(type="http", config={"baseUrl": "http://h/x"})
    paced = a_connector_ref(
        type="sftp", config={"host": "h", "maxBytesPerS": 3_000_000}, sealed_auth="sealed"
    )
    return {
        "localize-fetch": localize.fetch_plan(
            quick, source(10**9), "source.mp4", connections=8, max_bytes=10**12
        ),
        "localize-fetch-paced": localize.fetch_plan(
            paced, source(None), "source.mp4", connections=8, max_bytes=10**12
        ),
        "localize-publish": localize.publish_plan(a_record(), "source.mp4"),
        "localize-record": localize.record_plan(a_record()),
    }


@pytest.mark.parametrize("name", sorted(whole_plans()))
def test_whole_plans_are_as_they_were_written_down(name: str) -> None:
    written = Plan.model_validate_json((PLANS / f"{name}.json").read_text())

    assert whole_plans()[name] == written


def test_a_record_and_its_file_lie_together_under_the_fingerprint() -> None:
    record = a_record()

    digest = localize.file_digest("a/b.mp4")
    assert record.key == f"localized/t1/f1/{digest}/job_1.mp4"
    assert record.record_key == f"localized/t1/f1/{digest}/job_1.json"
