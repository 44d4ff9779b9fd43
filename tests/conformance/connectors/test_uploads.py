"""What every connector that takes uploads must do, run against the real peers of its type."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from connectors.base import Intent, Receives, TempCredentials
from connectors.registry import Registry
from schemas.errors import CorruptMedia, SourceNotFound
from schemas.uploads import MultipartGrant, TusGrant, UploadWanted
from tests.connectors.peer import PeerMaker, opened

REGISTRY = Registry.discover()
TYPES = [t.name for t in REGISTRY.types() if "temp_credentials" in t.capabilities]


def _peers(kind: str) -> dict[str, PeerMaker]:
    found: dict[str, PeerMaker] = importlib.import_module(f"tests.connectors.test_{kind}").PEERS
    return found


CASES = [(kind, name) for kind in TYPES for name in _peers(kind)]


@pytest.fixture(scope="module", params=CASES, ids=[f"{k}: {n}" for k, n in CASES])
def connector(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    kind, name = request.param
    with _peers(kind)[name](tmp_path_factory.mktemp(kind)) as peer:
        yield opened(kind, peer)


DATA = b"sent by a phone " * 1000


def an_upload(target: TempCredentials, key: str, upload_id: str = "upl_1") -> Intent:
    wanted = UploadWanted(upload_id=upload_id, key=key, size=len(DATA), content_type="video/mp4")
    return target.open_upload(wanted, target.upload_modes(len(DATA))[0])


def send(target: TempCredentials, intent: Intent) -> None:
    """Send everything as a client would, with what the grant says and nothing else."""
    match target.grant(intent, 600):
        case MultipartGrant() as grant:
            for part in grant.parts:
                piece = DATA[part.offset : part.offset + part.size]
                assert requests.put(part.url, data=piece, timeout=20).ok
        case TusGrant() as grant:
            assert isinstance(target, Receives)
            with target.receive(intent) as receiver:
                receiver.write(DATA[grant.offset :])
                receiver.commit()


def test_an_upload_is_invisible_until_it_is_settled_and_stays_as_it_was_read(
    connector: Any,
) -> None:
    intent = an_upload(connector, "in/phone.mp4")
    before = connector.arrived(intent)
    send(connector, intent)
    with pytest.raises(SourceNotFound):
        connector.stat(intent["key"])

    settled = connector.settle(json.loads(json.dumps(intent)))
    read = connector.read_upload(settled, 0, len(DATA)), connector.read_upload(settled, 5, 4)
    done = connector.admit(settled, hashlib.sha256(DATA).hexdigest(), lambda: None)

    assert (before, connector.arrived(intent)) == (0, len(DATA))
    assert read == (DATA, DATA[5:9])
    assert (done.key, done.size) == (intent["key"], len(DATA))
    assert connector.read_range(done.key, 0, 10**6) == DATA
    again = connector.settle(intent)
    assert connector.admit(again, done.sha256, lambda: None).key == done.key
    connector.abandon(again, admitted=True)
    assert connector.stat(done.key).size == len(DATA)


def test_an_upload_that_did_not_come_whole_is_not_settled(connector: Any) -> None:
    intent = an_upload(connector, "in/short.mp4")

    with pytest.raises(CorruptMedia):
        connector.settle(intent)

    connector.abandon(intent)


def test_an_abandoned_upload_leaves_nothing_and_cannot_go_on(connector: Any) -> None:
    intent = an_upload(connector, "in/abandoned.mp4")
    send(connector, intent)
    settled = connector.settle(intent)

    connector.abandon(settled)
    connector.abandon(settled)

    with pytest.raises(SourceNotFound):
        connector.stat(intent["key"])
    with pytest.raises(SourceNotFound):
        connector.grant(intent, 600)


def test_an_upload_never_takes_anothers_name(connector: Any) -> None:
    first = an_upload(connector, "in/same.mp4", "upl_a")
    send(connector, first)
    connector.admit(connector.settle(first), hashlib.sha256(DATA).hexdigest(), lambda: None)

    second = an_upload(connector, "in/same.mp4", "upl_b")

    assert second["key"] != first["key"]
    connector.abandon(second)
    assert connector.read_range(first["key"], 0, 10**6) == DATA
