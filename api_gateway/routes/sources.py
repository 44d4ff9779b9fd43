"""A file as it is at its source: where to read it, what it holds, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from api_gateway import annotations as known_of
from api_gateway import etag
from api_gateway.answers import conditional
from api_gateway.deps import Caller, Deps, Gateway, in_thread
from api_gateway.file_place import Named, named
from api_gateway.jobviews import JobView, job_answer
from api_gateway.negotiation import chosen
from api_gateway.params import FileId, FileIdQuery, Id, IfNoneMatch
from api_gateway.probes import Looked, Target, copy_of, looked_at
from api_gateway.rawpath import file_id as file_id_of
from api_gateway.routes.clips import newest_clip
from api_gateway.routes.connectors import known_connector
from api_gateway.routes.query import thumbnail_url
from api_gateway.routing import operation, router
from api_gateway.upstream import asked
from connectors.base import Entry, Live, Reads, TimedUrl
from pipelines import interchange
from pipelines.annotations import by_name, markers, within
from pipelines.interchange import Described, Part
from pipelines.localize import same_version
from pipelines.xmp import xmp
from schemas.base import WireValue
from schemas.connectors import Connector
from schemas.cuts import DeliveredTrack
from schemas.errors import NotFound, SourceNotFound, Unsupported
from schemas.file_id import ClipFileId
from schemas.jobs import FINAL, Job
from schemas.localized import LocalizedFile, Validators
from schemas.media import MediaInfo
from schemas.metadata import MAX_CARRIED, MAX_MARKERS
from schemas.probes import spelled
from schemas.times import TimeRange, rfc3339

sources: APIRouter = router("connectors")
XMP_TYPE = "application/rdf+xml"
URL_TTL_S = 3600
_DECLARED = operation("read", 404, 406, 422, 501, 502)
_DECLARED["responses"][200] = {
    "description": "The file, as JSON or XMP",
    "content": {XMP_TYPE: {"schema": {"type": "string"}}},
}
_DECLARED["responses"][202] = {"model": JobView, "description": "A worker looks at the file"}
_OFFERS = {"json": ("application/json",), "xmp": (XMP_TYPE, "application/xml", "text/xml")}


class ProbeView(WireValue):
    """How far it is known what the file holds; `code` and `message` where it cannot be."""

    state: Literal["known", "pending", "failed", "none"]
    code: str | None = None
    message: str | None = None


class SourceView(WireValue):
    """A file at its source. `streams` and what goes with them are null while nobody has looked.

    `url` may be a credential until `urlExpiresAt`; null where no browser can reach the file or
    a copy of it. One that begins with `/` is this service's own.
    """

    file_id: str
    name: str
    kind: Literal["file", "clip", "channel"]
    content_type: str | None
    url: str | None
    url_expires_at: str | None
    size: int | None
    modified_at: str | None
    duration_ms: int | None
    container: str | None
    streams: tuple[dict[str, Any], ...] | None
    start_timecode: str | None
    localized: bool
    probe: ProbeView
    links: dict[str, str]


@dataclass(frozen=True)
class _Source:
    """What its system, or the media store, says of a file."""

    entry: Entry
    kind: Literal["file", "clip", "channel"]
    url: TimedUrl | None
    copy: LocalizedFile | None
    target: Target | None
    clip: ClipFileId | None = None
    result: dict[str, Any] | None = None


@sources.get(
    "/v1/connectors/{id}/files/{fileId}",
    operation_id="getSource",
    summary="A file at its source: a time-limited URL and what it holds, or its XMP",
    response_model=SourceView,
    **_DECLARED,
)
async def get_source(
    request: Request,
    deps: Deps,
    caller: Caller,
    connector_id: Id,
    file_id: FileId,
    query_file_id: FileIdQuery = None,
    form: Annotated[
        str | None,
        Query(alias="format", max_length=20, description="json or xmp; the Accept header else"),
    ] = None,
    _: IfNoneMatch = None,
) -> Response:
    """Where nobody has looked at the file yet, a worker does, and is waited for a little."""
    connector = await known_connector(deps, caller.tenant_id, connector_id)
    meant = named(deps, connector, file_id_of(file_id, query_file_id))
    wanted = chosen(form, request.headers.get("accept"), _OFFERS)
    source = await _source(deps, connector, meant)
    looked = await _looked(deps, caller, source)
    if wanted == "json":
        return _as_json(_view(deps, connector, source, looked))
    if looked.info is None and looked.failure is None and looked.job is not None:
        return _not_yet(looked.job)
    packet = await in_thread(_packet, deps, connector, source, looked.info)
    return _as_xmp(request, packet)


# --- what its system says


async def _source(deps: Gateway, connector: Connector, meant: Named) -> _Source:
    if meant.clip is not None:
        return await in_thread(_clip, deps, connector, meant.clip)
    copy = await in_thread(copy_of, deps, connector, meant.file_id)
    find: Callable[[Gateway, Connector, str, LocalizedFile | None], _Source] = (
        _file if "reads" in deps.registry.capabilities(connector.type) else _channel
    )
    return await asked(deps, lambda: find(deps, connector, meant.file_id, copy))


def _file(deps: Gateway, connector: Connector, file_id: str, copy: LocalizedFile | None) -> _Source:
    opened = deps.registry.open(connector.ref, deps.sealer, deps.env)
    if not isinstance(opened, Reads):
        raise Unsupported(f"{connector.type} connectors hold no files")
    entry = opened.stat(file_id)
    validators = version_of(entry)
    target = Target(connector, file_id, validators)
    url = opened.url(file_id, URL_TTL_S)
    if url is None and copy is not None and same_version(copy.validators, validators):
        url = _copy_url(deps, copy)
    return _Source(entry, "file", url, copy, target)


def _copy_url(deps: Gateway, copy: LocalizedFile) -> TimedUrl | None:
    """Where the copy is read: at the media store, else as a file of the job that made it."""
    presigned = deps.media_store.url(copy.key, URL_TTL_S)
    if presigned is not None:
        return presigned
    try:
        job = deps.jobs.get(copy.tenant_id, copy.job_id)
    except NotFound:
        return None
    url = (job.result or {}).get("file", {}).get("url")
    return TimedUrl(url=url) if isinstance(url, str) else None


def _channel(
    deps: Gateway, connector: Connector, file_id: str, copy: LocalizedFile | None
) -> _Source:
    """A channel's playlist; of a stream that was localized, what its copy holds."""
    opened = deps.registry.open(connector.ref, deps.sealer, deps.env)
    if not isinstance(opened, Live):
        raise Unsupported(f"{connector.type} connectors hold no files")
    url = TimedUrl(url=opened.playlist_url(file_id))
    names = {channel.id: channel.name for channel in opened.channels()}
    entry = Entry(file_id=file_id, name=names.get(file_id, file_id), kind="channel")
    return _Source(entry, "channel", url, copy, None)


