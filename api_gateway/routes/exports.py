"""Segment exports: ranges of channels, or a programme, as one file at a destination."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query
from pydantic import Field, StringConstraints, field_validator, model_validator
from starlette.responses import Response

from api_gateway import guides, paging
from api_gateway.annotations import by_parts
from api_gateway.answers import page
from api_gateway.deps import Caller, Deps, Gateway, in_thread
from api_gateway.destination import DestinationBody, destination
from api_gateway.jobviews import JobPage, JobView, job_answer, job_view
from api_gateway.params import DEFAULT, Cursor, Id, IdempotencyKey, Limit, instant
from api_gateway.problems import about, wrong
from api_gateway.routes.connectors import known_connector
from api_gateway.routes.epg import ChannelId
from api_gateway.routing import operation, router
from pipelines import naming
from pipelines.recipes import RECIPES
from schemas.accounts import Principal
from schemas.base import WireValue
from schemas.commands import (
    MAX_EXPORT_PARTS,
    MAX_METADATA_BYTES,
    ExportPart,
    ExportSegment,
    Sidecar,
)
from schemas.connectors import Connector
from schemas.cuts import FuturePolicy, GapPolicy, Mode
from schemas.errors import FieldInvalid, InFuture, NotFound
from schemas.jobs import State
from schemas.profiles import Profile
from schemas.settings import Settings
from schemas.times import RangeBody, TimeRange, rfc3339
from store.listing import JobFilter

exports: APIRouter = router("connectors")
_KIND = "exports"
_LARGEST_PAGE = 200
_MAX_METADATA_FIELDS = 200
_MAX_PAD_MS = 6 * 3600 * 1000
_CONTROLS = r"^[^\x00-\x1f\x7f]+$"
Language = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=_CONTROLS)]


class PartBody(RangeBody):
    """One range; of the channel in the path, unless another channel is named."""

    connector_id: str | None = Field(default=None, min_length=1, max_length=200)
    channel_id: str | None = Field(default=None, min_length=1, max_length=255, pattern=_CONTROLS)


class TracksBody(WireValue):
    """Which sound is wanted: languages or names of tracks, in order; all where absent."""

    audio: tuple[Language, ...] | None = Field(default=None, max_length=32)


class ExportDestination(DestinationBody):
    """Where the file goes; the path is a template: `{channel}/{date}/{title}-{id}.mp4`."""

    @field_validator("path")
    @classmethod
    def _is_a_template(cls, path: str) -> str:
        try:
            return naming.checked(path)
        except FieldInvalid as error:
            raise ValueError(error.message) from error


class ExportBody(WireValue):
    """What to export, how and where to: exactly one of range, ranges and programmeId."""

    range: RangeBody | None = None
    ranges: tuple[PartBody, ...] | None = Field(
        default=None, min_length=1, max_length=MAX_EXPORT_PARTS
    )
    programme_id: str | None = Field(default=None, min_length=1, max_length=200)
    pad_ms: int = Field(default=0, ge=0, le=_MAX_PAD_MS)
    destination: ExportDestination
    rendition_id: str | None = Field(default=None, min_length=1, max_length=200)
    mode: Mode = "exact"
    gaps: GapPolicy = "fail"
    on_future: FuturePolicy = "wait"
    tracks: TracksBody = TracksBody()
    metadata: dict[str, str] = Field(default={}, max_length=_MAX_METADATA_FIELDS)
    sidecars: tuple[Sidecar, ...] = Field(default=("json", "xmp"), max_length=6)

    @field_validator("metadata")
    @classmethod
    def _bounded(cls, metadata: dict[str, str]) -> dict[str, str]:
        size = sum(len(k.encode()) + len(v.encode()) for k, v in metadata.items())
        if size > MAX_METADATA_BYTES:
            raise ValueError(f"metadata is {size} bytes, above {MAX_METADATA_BYTES}")
        return metadata

    @model_validator(mode="after")
    def _asks_one_thing(self) -> ExportBody:
        given = [self.range, self.ranges, self.programme_id]
        if sum(one is not None for one in given) != 1:
            raise ValueError("give exactly one of range, ranges, programmeId")
        if self.pad_ms and self.programme_id is None:
            raise ValueError("padMs goes with a programmeId")
        return self


class _Asked(NamedTuple):
    """What a body turned out to mean."""

    parts: tuple[ExportPart, ...]
    title: str


@exports.post(
    "/v1/connectors/{id}/channels/{channelId}/segments",
    operation_id="exportSegment",
    summary="Export ranges of channels, or a programme, as one file",
    status_code=202,
    response_model=JobView,
    **operation(
        "jobs",
        400,
        404,
        409,
        410,
        413,
        415,
        422,
        425,
        501,
        502,
        example={
            "range": {"start": "2022-02-04T06:44:06Z", "end": "2022-02-04T06:45:06Z"},
            "destination": {"path": "{channel}/{date}/{title}-{id}.mp4"},
            "metadata": {"title": "Morning news"},
            "sidecars": ["json", "xmp", "edl"],
        },
    ),
)
async def export_segment(
    deps: Deps,
    caller: Caller,
    connector_id: Id,
    channel_id: ChannelId,
    body: ExportBody,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Accept the export: it is stored and queued before the answer leaves."""
    connector = await known_connector(deps, caller.tenant_id, connector_id)
    deps.registry.require(connector.type, "live")
    asked = await _asked(deps, caller, connector, channel_id, body)
    with about(_named(body)):
        check_parts(deps.settings, asked.parts, body.on_future, deps.clock())
    recipe = await in_thread(one_recipe, deps, caller.tenant_id, body.rendition_id)
    command = await _command(deps, caller, connector, channel_id, body, asked, recipe)
    accepted = await in_thread(
        deps.jobs.accept,
        command,
        idempotency_key=idempotency_key,
        body_hash=f"export\n{connector.id}\n{channel_id}\n{body.model_dump_json()}",
    )
    return job_answer(accepted.job)


