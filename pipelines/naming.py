"""Path templates: `{channel}/{date}/{title}-{id}.mp4` becomes a key that is safe everywhere."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping

from schemas.errors import FieldInvalid

VARIABLES: dict[str, str] = {
    "channel": "the channel the export was asked of",
    "date": "the UTC date the first range begins on, as 2026-11-23",
    "time": "the UTC time the first range begins at, as 053334",
    "start": "where the first range begins, epoch milliseconds",
    "end": "where the last range ends, epoch milliseconds",
    "title": "the metadata's title, else the programme's, else the channel",
    "programme": "the programme's id, else `none`",
    "id": "the job's id",
}
MAX_NAME_BYTES = 200
MAX_KEY = 900
_VARIABLE = re.compile(r"\{([^{}]*)\}")
# Kept from names: what a path, a shell, a URL or a file system of Windows gives a meaning to.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|{}%#]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)


def checked(template: str) -> str:
    """The template, refused where it names a variable there is none of, or makes no key."""
    filled(template, dict.fromkeys(VARIABLES, "x"))
    return template


def filled(template: str, values: Mapping[str, str]) -> str:
    """The key a template and values make; every name in it safe, NFC, and short enough."""
    for name in _VARIABLE.findall(template):
        if name not in values:
            known = ", ".join(f"{{{n}}}" for n in VARIABLES)
            raise FieldInvalid(
                f"there is no {{{name[:40]}}}; there are {known}", code="path_invalid"
            )
    if re.search(r"[{}]", _VARIABLE.sub("", template)):
        raise FieldInvalid("a brace of the path is left open", code="path_invalid")
    parts = [_part(part, values) for part in template.split("/")]
    key = "/".join(parts)
    if len(key) > MAX_KEY:
        raise FieldInvalid(f"the path is longer than {MAX_KEY} characters", code="path_invalid")
    return key


def _part(part: str, values: Mapping[str, str]) -> str:
    if part in {"", ".", ".."} or part != part.strip():
        raise FieldInvalid("a path is names joined by single slashes", code="path_invalid")
    stem, dot, ending = part.rpartition(".")
    if not dot or "{" in ending or len(ending) > 8:
        return _safe(_put(part, values), "")
    return _safe(_put(stem, values), f".{ending}")


def _put(text: str, values: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: safe_name(values[match[1]]), text)


def _safe(stem: str, ending: str) -> str:
    name = safe_name(stem, MAX_NAME_BYTES - len(ending.encode()))
    return f"{name}{ending}"


def safe_name(text: str, most_bytes: int = MAX_NAME_BYTES) -> str:
    """A name for any file system: NFC, no separator or control, not reserved, capped in bytes.

    >>> safe_name("News: 8/9 PM"), safe_name("con"), safe_name("..")
    ('News_ 8_9 PM', '_con', '_')
    """
    name = "".join(_letters(unicodedata.normalize("NFC", text)))
    name = _UNSAFE.sub("_", name).strip(" .")
    if _RESERVED.match(name):
        name = f"_{name}"
    while len(name.encode()) > most_bytes:
        name = name[:-1]
    return name.strip(" .") or "_"


def _letters(text: str) -> Iterator[str]:
    """The characters that are seen: no marks that turn text round or join it invisibly."""
    for letter in text:
        kind = unicodedata.category(letter)
        if kind in {"Cs", "Co", "Cn", "Zl", "Zp"}:
            yield "_"
        elif kind == "Zs":
            yield " "
        elif kind != "Cf":
            yield letter