def _clip(deps: Gateway, connector: Connector, clip: ClipFileId) -> _Source:
    """A clip that was made, as the media store holds it."""
    job = newest_clip(deps, connector.tenant_id, connector.id, clip)
    if job.state != "succeeded" or job.result is None:
        raise NotFound(f"the clip is not made: job {job.id} is {job.state}")
    made = job.result["file"]
    key, sha256 = str(made["key"]), str(made["sha256"])
    try:
        held = deps.media_store.stat(key)
    except SourceNotFound:
        raise NotFound("the clip was made, and its file was removed since") from None
    url = deps.media_store.url(key, URL_TTL_S) or TimedUrl(url=str(made["url"]))
    entry = Entry(
        file_id=clip.canonical,
        name=key.rpartition("/")[2],
        size=held.size,
        modified_ms=held.modified_ms,
        content_type="video/mp4",
        duration_ms=made.get("durationMs"),
        etag=f'"{sha256}"',
    )
    validators = Validators(size=held.size, etag=entry.etag)
    target = Target(connector, clip.canonical, validators, stored_key=key)
    return _Source(entry, "clip", url, None, target, clip, job.result)


def version_of(entry: Entry) -> Validators:
    """Which version of a file its system tells of."""
    return Validators(size=entry.size, etag=entry.etag, modified_ms=entry.modified_ms)


async def _looked(deps: Gateway, caller: Caller, source: _Source) -> Looked:
    if source.target is not None:
        return await looked_at(deps, caller, source.target, source.copy)
    return Looked(info=None if source.copy is None else source.copy.media)


# --- as JSON


def _view(deps: Gateway, connector: Connector, source: _Source, looked: Looked) -> SourceView:
    entry, info = source.entry, looked.info
    told = None if info is None else spelled(info)
    url, expires_ms = (source.url.url, source.url.expires_ms) if source.url else (None, None)
    return SourceView(
        file_id=entry.file_id,
        name=entry.name,
        kind=source.kind,
        content_type=entry.content_type,
        url=url,
        url_expires_at=None if expires_ms is None else rfc3339(expires_ms),
        size=entry.size,
        modified_at=None if entry.modified_ms is None else rfc3339(entry.modified_ms),
        duration_ms=_duration_ms(entry, info),
        container=None if info is None else info.container,
        streams=None if told is None else tuple(told["streams"]),
        start_timecode=_timecode(source, info),
        localized=source.copy is not None,
        probe=_probe(source, looked),
        links=_links(deps, connector, source, looked),
    )


def _duration_ms(entry: Entry, info: MediaInfo | None) -> int | None:
    found = None if info is None else info.duration_ms
    return entry.duration_ms if found is None else found


def _timecode(source: _Source, info: MediaInfo | None) -> str | None:
    """The file's own label; of a clip also what its job told of it."""
    own = None if info is None else info.start_timecode
    told = (source.result or {}).get("startTimecode")
    return own or (told if isinstance(told, str) else None)