@exports.get(
    "/v1/connectors/{id}/channels/{channelId}/segments",
    operation_id="listSegmentExports",
    summary="The exports asked of a channel, newest first",
    response_model=JobPage,
    **operation("read", 404, 422),
)
async def list_segment_exports(
    deps: Deps,
    caller: Caller,
    connector_id: Id,
    channel_id: ChannelId,
    state: Annotated[State | None, Query()] = None,
    from_: Annotated[str | None, Query(alias="from", max_length=40)] = None,
    to: Annotated[str | None, Query(max_length=40, description="RFC 3339 with an offset")] = None,
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """Filtered by what is given; `from` is in, `to` is out, both by time of acceptance."""
    connector = await known_connector(deps, caller.tenant_id, connector_id)
    wanted = JobFilter(
        state=state,
        kind="export",
        connector_id=connector.id,
        channel_id=channel_id,
        from_ms=instant("from", from_),
        to_ms=instant("to", to),
    )
    after = paging.position(_KIND, cursor)
    with about("#query/cursor"):
        listed = await in_thread(
            deps.jobs.list, caller.tenant_id, wanted, limit=min(limit, _LARGEST_PAGE), cursor=after
        )
    more = paging.cursor(_KIND, listed.next_cursor) if listed.next_cursor else None
    return page((job_view(job) for job in listed.items), more)


def _named(body: ExportBody) -> str:
    """Where a body says what is exported."""
    if body.programme_id is not None:
        return "/programmeId"
    return "/range" if body.range is not None else "/ranges"


def check_parts(
    settings: Settings, parts: tuple[ExportPart, ...], on_future: FuturePolicy, now_ms: int
) -> None:
    """Refuse what is too long, too far ahead, or in the future of one who will not wait."""
    length_ms = sum(part.range.length_ms for part in parts)
    end_ms = max(part.range.end_ms for part in parts)
    if length_ms > settings.max_clip_ms:
        raise FieldInvalid(
            f"the export is {length_ms} ms long; at most {settings.max_clip_ms} ms",
            code="too_long",
        )
    if end_ms > now_ms and on_future == "reject":
        raise InFuture(f"the export ends at {rfc3339(end_ms)}, which has not been broadcast yet")
    if end_ms > now_ms + settings.max_future_ms:
        raise FieldInvalid(
            f"the export ends at {rfc3339(end_ms)}, more than {settings.max_future_ms} ms ahead",
            code="too_far_ahead",
        )


async def _asked(
    deps: Gateway, caller: Principal, connector: Connector, channel_id: str, body: ExportBody
) -> _Asked:
    if body.programme_id is not None:
        span, programme = await guides.programme_range(
            deps, connector, channel_id, body.programme_id, body.pad_ms
        )
        own = ExportPart(connector=connector.ref, channel_id=channel_id, range=span)
        return _Asked((own,), programme.title)
    if body.range is not None:
        span = _resolved(body.range, "/range")
        return _Asked((ExportPart(connector=connector.ref, channel_id=channel_id, range=span),), "")
    found = [
        await _part(deps, caller, connector, channel_id, one, f"/ranges/{number}")
        for number, one in enumerate(body.ranges or ())
    ]
    return _Asked(tuple(found), "")


async def _part(
    deps: Gateway,
    caller: Principal,
    connector: Connector,
    channel_id: str,
    one: PartBody,
    pointer: str,
) -> ExportPart:
    span = _resolved(one, pointer)
    source = connector
    if one.connector_id is not None and one.connector_id != connector.id:
        if one.channel_id is None:
            raise wrong(f"{pointer}/channelId", "name a channel of the other connector", "invalid")
        try:
            source = await known_connector(deps, caller.tenant_id, one.connector_id)
        except NotFound as error:
            raise wrong(f"{pointer}/connectorId", error.message, "connector_unknown") from None
        deps.registry.require(source.type, "live")
    return ExportPart(connector=source.ref, channel_id=one.channel_id or channel_id, range=span)


def _resolved(body: RangeBody, pointer: str) -> TimeRange:
    with about(pointer):
        return body.resolved()


def one_recipe(deps: Gateway, tenant_id: str, rendition_id: str | None) -> Profile | None:
    """The recipe of a rendition that makes one file; None where none is named."""
    if rendition_id is None:
        return None
    known = RECIPES.get(rendition_id)
    if known is None:
        known = (_own(deps, tenant_id, rendition_id),)
    (recipe, *others) = known
    if others or recipe.packaging is not None:
        raise wrong(
            "/renditionId", "an export is one file: name a rendition without a ladder", "invalid"
        )
    return recipe


def _own(deps: Gateway, tenant_id: str, rendition_id: str) -> Profile:
    try:
        with deps.catalog.read() as tx:
            return tx.renditions.get(tenant_id, rendition_id).recipe
    except NotFound as error:
        raise wrong("/renditionId", error.message, "rendition_unknown") from None


async def _command(
    deps: Gateway,
    caller: Principal,
    connector: Connector,
    channel_id: str,
    body: ExportBody,
    asked: _Asked,
    recipe: Profile | None,
) -> ExportSegment:
    """The command, complete in itself; its destination's key is still the template."""
    return ExportSegment(
        tenant_id=caller.tenant_id,
        requested_by=caller.subject,
        request=_words(connector, channel_id, body, asked),
        connector=connector.ref,
        channel_id=channel_id,
        parts=asked.parts,
        mode=body.mode,
        gaps=body.gaps,
        on_future=body.on_future,
        audio=body.tracks.audio,
        metadata=body.metadata,
        carried=await by_parts(deps, caller.tenant_id, asked.parts),
        sidecars=tuple(dict.fromkeys(body.sidecars)),
        title=asked.title,
        programme_id=body.programme_id,
        rendition_id=body.rendition_id,
        recipe=recipe,
        destination=await destination(deps, caller.tenant_id, body.destination, "exports"),
    )


def _words(
    connector: Connector, channel_id: str, body: ExportBody, asked: _Asked
) -> dict[str, Any]:
    """The request as it is echoed in the job, with what it came to."""
    resolved = [
        {
            "connectorId": part.connector.id,
            "channelId": part.channel_id,
            "startMs": part.range.start_ms,
            "endMs": part.range.end_ms,
        }
        for part in asked.parts
    ]
    said = body.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {
        **said, "connectorId": connector.id, "channelId": channel_id, "resolvedRanges": resolved
    }  # fmt: skip
