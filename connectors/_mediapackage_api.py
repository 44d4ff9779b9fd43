"""MediaPackage's two APIs, version 1 and 2, as channels, origin endpoints and harvest jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import Field, ValidationError

from connectors.base import Channel
from connectors.egress import Budget, Limits, ours_within, spending
from schemas.base import Value
from schemas.errors import (
    AccessDenied,
    CorruptMedia,
    CuttingRoomError,
    RateLimited,
    SourceNotFound,
    SourceUnavailable,
    TooLarge,
)
from schemas.times import TimeRange, rfc3339

MAX_PAGES = 200
MAX_CHANNELS = 5000
MAX_ENDPOINTS = 100
MAX_ANSWER_BYTES = 16 * 1024 * 1024
LIMITS = Limits(total_timeout_s=60)
Harvested = Literal["absent", "working", "done", "failed"]
_BUSY = frozenset({"TooManyRequestsException", "ThrottlingException", "Throttling"})
_STATES: dict[str, Harvested] = {
    "QUEUED": "working",
    "IN_PROGRESS": "working",
    "SUCCEEDED": "done",
    "COMPLETED": "done",
}


class Endpoint(Value):
    """One HLS playlist of a channel's origin endpoint.

    `window_s` is how far back time-shifted playlists go, 0 where there are none; `dated` whether
    its playlists carry dates.
    """

    id: str = Field(max_length=256)
    channel_id: str = Field(max_length=256)
    url: str = Field(max_length=8192)
    manifest: str = ""
    window_s: int = 0
    delay_s: int = 0
    dated: bool = True
    encrypted: bool = False


class Api(Protocol):
    """What a version of the API is asked."""

    def channels(self) -> list[Channel]:
        """The channels there are."""

    def endpoints(self, channel_id: str) -> list[Endpoint]:
        """The HLS playlists of a channel; `SourceNotFound` where there is no such channel."""

    def harvested(self, endpoint: Endpoint, name: str) -> Harvested:
        """How far the harvest job of this name is."""

    def harvest(self, endpoint: Endpoint, name: str, wanted: TimeRange, place: Place) -> None:
        """Begin a harvest job; one of this name that is there already is left alone."""


class Place(Value):
    """Where harvested media goes; `key` is the folder of one job."""

    bucket: str
    key: str
    role_arn: str | None = None


class V1:
    """The first version: endpoints belong to channels of an account."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def channels(self) -> list[Channel]:
        """The account's channels."""
        found = _pages(self._client.list_channels, "Channels", MAX_CHANNELS)
        with translated("channels"):
            return [_channel(one["Id"], one.get("Description")) for one in found]

    def endpoints(self, channel_id: str) -> list[Endpoint]:
        """The HLS and CMAF endpoints of a channel."""
        with translated(channel_id):
            self._client.describe_channel(Id=channel_id)
        found = _pages(
            self._client.list_origin_endpoints, "OriginEndpoints", MAX_ENDPOINTS,
            ChannelId=channel_id,
        )  # fmt: skip
        with translated("endpoints"):
            return [endpoint for one in found for endpoint in _of_v1(one, channel_id)]

    def harvested(self, endpoint: Endpoint, name: str) -> Harvested:
        """How far the harvest job is."""
        return _state(lambda: self._client.describe_harvest_job(Id=name))

    def harvest(self, endpoint: Endpoint, name: str, wanted: TimeRange, place: Place) -> None:
        """Begin a harvest job."""
        target = {
            "BucketName": place.bucket,
            "ManifestKey": f"{place.key}/index.m3u8",
            "RoleArn": place.role_arn,
        }
        _begun(
            lambda: self._client.create_harvest_job(
                Id=name,
                OriginEndpointId=endpoint.id,
                StartTime=rfc3339(wanted.start_ms),
                EndTime=rfc3339(wanted.end_ms),
                S3Destination=target,
            )
        )


class V2:
    """The second version: channels belong to a channel group."""

    def __init__(self, client: Any, group: str) -> None:
        self._client, self._group = client, group

    def channels(self) -> list[Channel]:
        """The group's channels."""
        found = _pages(
            self._client.list_channels, "Items", MAX_CHANNELS, ChannelGroupName=self._group
        )
        with translated("channels"):
            return [_channel(one["ChannelName"], one.get("Description")) for one in found]

    def endpoints(self, channel_id: str) -> list[Endpoint]:
        """The HLS and low-latency HLS playlists of a channel's endpoints."""
        place = {"ChannelGroupName": self._group, "ChannelName": channel_id}
        found = _pages(self._client.list_origin_endpoints, "Items", MAX_ENDPOINTS, **place)
        return [endpoint for one in found for endpoint in self._described(place, one)]

    def _described(self, place: dict[str, str], listed: dict[str, Any]) -> list[Endpoint]:
        with translated("the endpoint"):
            name = listed["OriginEndpointName"]
            one = self._client.get_origin_endpoint(**place, OriginEndpointName=name)
            return _of_v2(one, place["ChannelName"])

    def harvested(self, endpoint: Endpoint, name: str) -> Harvested:
        """How far the harvest job is."""
        place = self._place(endpoint)
        return _state(lambda: self._client.get_harvest_job(**place, HarvestJobName=name))

    def harvest(self, endpoint: Endpoint, name: str, wanted: TimeRange, place: Place) -> None:
        """Begin a harvest job."""
        _begun(
            lambda: self._client.create_harvest_job(
                **self._place(endpoint),
                HarvestJobName=name,
                ClientToken=name,
                HarvestedManifests={"HlsManifests": [{"ManifestName": endpoint.manifest}]},
                ScheduleConfiguration={
                    "StartTime": rfc3339(wanted.start_ms),
                    "EndTime": rfc3339(wanted.end_ms),
                },
                Destination={
                    "S3Destination": {"BucketName": place.bucket, "DestinationPath": place.key}
                },
            )
        )

    def _place(self, endpoint: Endpoint) -> dict[str, str]:
        return {
            "ChannelGroupName": self._group,
            "ChannelName": endpoint.channel_id,
            "OriginEndpointName": endpoint.id,
        }


