"""Posters and sprites stay below their quota; what is looked at goes last."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.local import Folder
from store.thumbs import Thumbs
from tests.fakes import fake_store
from workers.thumbs_upkeep import ThumbsUpkeep

OLD, NEW = "thumbs/t1/f1/one/poster-0.jpg", "thumbs/t1/f1/two/poster-0.jpg"
SPRITE = "thumbs/t2/f2/three/sprite-jpg"


@pytest.fixture
def index() -> Thumbs:
    return Thumbs(fake_store())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for key in (OLD, NEW, f"{SPRITE}/sprite-000.jpg", f"{SPRITE}/sprite.json"):
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(b"0123456789")
    return tmp_path


def upkeep(index: Thumbs, root: Path, quota: int) -> ThumbsUpkeep:
    return ThumbsUpkeep(index, lambda: Folder(root), quota)


def held(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_what_was_looked_at_least_recently_goes_first(index: Thumbs, root: Path) -> None:
    for at_ms, (key, size) in enumerate(((SPRITE, 20), (OLD, 10), (NEW, 10)), start=1):
        index.put(key, size, at_ms)
    index.put(SPRITE, 20)

    removed = upkeep(index, root, 30).keep_quota()

    assert removed == 1
    assert held(root) == {NEW, f"{SPRITE}/sprite-000.jpg", f"{SPRITE}/sprite.json"}
    assert upkeep(index, root, 30).keep_quota() == 0


def test_a_sprite_goes_with_all_its_sheets(index: Thumbs, root: Path) -> None:
    index.put(SPRITE, 20, 1)
    index.put(OLD, 10, 2)

    upkeep(index, root, 15).keep_quota()

    assert held(root) == {OLD, NEW}


def test_the_index_comes_back_from_the_media_store(index: Thumbs, root: Path) -> None:
    found = upkeep(index, root, 0).look_again()
    again = upkeep(index, root, 0).look_again()

    assert (found, again) == (3, 0)
    assert set(index.over(0)) == {OLD, NEW, SPRITE}
    assert set(index.over(40)) == set()
    upkeep(index, root, 0).keep_quota()
    assert held(root) == set()


def test_a_version_is_remembered(index: Thumbs) -> None:
    index.put_version("thumbs/t1/f1/one", "v1")

    assert index.version("thumbs/t1/f1/one") == "v1"
    assert index.version("thumbs/t1/f1/two") is None
