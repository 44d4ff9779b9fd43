"""`cuttingroom plan`: every command there is, planned as far as its bytes are known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cli.main import app
from cli.plan import run
from connectors.sealing import new_key
from schemas.commands import COMMANDS
from schemas.errors import CuttingRoomError, InvalidCommand
from schemas.settings import Settings
from tests.media_builder import StreamSpec, build, segment, write_mp4
from tests.origin import Origin

KINDS = tuple(str(command.model_fields["kind"].default) for command in COMMANDS)
# What is shown of a command: its phases, and those that only follow once others were done.
PHASES = {
    "clip": (["fetch", "cut"], ["publish"]),
    "localize": (["look", "fetch"], ["cut", "check", "publish", "record"]),
    "rendition": (["read", "measure", "encode"], ["check", "publish"]),
    "export": (["fetch", "cut"], ["alike", "measure", "encode", "check", "publish"]),
    "sprite": (["read", "take"], ["publish"]),
    "probe": (["look"], []),
    "upload": (["take"], ["check", "admit"]),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_mp4(build(StreamSpec(seconds=2, size=(128, 96))), folder / "a.mp4")
    return folder


@pytest.fixture(scope="module")
def words(place: Path) -> Iterator[dict[str, dict[str, Any]]]:
    """A command of every kind, as JSON spells it."""
    asset = segment(build(StreamSpec(seconds=4, size=(128, 96))))
    with Origin(asset) as origin:
        files = _ref("local", folder=str(place))
        live = _ref("hls", url=origin.url)
        span = {"start_ms": asset.epoch_ms + 400, "end_ms": asset.epoch_ms + 1900}
        part = {"connector": live, "channel_id": "c", "range": span}
        to, a_file = {"key": "made.mp4"}, {"connector": files, "file_id": "a.mp4"}
        yield {
            "clip": {**part, "clip_id": "g", "file_id": "f", "requested_file_id": "f",
                     "destination": to},
            "export": {"connector": live, "channel_id": "c", "parts": [part], "destination": to},
            "localize": a_file,
            "probe": a_file,
            "rendition": {**a_file, "recipes": [{"name": "x", "video": {"codec": "h264"}}],
                          "destination": to},
            "sprite": {**a_file, "destination": to},
            "upload": {"upload_id": "upl_1", "size": 9, "content_type": "video/mp4",
                       "intent": {"key": "made.mp4"}, "destination": to},
            "epg": {"connector": _ref("xmltv", url=origin.url)},
        }  # fmt: skip


def _ref(kind: str, **config: str) -> dict[str, Any]:
    return {"id": "con_1", "tenant_id": "t1", "type": kind, "config": config}


def planned(place: Path, kind: str, words: dict[str, Any]) -> list[dict[str, Any]]:
    told = Console(file=StringIO(), width=10_000)
    settings = Settings(
        allow_cidrs=("127.0.0.0/8",), local_folders=(str(place),), secret_keys=new_key()
    )
    command = {"kind": kind, "tenant_id": "t1", "requested_by": "user:u1", **words}
    run(json.dumps(command).encode(), settings, told)
    assert isinstance(told.file, StringIO)
    text, found = told.file.getvalue(), []
    while text.strip():
        value, end = json.JSONDecoder().raw_decode(text.lstrip())
        found.append(value)
        text = text.lstrip()[end:]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_command_is_planned_or_says_why_not(
    kind: str, place: Path, words: dict[str, dict[str, Any]]
) -> None:
    if kind not in PHASES:
        with pytest.raises(CuttingRoomError, match="asks Redis what is held"):
            planned(place, kind, words[kind])
        return

    found = planned(place, kind, words[kind])

    shown, following = PHASES[kind]
    assert [one["phase"] for one in found if "plan" in one] == shown
    assert [one["phase"] for one in found if "follows" in one] == following
    assert {one["follows"] for one in found if "follows" in one} <= {shown[-1]}
    assert [entry.name for entry in place.iterdir()] == ["a.mp4"]


def test_a_rendition_is_planned_down_to_arguments(
    place: Path, words: dict[str, dict[str, Any]]
) -> None:
    (encode,) = [
        one for one in planned(place, "rendition", words["rendition"]) if one["phase"] == "encode"
    ]

    assert "-c:v:0" in encode["plan"][0]["argv"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"{", "JSON"),
        (b"\xff", "JSON"),
        (b"[]", "JSON"),
        (b'{"kind": "dance"}', "kind: Value error, there is no command 'dance'"),
        (b'{"kind": "probe", "tenant_id": "t1"}', "requested_by: Field required"),
    ],
    ids=["half", "no text", "a list", "no command of ours", "half a command"],
)
def test_what_is_no_command_is_named(text: bytes, why: str) -> None:
    with pytest.raises(InvalidCommand, match="not a command: ") as refused:
        run(text, Settings(), Console(file=StringIO()))

    assert why in refused.value.message


def test_a_file_that_is_not_there_is_no_traceback(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["plan", str(tmp_path / "nothing.json")])

    assert said.exit_code == 2
    assert "does not exist" in said.output