def _probe(source: _Source, looked: Looked) -> ProbeView:
    if looked.info is not None:
        return ProbeView(state="known")
    if looked.failure is not None:
        failure = looked.failure
        return ProbeView(state="failed", code=failure.code, message=failure.message)
    if looked.job is None:
        return ProbeView(state="none")
    return ProbeView(state="failed" if looked.job.state in FINAL else "pending")


def _links(deps: Gateway, connector: Connector, source: _Source, looked: Looked) -> dict[str, str]:
    own = f"/v1/connectors/{connector.id}/files/{quote(source.entry.file_id, safe='')}"
    links = {"self": own, "metadata": f"{own}/metadata", "localize": f"{own}/localize"}
    picture = thumbnail_url(deps, connector, source.entry)
    if picture is not None:
        links["thumbnail"] = picture
    if looked.job is not None and looked.info is None:
        links["probe"] = f"/v1/jobs/{looked.job.id}"
    return links


def _as_json(view: SourceView) -> Response:
    body = view.model_dump_json(by_alias=True).encode()
    lasting = view.model_dump_json(exclude={"url", "url_expires_at"}).encode()
    # The tag is of what is told; the URL, which may be a credential, is a new one every time.
    headers = {"ETag": etag.of_bytes(lasting), "Cache-Control": "no-store", "Vary": "Accept"}
    return Response(body, media_type="application/json", headers=headers)


# --- as XMP


def _not_yet(job: Job) -> Response:
    return job_answer(job, Retry_After="1", Cache_Control="no-store")


def _as_xmp(request: Request, packet: str) -> Response:
    answer = conditional(request, packet.encode())
    answer.headers["Vary"] = "Accept"
    if answer.status_code == 200:
        answer.headers["Content-Type"] = f"{XMP_TYPE}; charset=utf-8"
    return answer


def _packet(deps: Gateway, connector: Connector, source: _Source, info: MediaInfo | None) -> str:
    described = _described(source, info)
    place = known_of.place_of(connector)
    with deps.catalog.read() as tx:
        if not tx.metadata.has_any(place):
            return xmp(described)
        if source.clip is not None:
            own, channel, found = known_of.of_clip(tx, place, source.clip)
            words = by_name(own, channel)
            found = within(found, _shown(source.clip, source.result))
        else:
            known = known_of.views(tx, connector.tenant_id)
            whole = tx.metadata.whole(place, source.entry.file_id, MAX_CARRIED)
            words = by_name(whole)
            timed = tx.metadata.of_file(place, source.entry.file_id, limit=MAX_MARKERS)
            found = markers(timed, known) if source.kind == "file" else ()
    marked = interchange.counted_in(described, found)
    title = words.get("title") or described.title
    return xmp(described.model_copy(update={"title": title, "metadata": words, "markers": marked}))


def _described(source: _Source, info: MediaInfo | None) -> Described:
    """The file as its XMP tells of it."""
    entry = source.entry
    streams = () if info is None else info.streams
    video = next((s for s in streams if s.kind == "video"), None)
    sound = next((s for s in streams if s.kind == "audio"), None)
    rate = None if video is None else video.frame_rate
    duration_ms = _duration_ms(entry, info) or 0
    frames = duration_ms if rate is None else round(duration_ms * rate / 1000)
    return Described(
        title=entry.name,
        file_name=entry.name,
        sha256=(entry.etag or "").strip('"') if source.clip else _hash(source.copy),
        size=entry.size or 0,
        duration_ms=duration_ms,
        rate=rate,
        frames=frames,
        width=None if video is None else video.width,
        height=None if video is None else video.height,
        sample_rate_hz=None if sound is None else sound.sample_rate_hz,
        start_timecode=_timecode(source, info),
        parts=() if source.clip is None else (_part(source, source.clip, frames),),
        tracks=tuple(
            DeliveredTrack(kind=s.kind, codec=s.codec, frames=s.frames or 0, copied=True)
            for s in streams
            if s.kind in {"video", "audio"}
        ),
        content_type=entry.content_type or "application/octet-stream",
    )


def _hash(copy: LocalizedFile | None) -> str:
    return "" if copy is None else copy.sha256


def _part(source: _Source, clip: ClipFileId, frames: int) -> Part:
    shown = _shown(clip, source.result)
    return Part(
        channel=clip.channel_id,
        first_frame=0,
        frames=frames,
        start_ms=shown.start_ms,
        end_ms=shown.end_ms,
    )


def _shown(clip: ClipFileId, result: dict[str, Any] | None) -> TimeRange:
    """The wall clock a clip really shows: what was delivered, which may begin a little earlier."""
    told = (result or {}).get("delivered") or {}
    start_ms, end_ms = told.get("startMs"), told.get("endMs")
    if isinstance(start_ms, int) and isinstance(end_ms, int) and start_ms < end_ms:
        return TimeRange(start_ms=start_ms, end_ms=end_ms)
    return clip.range
