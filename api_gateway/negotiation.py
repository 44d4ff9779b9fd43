"""Which form of a resource an answer takes: named in the query, else by the Accept header."""

from __future__ import annotations

from collections.abc import Mapping

from api_gateway.problems import Problem


def chosen(named: str | None, accept: str | None, offers: Mapping[str, tuple[str, ...]]) -> str:
    """The form that is wanted, of those offered with their media types; 406 where none is.

    The first is given to whoever takes anything.
    """
    if named is not None:
        if named in offers:
            return named
        raise _none(offers)
    if accept is None or not accept.strip():
        return next(iter(offers))
    for wanted in _wishes(accept):
        for form, kinds in offers.items():
            if any(_matches(wanted, kind) for kind in kinds):
                return form
    raise _none(offers)


def _wishes(accept: str) -> list[str]:
    """What an Accept header takes, the most wanted first."""
    found: list[tuple[float, int, str]] = []
    for number, part in enumerate(accept[:1000].split(",")):
        kind, *params = (piece.strip().lower() for piece in part.split(";"))
        weight = next((p[2:] for p in params if p.startswith("q=")), "1")
        if (quality := _quality(weight)) > 0:
            found.append((-quality, number, kind))
    return [kind for _, _, kind in sorted(found)]


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _matches(wanted: str, kind: str) -> bool:
    if wanted == "*/*":
        return True
    return wanted == kind or (wanted.endswith("/*") and kind.startswith(wanted[:-1]))


def _none(offers: Mapping[str, tuple[str, ...]]) -> Problem:
    told = "; ".join(f"{form} ({kinds[0]})" for form, kinds in offers.items())
    return Problem(406, f"there is no such form of it; there is {told}")
