"""The index of localized files knows what is held, what was used last, and what may go."""

from __future__ import annotations

import pytest

from schemas.localized import LocalizedFile, Validators
from schemas.media import MediaInfo
from store.localized import Localized, Place
from tests.fakes import fake_store


@pytest.fixture
def index() -> Localized:
    return Localized(fake_store())


def at(digest: str, tenant: str = "t1", fingerprint: str = "f1") -> Place:
    return Place(tenant, fingerprint, digest)


def held(place: Place, *, job: str = "job_1", size: int = 10, at_ms: int = 1) -> LocalizedFile:
    base = f"localized/{place.name}/{job}"
    return LocalizedFile(
        tenant_id=place.tenant_id,
        fingerprint=place.fingerprint,
        connector_id="con",
        file_id=place.digest,
        job_id=job,
        key=f"{base}.mp4",
        record_key=f"{base}.json",
        size=size,
        sha256="0" * 64,
        content_type="video/mp4",
        validators=Validators(size=size),
        media=MediaInfo(container="mp4", size=size, duration_ms=1, streams=()),
        localized_ms=at_ms,
    )


def put(index: Localized, *places: Place, size: int = 10) -> None:
    # Found by a scan: used as long ago as they were made, in this order.
    for number, place in enumerate(places):
        index.put(place, held(place, size=size, at_ms=number + 1), found=True)


def test_what_is_put_is_held(index: Localized) -> None:
    put(index, at("a"))

    assert index.get(at("a")) == held(at("a"))
    assert index.get(at("b")) is None
    assert index.get(at("a", tenant="t2")) is None
    assert (index.total_bytes(), index.sources("t1")) == (10, frozenset({"f1"}))
    assert index.sources("t2") == frozenset()


def test_putting_it_twice_changes_nothing(index: Localized) -> None:
    for _ in range(3):
        index.put(at("a"), held(at("a")))

    assert (index.total_bytes(), list(index.doomed())) == (10, [])


def test_a_newer_version_takes_the_place_of_the_older(index: Localized) -> None:
    index.put(at("a"), held(at("a"), job="job_1", size=10, at_ms=1))
    index.put(at("a"), held(at("a"), job="job_2", size=25, at_ms=2))

    assert [d.record.job_id for d in index.doomed()] == ["job_1"]
    assert (index.total_bytes(), (index.get(at("a")) or held(at("x"))).job_id) == (25, "job_2")


def test_an_older_version_found_later_is_doomed_itself(index: Localized) -> None:
    index.put(at("a"), held(at("a"), job="job_2", at_ms=2))
    index.put(at("a"), held(at("a"), job="job_1", at_ms=1), found=True)

    assert [d.record.job_id for d in index.doomed()] == ["job_1"]
    assert (index.get(at("a")) or held(at("x"))).job_id == "job_2"


def test_the_least_recently_used_go_first(index: Localized) -> None:
    put(index, at("a"), at("b"), at("c"), at("d"))
    index.use(at("a"), "job_9")
    index.let_go(at("a"), "job_9")

    gone = index.evict(20)

    assert gone == 2
    assert {d.record.file_id for d in index.doomed()} == {"b", "c"}
    assert (index.get(at("a")) is not None, index.total_bytes()) == (True, 20)


def test_nothing_goes_within_the_quota(index: Localized) -> None:
    put(index, at("a"), at("b"))

    assert (index.evict(20), index.total_bytes()) == (0, 20)


def test_what_a_job_uses_never_goes(index: Localized) -> None:
    put(index, at("a"), at("b"))
    index.use(at("a"), "job_9")

    assert (index.evict(0), index.get(at("a")) is not None) == (1, True)

    index.let_go(at("a"), "job_9")
    assert (index.evict(0), index.get(at("a"))) == (1, None)


def test_an_older_version_in_use_is_not_removed_yet(index: Localized) -> None:
    index.put(at("a"), held(at("a"), job="job_1", at_ms=1))
    index.use(at("a"), "job_9")
    index.put(at("a"), held(at("a"), job="job_2", at_ms=2))

    assert list(index.doomed()) == []

    index.let_go(at("a"), "job_9")
    assert [d.record.job_id for d in index.doomed()] == ["job_1"]


def test_a_use_nobody_ended_ends_by_itself(index: Localized) -> None:
    put(index, at("a"))
    index.use(at("a"), "job_9", hold_ms=-1)

    assert index.evict(0) == 1


def test_a_source_without_files_is_none(index: Localized) -> None:
    put(index, at("a"), at("b", fingerprint="f2"))
    index.evict(10)

    assert index.sources("t1") == {"f2"}


def test_what_was_removed_is_not_doomed_again(index: Localized) -> None:
    put(index, at("a"))
    index.drop(at("a"))
    (doomed,) = index.doomed()

    index.removed(doomed)

    assert list(index.doomed()) == []


def test_two_who_want_the_next_generation_get_the_same(index: Localized) -> None:
    seen = index.generation("x")

    assert (index.generation("x", after=seen), index.generation("x", after=seen)) == (1, 1)
    assert index.generation("x", after=1) == 2
    assert index.generation("y") == 0
