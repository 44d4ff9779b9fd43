"""What keeps the whole service from starting is said at once, and in a sentence."""

from __future__ import annotations

import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from cli.stack import Stack, kept_secret
from schemas.errors import Conflict, InvalidCommand
from schemas.settings import Settings


def a_stack(folder: Path, said: list[str] | None = None, **changes: object) -> Stack:
    given = {"data_dir": str(folder), "redis_url": "redis://127.0.0.1:9/0", **changes}
    return Stack(Settings.model_validate(given), [].append if said is None else said.append)


def test_a_port_where_somebody_else_answers_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        stack = a_stack(tmp_path / "data", port=other.getsockname()[1])

        with pytest.raises(Conflict) as refused:
            stack.start()

    assert refused.value.error_code == "cannot_listen"
    assert f"port {stack.settings.port}" in refused.value.message
    assert not stack.credentials_file.exists()


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(InvalidCommand) as refused:
        a_stack(tmp_path / place).start()

    assert str(tmp_path / place) in refused.value.message


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("fd00::7", "http://[fd00::7]:8000"),
        ("studio.example", "http://studio.example:8000"),
    ],
)
def test_wherever_it_listens_this_machine_reaches_it(tmp_path: Path, host: str, url: str) -> None:
    assert a_stack(tmp_path, host=host, port=8000).url == url


def test_all_who_start_at_once_have_the_same_secret(tmp_path: Path) -> None:
    barrier, fresh = threading.Barrier(8), count()

    def start() -> str:
        barrier.wait(10)
        return kept_secret(tmp_path / "keyring", lambda: f"secret {next(fresh)}")

    with ThreadPoolExecutor(8) as pool:
        found = {one.result() for one in [pool.submit(start) for _ in range(8)]}

    assert found == {"secret 0"}
    assert stat.S_IMODE((tmp_path / "keyring").stat().st_mode) == 0o600
