"""What every connector must do, run on every connector type found against a real peer.

A type without a peer fails here by name: its test exports `PEERS` (see tests/connectors/peer.py).
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from connectors.base import (
    PROTOCOLS,
    Connector,
    Intent,
    Lists,
    Live,
    Query,
    Reads,
    TimeShifted,
    Writes,
    copy_to_file,
)
from connectors.egress import Egress
from connectors.publishing import already_published, artifact_of, publish_once
from connectors.registry import Registry
from schemas.errors import (
    AccessDenied,
    Cancelled,
    CuttingRoomError,
    DestinationRejected,
    FieldInvalid,
    LeaseLost,
    SourceNotFound,
    TooLarge,
)
from tests.connectors.peer import FILES, Peer, PeerMaker, env_for, opened

REGISTRY = Registry.discover()
TYPES = [kind.name for kind in REGISTRY.types()]
LATER_MS = 4_000_000_000_000
Able = TypeVar("Able")


def _peers(kind: str) -> dict[str, PeerMaker]:
    try:
        found: dict[str, PeerMaker] = importlib.import_module(f"tests.connectors.test_{kind}").PEERS
    except (ImportError, AttributeError):
        return {}
    return found


CASES = [(kind, name) for kind in TYPES for name in _peers(kind)]


@pytest.fixture(scope="module", params=CASES, ids=[f"{k}: {n}" for k, n in CASES])
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Peer]]:
    kind, name = request.param
    with _peers(kind)[name](tmp_path_factory.mktemp(kind)) as peer:
        yield kind, peer


@pytest.fixture
def connector(case: tuple[str, Peer]) -> Connector:
    return opened(*case)


def able(connector: Connector, protocol: Callable[..., Able]) -> Able:
    """The connector as one that can do this, or a skip that says it declares otherwise."""
    declared: Any = protocol
    if not isinstance(connector, declared):
        pytest.skip(f"declares no {declared.__name__}")
    able_one: Able = connector
    return able_one


def lister(connector: Connector) -> Lists:
    """The connector as one that lists files: one of channels alone holds none."""
    able(connector, Reads)
    return able(connector, Lists)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = tmp_path / "made.mp4"
    path.write_bytes(b"made by a job " * 1000)
    return path


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_has_a_peer(kind: str) -> None:
    assert _peers(kind), f"tests/connectors/test_{kind}.py must export PEERS"


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_describes_itself(kind: str) -> None:
    described = REGISTRY.get(kind)

    schemas = described.schemas()

    assert described.capabilities, f"{kind} can do nothing"
    assert schemas["config"]["additionalProperties"] is False
    assert schemas["auth"]["additionalProperties"] is False
    assert described.identity or not described.config.model_fields
    json.dumps(schemas)


def test_opening_contacts_nobody(case: tuple[str, Peer]) -> None:
    def nobody(host: str, port: int) -> list[tuple[Any, ...]]:
        raise AssertionError(f"{host} was looked up while the connector was opened")

    kind, peer = case
    found = opened(kind, peer, env=env_for(peer.settings, Egress(resolve=nobody)))

    assert isinstance(found, Connector)


def test_it_can_do_what_it_declares(case: tuple[str, Peer], connector: Connector) -> None:
    declared = REGISTRY.capabilities(case[0])

    assert declared == {name for name, p in PROTOCOLS.items() if isinstance(connector, p)}


def test_good_credentials_pass_and_bad_ones_do_not(
    case: tuple[str, Peer], connector: Connector
) -> None:
    kind, peer = case

    connector.check()
    for capability in REGISTRY.capabilities(kind):
        connector.check(capability)

    if peer.bad_auth is not None:
        with pytest.raises(AccessDenied):
            opened(kind, peer, peer.bad_auth).check()


def test_no_secret_shows(case: tuple[str, Peer], connector: Connector) -> None:
    kind, peer = case
    auth = REGISTRY.get(kind).parse_auth(peer.auth)
    secrets = [
        v for v in peer.auth.values() if isinstance(v, str) and v not in auth.model_dump_json()
    ]

    shown = f"{auth!r} {connector!r} {connector.__dict__!r}"

    assert not [secret for secret in secrets if secret in shown]


@pytest.mark.parametrize("name", sorted(FILES))
def test_files_are_read_in_ranges(name: str, connector: Connector) -> None:
    source, data = able(connector, Reads), FILES[name]

    assert source.stat(name).size == len(data)
    assert source.stat(name).name == name.rpartition("/")[2]
    assert source.read_range(name, 0, len(data)) == data
    assert source.read_range(name, 1, 2) == data[1:3]
    assert source.read_range(name, len(data) - 1, 10) == data[-1:]
    assert source.read_range(name, len(data) + 5, 10) == b""


def test_a_file_is_copied_whole(connector: Connector, tmp_path: Path) -> None:
    moved: list[int] = []

    copy_to_file(able(connector, Reads), "clips/first.mp4", tmp_path / "out", on_bytes=moved.append)

    assert (tmp_path / "out").read_bytes() == FILES["clips/first.mp4"]
    assert sum(moved) == len(FILES["clips/first.mp4"])


@pytest.mark.parametrize("name", ["none.mp4", "clips/none.mp4", "none/none.mp4", "top.txt/x"])
def test_what_is_not_there_is_not_found(name: str, connector: Connector) -> None:
    source = able(connector, Reads)

    for read in (lambda: source.stat(name), lambda: source.read_range(name, 0, 1)):
        with pytest.raises(SourceNotFound):
            read()


@pytest.mark.parametrize("name", ["", "..", "../x", "a/../b", "/x", "a//b", "a/./b", "a\nb"])
def test_names_that_lead_elsewhere_are_refused(name: str, connector: Connector) -> None:
    source = able(connector, Reads)

    for use in (lambda: source.stat(name), lambda: source.read_range(name, 0, 1)):
        with pytest.raises((FieldInvalid, SourceNotFound)):
            use()


def test_a_folder_lists_its_own(connector: Connector) -> None:
    lists = lister(connector)

    top, below = lists.query(Query()), lists.query(Query(path="clips"))

    assert {(e.file_id, e.kind) for e in top.items} >= {("clips", "folder"), ("top.txt", "file")}
    assert {e.file_id for e in below.items} >= {n for n in FILES if n.startswith("clips/")}
    assert all(e.file_id.startswith("clips/") for e in below.items)


def test_pages_show_everything_once(connector: Connector) -> None:
    lists, cursor, seen = lister(connector), None, list[str]()

    for _ in range(20):
        page = lists.query(Query(path="clips", limit=1, cursor=cursor))
        seen += [entry.file_id for entry in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break

    assert len(seen) == len(set(seen))
    assert set(seen) >= {n for n in FILES if n.startswith("clips/")}


def test_a_text_finds_names_below(connector: Connector) -> None:
    found = lister(connector).query(Query(text="SECOND"))

    assert [entry.file_id for entry in found.items] == ["clips/second.mp4"]


def test_sizes_sort(connector: Connector) -> None:
    found = lister(connector).query(Query(path="clips", sort="-size", filters={"kind": "file"}))

    sizes = [entry.size or 0 for entry in found.items]
    assert sizes == sorted(sizes, reverse=True)
    assert found.items[0].file_id == "clips/first.mp4"


def test_output_is_published_and_reads_back(connector: Connector, made: Path) -> None:
    target, reads = able(connector, Writes), able(connector, Reads)
    artifact = artifact_of(made, key="out/published.mp4", job_id="job-1")
    remembered: list[Intent] = []

    done = publish_once(
        target, artifact, earlier=None, remember=remembered.append, check_fence=lambda: None
    )

    data = reads.read_range(done.key, 0, 10**6)
    assert (done.size, done.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert data == made.read_bytes()
    assert json.loads(json.dumps(remembered[0])) == remembered[0]
    assert target.find(remembered[0]) == done


def test_a_second_run_of_the_job_finds_the_firsts_output(connector: Connector, made: Path) -> None:
    target, remembered = able(connector, Writes), list[Intent]()
    artifact = artifact_of(made, key="out/again.mp4", job_id="job-1")
    first = publish_once(
        target, artifact, earlier=None, remember=remembered.append, check_fence=lambda: None
    )

    second = publish_once(
        target,
        artifact,
        earlier=remembered[0],
        remember=lambda _: pytest.fail("published twice"),
        check_fence=lambda: None,
    )

    assert second == first
    assert already_published(target, remembered[0]) == first


def test_an_attempt_with_other_bytes_than_the_recorded_one_still_counts_as_the_jobs(
    connector: Connector, made: Path
) -> None:
    target, reads = able(connector, Writes), able(connector, Reads)
    recorded = target.begin(artifact_of(made, key="out/encoded.mp4", job_id="job-1"))
    made.write_bytes(b"encoded again, a little differently")
    second = publish_once(
        target,
        artifact_of(made, key="out/encoded.mp4", job_id="job-1"),
        earlier=recorded,
        remember=lambda _: None,
        check_fence=lambda: None,
    )
    third = publish_once(
        target,
        artifact_of(made, key="out/encoded.mp4", job_id="job-1"),
        earlier=recorded,
        remember=lambda _: None,
        check_fence=lambda: None,
    )

    assert third == second
    assert reads.read_range(third.key, 0, 10**6) == made.read_bytes()
    assert target.janitor([], LATER_MS) == 0


def test_another_jobs_output_is_never_replaced(connector: Connector, made: Path) -> None:
    target, reads = able(connector, Writes), able(connector, Reads)
    mine = publish_once(
        target,
        artifact_of(made, key="out/mine.mp4", job_id="job-1"),
        earlier=None,
        remember=lambda _: None,
        check_fence=lambda: None,
    )
    before = reads.read_range(mine.key, 0, 10**6)
    made.write_bytes(b"other bytes")
    other = artifact_of(made, key="out/mine.mp4", job_id="job-2")

    done = None
    with suppress(DestinationRejected):
        done = publish_once(
            target, other, earlier=None, remember=lambda _: None, check_fence=lambda: None
        )

    assert done is None or (done.key != mine.key and done.notes)
    assert reads.read_range(mine.key, 0, 10**6) == before


def test_a_stale_attempt_publishes_nothing(connector: Connector, made: Path) -> None:
    target = able(connector, Writes)
    artifact = artifact_of(made, key="out/stale.mp4", job_id="job-1")
    remembered: list[Intent] = []

    def stale() -> None:
        raise LeaseLost("another worker has the job")

    with pytest.raises(LeaseLost):
        publish_once(target, artifact, earlier=None, remember=remembered.append, check_fence=stale)

    assert target.find(remembered[0]) is None
    target.abort(remembered[0])


def test_an_aborted_upload_leaves_nothing_and_can_be_aborted_again(
    connector: Connector, made: Path
) -> None:
    target = able(connector, Writes)
    artifact = artifact_of(made, key="aborted/x.mp4", job_id="job-1")
    intent = target.put(target.begin(artifact), artifact)

    target.abort(intent)
    target.abort(intent)

    assert target.find(intent) is None
    assert target.janitor([], LATER_MS) == 0


def test_deleting_is_for_good_and_harmless_twice(connector: Connector, made: Path) -> None:
    target, reads = able(connector, Writes), able(connector, Reads)
    done = publish_once(
        target,
        artifact_of(made, key="out/doomed.mp4", job_id="job-1"),
        earlier=None,
        remember=lambda _: None,
        check_fence=lambda: None,
    )

    target.delete(done.key)
    target.delete(done.key)

    with pytest.raises(SourceNotFound):
        reads.stat(done.key)


def test_cancelling_stops_the_bytes(connector: Connector, made: Path) -> None:
    target = able(connector, Writes)
    artifact = artifact_of(made, key="out/cancelled.mp4", job_id="job-1")

    def cancel() -> None:
        raise Cancelled("somebody cancelled")

    with pytest.raises(Cancelled):
        publish_once(
            target,
            artifact,
            earlier=None,
            remember=lambda _: None,
            check_fence=cancel,
            control=cancel,
        )

    assert target.janitor([], LATER_MS) == 0


def test_channels_have_playlists(case: tuple[str, Peer], connector: Connector) -> None:
    live = able(connector, Live)
    channel = case[1].channel or pytest.fail("the peer names no channel")

    body = live.fetch(live.playlist_url(channel), max_bytes=10**6)

    assert channel in {found.id for found in live.channels()}
    assert body.data
    with pytest.raises(TooLarge):
        live.fetch(live.playlist_url(channel), max_bytes=len(body.data) - 1)
    with pytest.raises(SourceNotFound):
        live.playlist_url("no-such-channel")


def test_channels_are_listed_as_such(case: tuple[str, Peer], connector: Connector) -> None:
    live, lists = able(connector, Live), able(connector, Lists)

    found = lists.query(Query(filters={"kind": "channel"}, limit=1000))
    named = {entry.file_id: entry.name for entry in found.items}

    assert {channel.id for channel in live.channels()} == set(named)
    text = named[case[1].channel or ""].upper()
    assert case[1].channel in {e.file_id for e in lists.query(Query(text=text)).items}


def test_a_range_has_a_playlist_of_its_own(case: tuple[str, Peer], connector: Connector) -> None:
    live, shifted = able(connector, Live), able(connector, TimeShifted)
    channel, wanted = case[1].channel or "", case[1].wanted

    body = live.fetch(shifted.playlist_within(channel, wanted), max_bytes=10**6)

    assert body.data
    with pytest.raises(SourceNotFound):
        shifted.playlist_within("no-such-channel", wanted)


def test_a_cancelled_fetch_stops(
    case: tuple[str, Peer], connector: Connector, tmp_path: Path
) -> None:
    live = able(connector, Live)
    url = live.playlist_url(case[1].channel or "")

    def cancel() -> None:
        raise Cancelled("somebody cancelled")

    with pytest.raises(Cancelled):
        live.fetch(url, max_bytes=10**6, control=cancel)
    with pytest.raises(Cancelled):
        live.download(url, tmp_path / "out", max_bytes=10**6, control=cancel)

    assert not (tmp_path / "out").exists()


def test_an_inner_address_is_refused(case: tuple[str, Peer]) -> None:
    kind, peer = case
    if kind == "local":
        pytest.skip("has no addresses")

    with pytest.raises(CuttingRoomError) as raised:
        opened(kind, peer, env=env_for(peer.settings, Egress())).check()

    assert isinstance(raised.value, AccessDenied)
