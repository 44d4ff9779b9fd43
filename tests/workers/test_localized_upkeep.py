"""The quota of localized files is kept, and the index comes back from the media store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from connectors.local import Folder
from pipelines.localize import file_digest
from store.localized import Localized, Place
from tests.fakes import fake_store
from tests.store.test_localized import held
from workers.localized_upkeep import ORPHAN_MS, Upkeep
from workers.runtime import epoch_ms

A, B = Place("t1", "f1", "a"), Place("t2", "f2", "b")


class Shop:
    """A media store in a folder, an index, and their upkeep."""

    def __init__(self, root: Path) -> None:
        self.root, self.index = root, Localized(fake_store())
        self.upkeep = self.with_index(self.index)

    def with_index(self, index: Localized, quota: int = 10**9) -> Upkeep:
        return Upkeep(index, lambda: Folder(self.root), quota, epoch_ms)

    def hold(self, place: Place, job: str = "job_1", at_ms: int = 1) -> None:
        """Put a file with its record into the store, and into the index."""
        real = Place(place.tenant_id, place.fingerprint, file_digest(place.digest))
        record = held(real, job=job, at_ms=at_ms).model_copy(update={"file_id": place.digest})
        self.write(record.key, b"0123456789")
        self.write(record.record_key, record.model_dump_json(by_alias=True).encode())
        self.index.put(real, record, found=True)

    def write(self, key: str, data: bytes) -> Path:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def files(self) -> list[str]:
        return sorted(p.name for p in self.root.rglob("*") if p.is_file())


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    (tmp_path / "media").mkdir()
    return Shop(tmp_path / "media")


def test_past_the_quota_files_and_their_records_are_removed(shop: Shop) -> None:
    shop.hold(A, "job_1", at_ms=1)
    shop.hold(B, "job_2", at_ms=2)

    removed = shop.with_index(shop.index, quota=10).keep_quota()

    assert (removed, shop.files()) == (1, ["job_2.json", "job_2.mp4"])
    assert shop.with_index(shop.index, quota=10).keep_quota() == 0


def test_within_the_quota_nothing_is_touched(shop: Shop) -> None:
    shop.hold(A)

    assert (shop.upkeep.keep_quota(), len(shop.files())) == (0, 2)


def test_a_lost_index_comes_back_from_the_records(shop: Shop) -> None:
    shop.hold(A, "job_1")
    shop.hold(B, "job_2")
    fresh = Localized(fake_store())

    found = shop.with_index(fresh).look_again()

    assert (found, fresh.total_bytes()) == (2, 20)
    assert (fresh.sources("t1"), fresh.sources("t2")) == ({"f1"}, {"f2"})
    assert shop.with_index(fresh).look_again() == 0


def test_of_several_versions_the_newest_is_held_and_the_others_go(shop: Shop) -> None:
    shop.hold(A, "job_1", at_ms=1)
    shop.hold(A, "job_2", at_ms=2)
    fresh = Localized(fake_store())
    upkeep = shop.with_index(fresh)

    upkeep.look_again()
    upkeep.keep_quota()

    assert shop.files() == ["job_2.json", "job_2.mp4"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-5],
        lambda text: text.replace('"t1"', '"t2"'),
        lambda text: text.replace('"size":10', '"size":11'),
        lambda text: text.replace("localized/t1/f1", "localized/t2/f2"),
    ],
    ids=["torn", "another tenant", "another size", "a file elsewhere"],
)
def test_a_record_that_does_not_fit_its_place_is_not_believed(shop: Shop, damage: object) -> None:
    shop.hold(A)
    (record,) = shop.root.rglob("*.json")
    record.write_text(damage(record.read_text()))  # type: ignore[operator]
    fresh = Localized(fake_store())

    assert shop.with_index(fresh).look_again() == 0
    assert fresh.total_bytes() == 0


def test_files_nobody_vouches_for_go_after_a_day(shop: Shop) -> None:
    shop.hold(A)
    (record,) = shop.root.rglob("*.json")
    old = shop.write(str(record.relative_to(shop.root).with_name("job_8.mp4")), b"old")
    new = shop.write(str(record.relative_to(shop.root).with_name("job_9.mp4")), b"new")
    os.utime(old, (0, (epoch_ms() - ORPHAN_MS) / 1000 - 60))

    shop.with_index(Localized(fake_store())).look_again()

    assert (old.exists(), new.exists(), len(shop.files())) == (False, True, 3)


def test_an_empty_store_is_no_error(shop: Shop) -> None:
    assert shop.upkeep.look_again() == 0
