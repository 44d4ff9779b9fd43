"""Uploads: where one may lie, what of it is believed, and what is told once it was checked."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipelines import naming
from schemas.base import Value
from schemas.commands import CheckUpload
from schemas.connectors import Published
from schemas.errors import CorruptMedia, FieldInvalid, TooLarge
from schemas.media import MediaInfo
from schemas.plans import AdmitUpload, Plan, TakeUpload
from schemas.uploads import TakenUpload

NAME = "upload"
VARIABLES: dict[str, str] = {
    "fileName": "the file's name as its client says it, made safe",
    "date": "the UTC date the upload was begun, as 2026-11-23",
    "time": "the UTC time it was begun, as 053334",
    "uploadId": "the upload's id, which no other upload has",
    "user": "who asked for it: a user's or an API key's id",
    "destination": "the destination's name",
}
MAX_FILE_NAME_BYTES = 150
_VARIABLE = re.compile(r"\{([^{}]*)\}")
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9*][a-z0-9!#$&^_.+-]{0,126}")
# What containers are called by phones, browsers and IANA; the first is our own name of it.
TYPES: Mapping[str, tuple[str, ...]] = {
    "mp4": (
        "video/mp4",
        "audio/mp4",
        "video/quicktime",
        "video/x-m4v",
        "video/3gpp",
        "video/3gpp2",
        "audio/x-m4a",
        "audio/m4a",
        "audio/3gpp",
        "application/mp4",
    ),
    "mpegts": ("video/mp2t", "video/mpegts", "audio/mp2t"),
    "m2ts": ("video/mp2t", "video/vnd.dlna.mpeg-tts", "model/vnd.mts"),
    "matroska": ("video/x-matroska", "audio/x-matroska", "video/matroska", "audio/matroska"),
    "webm": ("video/webm", "audio/webm"),
    "adts": ("audio/aac", "audio/aacp", "audio/x-aac"),
    "ac3": ("audio/ac3",),
    "eac3": ("audio/eac3",),
    "mp3": ("audio/mpeg", "audio/mp3"),
    "mpegps": ("video/mpeg", "video/mp2p"),
    "flv": ("video/x-flv",),
    "ogg": ("video/ogg", "audio/ogg", "application/ogg", "audio/opus", "audio/vorbis"),
    "wav": ("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"),
    "avi": ("video/x-msvideo", "video/avi", "video/vnd.avi", "video/msvideo"),
    "flac": ("audio/flac", "audio/x-flac"),
    "mxf": ("application/mxf", "video/mxf"),
    "jpeg": ("image/jpeg", "image/jpg"),
    "png": ("image/png",),
    "webp": ("image/webp",),
    "gif": ("image/gif",),
}
IMAGES = frozenset({"jpeg", "png", "webp", "gif"})
# A fragmented MP4 has the names of any other.
_SAME = {"fmp4": "mp4"}
KNOWN = frozenset(name for names in TYPES.values() for name in names)


class UploadFacts(Value):
    """What was found out of an upload: what came, what it begins like, what it holds."""

    taken: TakenUpload | None = None
    container: str = ""
    media: MediaInfo | None = None

    @property
    def known(self) -> TakenUpload:
        """What came; only there once it was taken."""
        if self.taken is None:
            raise TypeError("the upload has not been taken yet")
        return self.taken


# What is agreed before a byte comes


def checked_template(template: str) -> str:
    """The template, refused where it names a variable there is none of, or makes no key."""
    _refuse_unknown(template)
    return naming.filled(template, dict.fromkeys(VARIABLES, "x")) and template


def key(template: str, values: Mapping[str, str]) -> str:
    """Where an upload should lie.

    >>> key("{date}/{fileName}", {"date": "2022-02-04", "fileName": "a/b: c.MOV"})
    '2022-02-04/b_ c.MOV'
    """
    _refuse_unknown(template)
    named = {**values, "fileName": file_name(values["fileName"])}
    return naming.filled(template, named)


def file_name(told: str) -> str:
    """A client's name of a file without the folders it had there, short, its ending kept.

    >>> file_name("C:\\\\clips\\\\Goal!.mp4"), file_name("../../etc/passwd")
    ('Goal!.mp4', 'passwd')
    """
    last = re.split(r"[/\\]", told)[-1]
    stem, dot, ending = last.rpartition(".")
    if not dot or not re.fullmatch(r"[A-Za-z0-9]{1,8}", ending):
        return naming.safe_name(last, MAX_FILE_NAME_BYTES)
    return f"{naming.safe_name(stem, MAX_FILE_NAME_BYTES)}.{ending}"


def _refuse_unknown(template: str) -> None:
    for name in _VARIABLE.findall(template):
        if name not in VARIABLES:
            known = ", ".join(f"{{{n}}}" for n in VARIABLES)
            raise FieldInvalid(
                f"there is no {{{name[:40]}}}; there are {known}", code="path_invalid"
            )


def media_type(told: str) -> str:
    """A media type in lower case, without its parameters; `*` may stand for its second half.

    >>> media_type("Video/MP4; codecs=avc1"), media_type("image/*")
    ('video/mp4', 'image/*')
    """
    plain = told.partition(";")[0].strip().lower()
    if not _TYPE.fullmatch(plain) or ("*" in plain and not plain.endswith("/*")):
        raise FieldInvalid(f"{told[:60]!r} is not a media type", code="type_invalid")
    return plain


def allows(allowed: tuple[str, ...] | None, content_type: str) -> bool:
    """Whether a type is among those allowed.

    >>> allows(("video/*",), "video/mp4"), allows(("video/mp4",), "video/mp2t"), allows(None, "x/y")
    (True, False, True)
    """
    if allowed is None:
        return True
    family = f"{content_type.partition('/')[0]}/*"
    return content_type in allowed or family in allowed


# What is judged once they have come


def take_plan(command: CheckUpload, facts: UploadFacts) -> Plan:
    """Nothing is believed of a file that was not read."""
    step = TakeUpload(to=command.destination, intent=command.intent, size=command.size, name=NAME)
    return Plan(steps=(step,))


def judge_bytes(command: CheckUpload, taken: TakenUpload) -> None:
    """Refuse bytes that are not those announced, by number or by hash."""
    if taken.size > command.size:
        raise TooLarge(f"{taken.size} bytes came, more than the {command.size} announced")
    if taken.size < command.size:
        raise CorruptMedia(f"{taken.size} bytes came, not the {command.size} announced")
    if command.sha256 is not None and taken.sha256 != command.sha256:
        raise CorruptMedia(
            f"the bytes have the hash {taken.sha256[:16]}…, not the announced "
            f"{command.sha256[:16]}…",
            code="hash_mismatch",
        )


def judged_container(command: CheckUpload, container: str) -> str:
    """The container, refused where files of the announced type do not begin like it."""
    names = TYPES.get(_SAME.get(container, container), ())
    if command.content_type not in names:
        raise CorruptMedia(f"it was announced as {command.content_type}, and is {container}")
    return container


def true_type(command: CheckUpload, facts: UploadFacts) -> str:
    """What the file is: as announced where its streams agree, else refused."""
    if facts.media is None:
        raise TypeError("the upload has not been looked into yet")
    kinds = {stream.kind for stream in facts.media.streams}
    found = facts.container
    family = "image" if found in IMAGES else "video" if "video" in kinds else "audio"
    told = command.content_type.partition("/")[0]
    # A cover picture is a video stream to a probe, and no video to anybody else.
    if told == "audio" and "audio" in kinds:
        family = "audio"
    if told not in {family, "application", "model"}:
        raise CorruptMedia(f"it was announced as {command.content_type}, and holds {family} alone")
    if not allows(command.allowed_types, command.content_type):
        raise CorruptMedia(f"{command.content_type} is not allowed here")
    return command.content_type


def admit_plan(command: CheckUpload, facts: UploadFacts) -> Plan:
    """What was found good is let in."""
    taken = facts.known
    step = AdmitUpload(to=command.destination, intent=taken.intent, sha256=taken.sha256)
    return Plan(steps=(step,))


def result(command: CheckUpload, facts: UploadFacts, published: Published) -> dict[str, object]:
    """What the job answers, and the event tells."""
    taken, media = facts.known, facts.media
    return {
        "uploadId": command.upload_id,
        "key": published.key,
        "size": taken.size,
        "sha256": taken.sha256,
        "type": true_type(command, facts),
        "durationMs": None if media is None or facts.container in IMAGES else media.duration_ms,
        "container": facts.container,
        "file": {
            "destination": published.destination,
            "key": published.key,
            "url": published.url,
            "size": published.size,
            "sha256": published.sha256,
            "notes": list(published.notes),
        },
    }
