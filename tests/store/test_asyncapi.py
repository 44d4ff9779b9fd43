"""The published document of the intake is the one the code validates by."""

from __future__ import annotations

import json
from pathlib import Path

from store.asyncapi import document

PUBLISHED = Path(__file__).parent.parent.parent / "docs/reference/intake.asyncapi.json"


def test_the_published_document_is_current() -> None:
    assert json.loads(PUBLISHED.read_text()) == document("1")


def test_what_we_set_ourselves_is_not_asked_for() -> None:
    clip = document("1")["components"]["schemas"]["ClipFromStream"]

    assert not {"tenant_id", "requested_by", "kind"} & set(clip["properties"])
    assert "connector" in clip["required"]


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(document("1"))
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}

    assert names <= set(document("1")["components"]["schemas"])
