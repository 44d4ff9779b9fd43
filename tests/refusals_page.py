"""Writes docs/reference/refusals.md from the rows the tests run.

python -m tests.refusals_page > docs/reference/refusals.md
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests import hostile_manifests
from tests.e2e.test_faults import BROKEN
from tests.hostile_playlists import HOSTILE
from tests.refused_requests import REFUSED

HEAD = """# What is refused, and with which code

Every row is a test. None gives a 5xx, a hung worker, or a short clip called success. Written from
the tests' own rows: `python -m tests.refusals_page > docs/reference/refusals.md`.
"""


def table(
    title: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    widest: int | None = 160,
) -> str:
    """A titled Markdown table; longer cells are cut off."""
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {' | '.join(_cell(value)[:widest] for value in row)} |" for row in rows]
    return f"## {title}\n\n" + "\n".join(lines) + "\n"


def page() -> str:
    """The whole page."""
    requests = [(r.what, r.method, r.status, f"`{r.code}`") for r in REFUSED]
    playlists = [(row.name, f"`{row.code}`") for row in HOSTILE]
    manifests = [(row.name, f"`{row.code}`") for row in hostile_manifests.HOSTILE]
    segments = [(name, f"`{code}`") for name, (_, code) in BROKEN.items()]
    return "\n".join(
        (
            HEAD,
            table("Requests", ("what", "method", "status", "code"), requests),
            table("Playlists", ("what", "code"), playlists),
            table("DASH manifests", ("what", "code"), manifests),
            table("Segments", ("what the origin does", "code"), segments),
        )
    )


def _cell(value: object) -> str:
    text = str(value).replace("|", "\\|").replace("\n", " ")
    return "".join(char if char.isprintable() else "?" for char in text)


if __name__ == "__main__":
    print(page(), end="")
