"""The page of refusals is what the tests run."""

from pathlib import Path

from tests.refusals_page import page


def test_the_page_of_refusals_is_up_to_date() -> None:
    kept = Path(__file__).parents[1] / "docs/reference/refusals.md"

    assert kept.read_text(encoding="utf-8") == page()
