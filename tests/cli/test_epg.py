"""`cuttingroom epg` on a file and on an address, without any server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from pipelines import xmltv
from schemas.errors import NotFound
from tests.connectors.loopback import loopback, reply
from tests.guides import BBC, document, programme, zipped

GUIDE = document(
    BBC,
    programme("20220204060000 +0000", "20220204070000 +0000", "Early"),
    programme("19700101000000 +0000", "19700101010000 +0000", "Old"),
)
SPAN = ("--from", "2022-02-04T00:00:00Z", "--to", "2022-02-05T00:00:00Z")


@pytest.fixture
def guide(tmp_path: Path) -> str:
    path = tmp_path / "guide.xml.gz"
    path.write_bytes(zipped(GUIDE))
    return str(path)


def said(*words: str) -> str:
    result = CliRunner().invoke(app, ["epg", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_stations_are_listed(guide: str) -> None:
    assert "BBC One" in said("stations", guide, "--find", "one")
    assert json.loads(said("stations", guide, "--json"))[0]["stationId"] == "bbc1.uk"
    assert json.loads(said("stations", guide, "--json", "--country", "de")) == []


def test_a_schedule_is_shown(guide: str) -> None:
    table, found = (
        said("show", guide, "bbc1.uk", *SPAN),
        said("show", guide, "bbc1.uk", "--format", "json", *SPAN),
    )

    assert "Early" in table
    assert [p["title"] for p in json.loads(found)] == ["Early"]


def test_a_schedule_is_written_as_xmltv(guide: str) -> None:
    text = said("show", guide, "bbc1.uk", "--format", "xmltv", *SPAN)

    assert len(list(xmltv.read([text.encode()]))) == 2


def test_a_typed_address_is_meant() -> None:
    with loopback() as server:
        server.answers["/g"] = reply(GUIDE)

        assert "BBC One" in said("stations", server.url("/g"))


def test_what_is_on_now_is_read_from_an_address_too(guide: str) -> None:
    assert "station" in said("now", guide)


@pytest.mark.parametrize("words", [("stations", "none.xml"), ("show", "GUIDE", "bbc9")])
def test_what_is_not_there_is_said(guide: str, words: tuple[str, ...]) -> None:
    with pytest.raises(NotFound):
        said(*(guide if word == "GUIDE" else word for word in words))
