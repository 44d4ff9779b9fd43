"""The sftp connector: host keys, log-ins, and files of a real SSH server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path

import paramiko
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from connectors import sftp
from connectors.sftp import Auth, Config, SftpFiles, connect
from schemas.errors import AccessDenied, SourceUnavailable
from schemas.settings import Settings
from tests.connectors.loopback import loopback
from tests.connectors.peer import FILES, Peer, env_for
from tests.connectors.rclone import PASSWORD, USER, rclone_serving


def a_key(passphrase: bytes = b"") -> tuple[str, str]:
    """A fresh private key in OpenSSH form, and its public line."""
    key = Ed25519PrivateKey.generate()
    sealing = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, sealing
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return private.decode(), public.decode()


@lru_cache
def log_in_key() -> tuple[str, str]:
    return a_key()


@contextmanager
def _ssh_server(tmp_path: Path, *, by_key: bool) -> Iterator[Peer]:
    host, public = a_key()
    (tmp_path / "host").write_text(host)
    (tmp_path / "host").chmod(0o600)
    (tmp_path / "authorized").write_text(log_in_key()[1] + "\n")
    options = (
        ["--authorized-keys", str(tmp_path / "authorized")]
        if by_key
        else ["--user", USER, "--pass", PASSWORD]
    )
    with rclone_serving("sftp", tmp_path, "--key", str(tmp_path / "host"), *options) as port:
        yield Peer(
            config={"host": "127.0.0.1", "port": port, "username": USER, "hostKey": public},
            auth={"privateKey": log_in_key()[0]} if by_key else {"password": PASSWORD},
            bad_auth={"privateKey": a_key()[0]} if by_key else {"password": "another"},
        )


PEERS = {
    "a log-in by password": partial(_ssh_server, by_key=False),
    "a log-in by key": partial(_ssh_server, by_key=True),
}


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with _ssh_server(tmp_path_factory.mktemp("sftp"), by_key=False) as running:
        yield running


def files(peer: Peer, **changes: object) -> SftpFiles:
    config = Config.model_validate({**peer.config, **changes})
    return connect(config, Auth.model_validate(peer.auth), env_for(Settings()))


def test_a_server_with_another_host_key_gets_no_password(peer: Peer) -> None:
    with pytest.raises(AccessDenied, match="host key"):
        files(peer, hostKey=a_key()[1]).check()


def test_one_known_key_of_several_is_enough(peer: Peer) -> None:
    lines = f"# a comment\n{a_key()[1]}\nexample.org {peer.config['hostKey']} a comment\n"

    files(peer, hostKey=lines).check()


def test_a_folder_is_the_root_of_its_files(peer: Peer) -> None:
    below = files(peer, folder="clips")

    assert below.read_range("second.mp4", 0, 100) == FILES["clips/second.mp4"]
    assert below.stat("second.mp4").modified_ms is not None


def test_a_connection_that_was_lost_is_made_again(peer: Peer) -> None:
    source = files(peer)
    source.stat("top.txt")

    source.close()

    assert source.read_range("top.txt", 0, 10) == b"top"
    source.close()


def test_connections_end_with_their_connector(peer: Peer) -> None:
    source = files(peer)
    source.stat("top.txt")
    transport = source._open.get_channel().get_transport()  # type: ignore[union-attr]

    del source

    transport.join(10)
    assert not transport.is_active()


def test_a_server_that_speaks_no_ssh_is_unavailable(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sftp, "ANSWER_S", 1.0)
    with loopback() as server:
        server.answers["*"] = b"HTTP/1.1 400 Bad Request\r\n\r\n"

        with pytest.raises(SourceUnavailable):
            files(peer, port=server.port).check()


def test_a_sealed_key_opens_with_its_passphrase_alone() -> None:
    private, _ = a_key(b"open sesame")

    def auth(**values: str) -> Auth:
        return Auth.model_validate({"privateKey": private, **values})

    assert isinstance(sftp._private_key(auth(passphrase="open sesame")), paramiko.Ed25519Key)
    for wrong in (auth(), auth(passphrase="wrong")):
        with pytest.raises(AccessDenied):
            sftp._private_key(wrong)


@pytest.mark.parametrize(
    "changes",
    [
        {"hostKey": ""},
        {"hostKey": "trust me"},
        {"hostKey": "ssh-ed25519 !!!!"},
        {"host": "a b"},
        {"folder": "../up"},
        {"port": 0},
        {"username": ""},
    ],
)
def test_a_config_that_names_no_known_server_is_refused(changes: dict[str, object]) -> None:
    good = {"host": "h", "username": "u", "hostKey": a_key()[1]}

    with pytest.raises(ValidationError):
        Config.model_validate({**good, **changes})


@pytest.mark.parametrize(
    "auth", [{}, {"password": "x", "privateKey": "y"}, {"password": "x", "passphrase": "y"}]
)
def test_one_way_to_log_in_is_needed(auth: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Auth.model_validate(auth)
