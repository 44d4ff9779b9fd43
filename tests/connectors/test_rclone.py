"""The rclone connector: what back ends may be told, and that nothing of it can be seen."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cli.rclone import argv, start_rclone
from connectors._rclone_options import NEVER
from connectors.base import ConnectorEnv, Query
from connectors.egress import Egress
from connectors.ranged import readers, source_file
from connectors.rclone import Auth, Config, RcloneFiles, connect, describe
from connectors.registry import Registry
from schemas.errors import (
    AccessDenied,
    CorruptMedia,
    CuttingRoomError,
    FieldInvalid,
    RateLimited,
    SourceNotFound,
    SourceUnavailable,
    TooLarge,
)
from schemas.settings import Settings
from tests.connectors.buckets import BUCKET, KEYS, client_for, moto_server
from tests.connectors.loopback import loopback, reply
from tests.connectors.peer import FILES, NOW_MS, Peer, env_for
from tests.connectors.rclone import PASSWORD, USER, rclone_serving

BACKENDS = ("sftp+hosts", "webdav+hosts", "s3+hosts", "dropbox", "s3x", "local", "crypt")


@contextmanager
def rclone_of_the_operator() -> Iterator[Settings]:
    """Settings with an rclone that runs, as `cuttingroom up` starts it."""
    with tempfile.TemporaryDirectory(prefix="rc-") as folder:
        service, place = start_rclone(Path(folder))
        try:
            yield Settings(rclone_socket=place, rclone_backends=BACKENDS)
        finally:
            service.stop()


@contextmanager
def _ssh(tmp_path: Path) -> Iterator[Peer]:
    with (
        rclone_of_the_operator() as settings,
        rclone_serving("sftp", tmp_path, "--user", USER, "--pass", PASSWORD) as port,
    ):
        said = {"host": "127.0.0.1", "port": port, "user": USER, "shell_type": "none"}
        yield Peer(
            config={"backend": "sftp", "parameters": said},
            auth={"secrets": {"pass": PASSWORD}},
            bad_auth={"secrets": {"pass": "wrong"}},
            settings=settings,
        )


@contextmanager
def _webdav(tmp_path: Path) -> Iterator[Peer]:
    with (
        rclone_of_the_operator() as settings,
        rclone_serving("webdav", tmp_path, "--user", USER, "--pass", PASSWORD) as port,
    ):
        said = {"url": f"http://127.0.0.1:{port}", "user": USER, "vendor": "rclone"}
        yield Peer(
            config={"backend": "webdav", "parameters": said},
            auth={"secrets": {"pass": PASSWORD}},
            bad_auth={"secrets": {"pass": "wrong"}},
            settings=settings,
        )


@contextmanager
def _bucket(tmp_path: Path) -> Iterator[Peer]:
    with ExitStack() as stack:
        settings = stack.enter_context(rclone_of_the_operator())
        endpoint = stack.enter_context(moto_server())
        for name, data in FILES.items():
            client_for(endpoint).put_object(Bucket=BUCKET, Key=f"pre/{name}", Body=data)
        said = {"provider": "Other", "endpoint": endpoint, "access_key_id": KEYS["access_key_id"]}
        yield Peer(
            config={"backend": "s3", "parameters": said, "folder": f"{BUCKET}/pre"},
            auth={"secrets": {"secret_access_key": KEYS["secret_access_key"]}},
            settings=settings,
        )


PEERS = {"an SSH server": _ssh, "a WebDAV server": _webdav, "a bucket": _bucket}


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    with rclone_of_the_operator() as made:
        yield made


@pytest.fixture
def env(settings: Settings) -> Iterator[ConnectorEnv]:
    made = env_for(settings)
    yield made
    made.egress.close()


def opened(env: ConnectorEnv, backend: str, secrets: dict[str, str], **said: Any) -> RcloneFiles:
    config = Config(backend=backend, parameters=said)
    return connect(config, Auth.model_validate({"secrets": secrets}), env)


def test_nothing_of_a_remote_is_on_a_command_line(tmp_path: Path) -> None:
    said = argv(Path("rclone"), tmp_path / "s", tmp_path)

    assert said[said.index("--config") + 1] == ""
    assert not [word for word in said if "pass" in word or "host" in word]


def test_a_file_is_read_over_several_connections(tmp_path: Path) -> None:
    with _webdav(tmp_path) as peer:
        env = env_for(peer.settings)
        files = connect(Config.model_validate(peer.config), Auth.model_validate(peer.auth), env)

        source = source_file(files, "clips/first.mp4")
        reader = readers(lambda: files, source)(lambda: None)
        with reader.open(100, 50) as body:
            data = bytearray(50)
            count = body.readinto(memoryview(data))

        env.egress.close()
    assert bytes(data[:count]) == FILES["clips/first.mp4"][100 : 100 + count]
    assert source.validators.size == len(FILES["clips/first.mp4"])


def test_an_rclone_that_was_started_anew_is_told_again(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="rc-"))
    with rclone_serving("webdav", tmp_path) as port:
        first, place = start_rclone(folder)
        env = env_for(Settings(rclone_socket=place, rclone_backends=BACKENDS))
        files = opened(env, "webdav", {}, url=f"http://127.0.0.1:{port}", vendor="rclone")
        try:
            files.check()
        finally:
            first.stop()
        second, _ = start_rclone(folder)
        try:
            found = files.query(Query(path="clips"))
        finally:
            second.stop()
            env.egress.close()

    assert len(found.items) == 3


@pytest.mark.parametrize("name", sorted(NEVER))
def test_back_ends_that_read_this_machine_or_wrap_others_are_never_used(name: str) -> None:
    with pytest.raises(ValidationError, match="reads this machine"):
        Config(backend=name)


@pytest.mark.parametrize(
    ("backend", "said", "secrets"),
    [
        ("http", {"url": "https://a.test"}, {}),
        ("dropbox", {"token_url": "http://169.254.169.254/"}, {}),
        ("dropbox", {"auth_url": "http://127.0.0.1/"}, {}),
        ("dropbox", {}, {"nonsense": "x"}),
        ("sftp", {}, {}),
        ("sftp", {"host": "a.test", "ssh": "touch /tmp/x"}, {}),
        ("sftp", {"host": "a.test", "server_command": "touch /tmp/x"}, {}),
        ("sftp", {"host": "a.test", "md5sum_command": "touch /tmp/x"}, {}),
        ("sftp", {"host": "a.test", "key_file": "/etc/shadow"}, {}),
        ("sftp", {"host": "a.test", "known_hosts_file": "/etc/passwd"}, {}),
        ("sftp", {"host": "a.test", "key_use_agent": True}, {}),
        ("sftp", {"host": "a.test", "http_proxy": "http://127.0.0.1:1"}, {}),
        ("sftp", {"host": "a.test", "set_env": "A=b"}, {}),
        ("sftp", {"host": "a.test", "pass": "in the open"}, {}),
        ("sftp", {"host": "http://[::1"}, {}),
        ("webdav", {"url": "https://a.test", "bearer_token_command": "id"}, {}),
        ("webdav", {"url": "https://a.test", "unix_socket": "/run/x"}, {}),
        ("s3", {"env_auth": True}, {}),
        ("s3", {"shared_credentials_file": "/home/operator/.aws/credentials"}, {}),
        ("s3", {"profile": "default"}, {}),
        ("s3", {"secret_access_key": "in the open"}, {}),
    ],
)
def test_options_that_reach_inwards_are_refused(
    env: ConnectorEnv, backend: str, said: dict[str, Any], secrets: dict[str, str]
) -> None:
    with pytest.raises(FieldInvalid) as raised:
        opened(env, backend, secrets, **said).check()

    assert raised.value.error_code == "connector_config_invalid"
    assert "in the open" not in raised.value.message


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("sftp", {"host": "127.0.0.1"}),
        ("webdav", {"url": "http://127.0.0.1:1/"}),
        ("webdav", {"url": "http://[::ffff:127.0.0.1]/"}),
        ("s3", {"provider": "Other", "endpoint": "169.254.169.254"}),
    ],
)
def test_hosts_that_lie_inside_are_refused(
    settings: Settings, backend: str, said: dict[str, str]
) -> None:
    egress = Egress()
    env = ConnectorEnv(egress=egress, settings=settings, clock=lambda: NOW_MS)

    with pytest.raises(AccessDenied):
        opened(env, backend, {}, **said).check()

    egress.close()


def test_where_rclone_does_not_run_it_is_said_what_to_install() -> None:
    env = env_for(Settings())

    with pytest.raises(FieldInvalid, match=r"cuttingroom\[rclone\]"):
        opened(env, "dropbox", {}).check()

    assert describe(env) is None
    env.egress.close()


def test_a_connector_that_cannot_work_here_is_not_set_up(env: ConnectorEnv) -> None:
    kind, auth = Registry.discover().get("rclone"), Auth()

    kind.refuse(Config(backend="dropbox"), auth, env)
    for backend in ("drive", "sftp"):
        with pytest.raises(FieldInvalid, match=r"listed|needs host"):
            kind.refuse(Config(backend=backend), auth, env)


def test_an_rclone_that_is_gone_can_be_tried_again(tmp_path: Path) -> None:
    env = env_for(Settings(rclone_socket=str(tmp_path / "gone"), rclone_backends=BACKENDS))

    with pytest.raises(SourceUnavailable):
        opened(env, "dropbox", {}).check()

    env.egress.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(b"<html>"), CorruptMedia),
        (reply(b"[]"), CorruptMedia),
        (reply(b'{"list": ' + b"[" * 100_000), CorruptMedia),
        (reply(b'{"list": 5}'), CorruptMedia),
        (reply(b'{"list": [' + b"{}," * 100_001 + b"{}]}"), FieldInvalid),
        (reply(b" " * (65 << 20)), TooLarge),
        (reply(b'{"error": "dial tcp 10.0.0.9: k3y"}', "500 Oh"), SourceUnavailable),
        (reply(b'{"error": "ssh: unable to authenticate k3y"}', "500 Oh"), AccessDenied),
        (reply(b'{"error": "directory not found"}', "404 No"), SourceNotFound),
        (reply(b'{"error": "googleapi: Error 429: k3y"}', "500 Oh"), RateLimited),
    ],
    ids=["a page", "a list", "deep", "a number", "many", "large", "down", "denied", "no", "busy"],
)
def test_an_answer_that_lies_ends_in_a_code(
    answer: bytes, error: type[CuttingRoomError], env: ConnectorEnv, tmp_path: Path
) -> None:
    with loopback() as server, _at_a_socket(server.port) as place:
        server.answers["/config/providers"] = reply(
            b'{"providers": [{"Name": "dropbox", "Options": [5, {"Name": 7}, {"Name": "a b"}]}]}'
        )
        server.answers["/config/create"] = reply(b"{}")
        server.answers["/operations/list"] = answer
        here = ConnectorEnv(
            egress=env.egress,
            settings=Settings(rclone_socket=place, rclone_backends=BACKENDS),
            clock=env.clock,
        )

        with pytest.raises(error) as raised:
            opened(here, "dropbox", {}).query(Query())

    assert "k3y" not in raised.value.message


def test_entries_that_cannot_be_are_left_out(env: ConnectorEnv) -> None:
    listed = (
        b'{"list": [5, {"Path": 5}, {"Path": "../x"}, {"Path": "a\\u0000"}, {"Path": "/etc/x"},'
        b' {"Path": "a", "Size": -1, "ModTime": "soon"}, {"Path": "b", "IsDir": true}]}'
    )
    with loopback() as server, _at_a_socket(server.port) as place:
        server.answers["/config/providers"] = reply(b'{"providers": [{"Name": "dropbox"}]}')
        server.answers["*"] = reply(listed)
        settings = Settings(rclone_socket=place, rclone_backends=BACKENDS)
        here = ConnectorEnv(egress=env.egress, settings=settings, clock=env.clock)

        found = opened(here, "dropbox", {}).query(Query()).items

    assert [(entry.file_id, entry.kind, entry.size) for entry in found] == [
        ("a", "file", None),
        ("b", "folder", None),
    ]


@contextmanager
def _at_a_socket(port: int) -> Iterator[str]:
    """A unix socket that leads to a loopback port, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="rc-") as folder:
        place = f"{folder}/s"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(place)
            listener.listen()
            threading.Thread(target=_forward, args=(listener, port), daemon=True).start()
            yield place
            listener.shutdown(socket.SHUT_RDWR)


def _forward(listener: socket.socket, port: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", port))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(one, other), daemon=True).start()


def _pump(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError), one, other:
        while data := one.recv(65536):
            other.sendall(data)


def test_forms_are_rclones_own_less_what_may_not_be_set(env: ConnectorEnv) -> None:
    told = Registry.discover().get("rclone").schemas(env)

    forms = {part: told[part]["anyOf"] for part in ("config", "auth")}
    by_name = {form["properties"]["backend"]["const"]: form for form in forms["config"]}
    assert set(by_name) == {"sftp", "webdav", "s3", "dropbox"}
    sftp = by_name["sftp"]["properties"]["parameters"]
    assert sftp["properties"]["port"]["type"] == "integer"
    assert sftp["required"] == ["host"]
    assert not {"ssh", "pass", "key_file", "server_command"} & set(sftp["properties"])
    secrets = [form["properties"]["secrets"]["properties"] for form in forms["auth"]]
    assert all(option["writeOnly"] for form in secrets for option in form.values())
    assert "pass" in next(form for form in secrets if "pass" in form)