def _channel(name: Any, description: Any) -> Channel:
    return Channel(id=name, name=str(description or name)[:200])


def _of_v1(one: dict[str, Any], channel_id: str) -> list[Endpoint]:
    """The HLS playlists of an endpoint; none where it packages for others, or serves nobody."""
    if one.get("Origination") == "DENY":
        return []
    hls, cmaf = one.get("HlsPackage"), one.get("CmafPackage")
    listed = [hls | {"Url": one.get("Url")}] if hls else (cmaf or {}).get("HlsManifests") or []
    return [
        Endpoint(
            id=one["Id"],
            channel_id=channel_id,
            url=manifest["Url"],
            manifest=manifest.get("ManifestName") or "",
            window_s=one.get("StartoverWindowSeconds") or 0,
            delay_s=one.get("TimeDelaySeconds") or 0,
            dated=bool(manifest.get("ProgramDateTimeIntervalSeconds")),
            encrypted=bool((hls or cmaf or {}).get("Encryption")),
        )
        for manifest in listed
        if manifest.get("Url")
    ]


def _of_v2(one: dict[str, Any], channel_id: str) -> list[Endpoint]:
    listed = [*(one.get("HlsManifests") or []), *(one.get("LowLatencyHlsManifests") or [])]
    return [
        Endpoint(
            id=one["OriginEndpointName"],
            channel_id=channel_id,
            url=manifest["Url"],
            manifest=manifest["ManifestName"],
            window_s=one.get("StartoverWindowSeconds") or 0,
            delay_s=(manifest.get("FilterConfiguration") or {}).get("TimeDelaySeconds") or 0,
            dated=bool(manifest.get("ProgramDateTimeIntervalSeconds")),
            encrypted=bool((one.get("Segment") or {}).get("Encryption")),
        )
        for manifest in listed
        if manifest.get("Url")
    ]


def _pages(call: Callable[..., Any], field: str, most: int, **place: str) -> list[dict[str, Any]]:
    """Every item of a listing; its pages end, and are not more than so many."""
    items: list[dict[str, Any]] = []
    token: str | None = None
    for _ in range(MAX_PAGES):
        more = {"NextToken": token} if token else {}
        with translated(field):
            answer = call(MaxResults=100, **place, **more)
            items += answer[field]
            before, token = token, answer.get("NextToken")
        if len(items) > most:
            raise TooLarge(f"the service lists more than {most} {field}")
        if not token:
            return items
        if token == before:
            break
    raise CorruptMedia(f"the service's pages of {field} have no end")


def _state(call: Callable[[], Any]) -> Harvested:
    try:
        with translated("the harvest job"):
            return _STATES.get(call().get("Status"), "failed")
    except SourceNotFound:
        return "absent"


def _begun(call: Callable[[], Any]) -> None:
    with translated("the harvest job"):
        try:
            call()
        except ClientError as error:
            if _status(error) != 409:
                raise


@contextmanager
def translated(name: str) -> Iterator[None]:
    """What the service refuses, in our words; its own may hold keys and account numbers."""
    try:
        with spending(Budget(LIMITS, max_bytes=MAX_ANSWER_BYTES)):
            yield
    except (ClientError, BotoCoreError) as error:
        raise ours_within(error) or _refusal(error, name) from None
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError, ValidationError):
        raise CorruptMedia(f"{name}: the service answered something it does not define") from None


def _refusal(error: ClientError | BotoCoreError, name: str) -> CuttingRoomError:
    if not isinstance(error, ClientError):
        return SourceUnavailable(f"{name}: the service could not be reached")
    code, status = str(error.response.get("Error", {}).get("Code", ""))[:60], _status(error)
    if code in _BUSY or status == 429:
        return RateLimited(f"{name}: the service asks for fewer requests")
    if status == 404:
        return SourceNotFound(f"{name} is not there")
    if status in {400, 401, 403, 422}:
        return AccessDenied(f"{name}: the service answered {code}")
    return SourceUnavailable(f"{name}: the service answered {status}")


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
