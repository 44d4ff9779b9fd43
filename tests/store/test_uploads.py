"""Records of uploads: whose they are, how long they hold a name, what has become of them."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.connectors import Destination
from schemas.errors import FieldInvalid, NotFound, StoreUnavailable
from schemas.jobs import Job
from schemas.uploads import HeldUpload, Upload, UploadEnd
from store.client import Store
from store.forgetting import forget_tenant
from store.jobs import Jobs, RedisLedger
from store.uploads import Uploads, job_intents, state_of
from tests.builders import a_clip_command
from tests.fakes import fake_store
from tests.redis_server import free_port

NOW_MS = 1_700_000_000_000
END = UploadEnd(state="failed", code="cancelled", message="given up")


def an_upload(number: int = 1, **changes: Any) -> Upload:
    values: dict[str, Any] = {
        "id": f"upl_{number:03}",
        "tenant_id": "ten_1",
        "destination_id": "dst_1",
        "requested_by": "user:u1",
        "mode": "tus",
        "place": Destination(key="in/a.mp4"),
        "intent": {"key": "in/a.mp4", "job_id": f"upl_{number:03}", "temp": f"t{number}"},
        "file_name": "a.mp4",
        "size": 10,
        "content_type": "video/mp4",
        "created_ms": NOW_MS,
        "expires_ms": NOW_MS + 1000,
    }
    return Upload(**values | changes)


def a_job(state: Any) -> Job:
    return Job(id="j", kind="upload", state=state, created_at="", requested_by="u")


@pytest.mark.parametrize(
    ("job", "end", "at_ms", "state"),
    [
        (None, None, NOW_MS, "open"),
        (None, None, NOW_MS + 1000, "expired"),
        (None, END, NOW_MS, "failed"),
        ("queued", None, NOW_MS + 9999, "checking"),
        ("running", None, NOW_MS, "checking"),
        ("succeeded", None, NOW_MS + 9999, "completed"),
        ("failed", None, NOW_MS, "failed"),
        ("cancelled", None, NOW_MS, "open"),
        ("cancelled", None, NOW_MS + 1000, "expired"),
    ],
)
def test_what_has_become_of_an_upload(
    job: Any, end: UploadEnd | None, at_ms: int, state: str
) -> None:
    held = HeldUpload(upload=an_upload(), job_id="j", end=end)

    assert state_of(held, None if job is None else a_job(job), at_ms) == state


def test_an_upload_is_its_tenants() -> None:
    uploads = Uploads(fake_store())
    uploads.put(an_upload(), NOW_MS)

    assert uploads.get("ten_1", "upl_001").upload == an_upload()
    for tenant_id, upload_id in (("ten_2", "upl_001"), ("ten_1", "upl_002"), ("ten_1", "")):
        with pytest.raises(NotFound):
            uploads.get(tenant_id, upload_id)


def test_pages_show_each_upload_once_and_drop_what_was_forgotten() -> None:
    store = fake_store()
    uploads = Uploads(store)
    for number in range(5):
        uploads.put(an_upload(number), NOW_MS)
    store.client.delete("cr:upload:ten_1:upl_003")

    first = uploads.page("ten_1", "dst_1", None, 2)
    second = uploads.page("ten_1", "dst_1", first.next_cursor, 2)
    third = uploads.page("ten_1", "dst_1", second.next_cursor, 2)

    seen = [[held.upload.id for held in page.items] for page in (first, second, third)]
    assert seen == [["upl_004"], ["upl_002", "upl_001"], ["upl_000"]]
    assert third.next_cursor is None
    assert store.client.zcard("cr:uploads:ten_1:dst_1") == 4
    with pytest.raises(FieldInvalid):
        uploads.page("ten_1", "dst_1", "job_1", 2)


def test_only_what_is_under_way_counts() -> None:
    uploads = Uploads(fake_store())
    for number in range(4):
        uploads.put(an_upload(number), NOW_MS)
    uploads.checking(an_upload(0), "job_1")
    uploads.end(an_upload(1), END)

    assert uploads.open_count("ten_1", NOW_MS) == 2
    assert uploads.open_count("ten_1", NOW_MS + 1000) == 0
    assert uploads.get("ten_1", "upl_000").job_id == "job_1"


def test_the_first_end_stays() -> None:
    uploads = Uploads(fake_store())
    uploads.put(an_upload(), NOW_MS)

    first = uploads.end(an_upload(), END)
    again = uploads.end(an_upload(), END.model_copy(update={"state": "expired"}))

    assert (first, again) == (True, False)
    assert uploads.get("ten_1", "upl_001").end == END


def test_a_place_is_one_uploads_until_it_lets_go() -> None:
    uploads = Uploads(fake_store())

    first = uploads.reserve("ten_1", "con\nin/a.mp4", "upl_1", 1000)
    second = uploads.reserve("ten_1", "con\nin/a.mp4", "upl_2", 1000)
    other = uploads.reserve("ten_2", "con\nin/a.mp4", "upl_3", 1000)
    uploads.let_go("ten_1", "con\nin/a.mp4")

    assert (first, second, other) == (True, False, True)
    assert uploads.reserve("ten_1", "con\nin/a.mp4", "upl_2", 1000)


def test_what_is_due_comes_until_it_is_cleaned() -> None:
    store = fake_store()
    uploads = Uploads(store)
    for number in range(3):
        uploads.put(an_upload(number), NOW_MS)
    store.client.delete("cr:upload:ten_1:upl_001")
    uploads.later(an_upload(2), NOW_MS + 5000)

    early, due = uploads.due(NOW_MS), uploads.due(NOW_MS + 1000)
    uploads.cleaned(an_upload(0))

    assert (early, [held.upload.id for held in due]) == ((), ["upl_000"])
    assert uploads.due(NOW_MS + 1000) == ()
    assert [one["temp"] for one in uploads.intents()] == ["t2"]


def test_the_intents_of_unfinished_jobs_are_known() -> None:
    store = fake_store()
    ledger = RedisLedger(store)
    for clip_id in ("a", "b", "c"):
        Jobs(store).accept(a_clip_command(clip_id=clip_id))
    for number in range(2):
        lease = ledger.claim("clip", f"w{number}", f"n{number}")
        assert lease is not None
        ledger.publish_intent(lease, {"temp": f"t{number}"})
    assert lease is not None
    ledger.finish(lease, {})

    assert job_intents(store) == ({"temp": "t0"},)


def test_a_tenant_that_is_forgotten_leaves_no_uploads() -> None:
    store = fake_store()
    uploads = Uploads(store)
    uploads.put(an_upload(), NOW_MS)
    uploads.reserve("ten_1", "a", "upl_001", 1000)

    forget_tenant(store, "ten_1")

    assert [str(key) for key in store.client.keys("*") if "ten_1" in str(key)] == []
    assert uploads.due(NOW_MS + 9999) == ()
    assert store.client.keys("*") == []


def test_without_redis_it_says_so() -> None:
    uploads = Uploads(Store.from_url(f"redis://127.0.0.1:{free_port()}/0"))

    with pytest.raises(StoreUnavailable):
        uploads.get("ten_1", "upl_001")
