"""MediaPackage on loopback: both APIs as boto3 speaks them, and endpoints that shift time.

Written from the published API models and the user guide's rules for `start` and `end`: a playlist
of the past lists that stretch alone and has ended; one that ends in the future grows; outside the
startover window the answer is 404. The playlists a multivariant one names carry no time.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hls_builder import HlsAsset, MediaPlaylist

KEYS = {"accessKeyId": "AKIDGOOD", "secretAccessKey": "a-secret"}
GROUP, CHANNEL = "sports", "gate-4"
MEDIA = "/out/v1/abc"


@dataclass
class Service:
    """What the service holds and what was asked of it."""

    asset: HlsAsset
    clock: Callable[[], int]
    base: str = ""
    window_s: int = 3600
    dated: bool = True
    cdn_identifier: str | None = None
    signed: bool = False
    page_items: int = 1
    channels: tuple[str, ...] = ("gate-3", CHANNEL, "gate-5")
    harvests: dict[str, dict[str, Any]] = field(default_factory=dict)
    harvest_looks: int = 1
    buckets: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    roles: list[dict[str, list[str]]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The endpoint's entry playlist."""
        return f"{self.base}{MEDIA}/{self.asset.entry}"

    def shown(self, start_ms: int | None, end_ms: int | None) -> tuple[int, int, bool] | None:
        """Which segments a playlist lists now, and whether that is all; None for a 404."""
        now = self.clock()
        if start_ms is None or end_ms is None:
            return self._between(now - 6000, now, ended=False)
        if start_ms < now - self.window_s * 1000 or end_ms < now - self.window_s * 1000:
            return None
        return self._between(start_ms, min(end_ms, now), ended=end_ms <= now)

    def _between(self, start_ms: int, end_ms: int, *, ended: bool) -> tuple[int, int, bool]:
        segments = self.asset.playlist().segments
        first = sum(s.end_wall_ms <= start_ms for s in segments)
        last = sum(s.end_wall_ms <= end_ms for s in segments)
        # Whole segments: the one in which the span ends belongs to it.
        last += ended and last < len(segments)
        return min(first, last), last, ended

    def harvest(self, name: str, key: str, start_ms: int, end_ms: int) -> None:
        """Put a stretch into the bucket, as version 1 and 2 do."""
        first, last, _ = self._between(start_ms, end_ms, ended=True)
        for title, data in self.asset.files.items():
            self.buckets[f"{key}/{title}"] = data
        for title, playlist in self.asset.playlists.items():
            self.buckets[f"{key}/{title}"] = playlist.text(first, last).encode()
        for title, text in self.asset.masters.items():
            self.buckets[f"{key}/{title}"] = text.encode()
        self.buckets[f"{key}/index.m3u8"] = self.buckets[f"{key}/{self.asset.entry}"]
        self.harvests[name] = {"looks": 0, "key": key}


@contextmanager
def mediapackage(asset: HlsAsset, clock: Callable[[], int], **more: Any) -> Iterator[Service]:
    """A running service."""
    service = Service(asset, clock, **more)
    handler = type("Handler", (_Handler,), {"service": service})
    server = _Server(("127.0.0.1", 0), handler)
    service.base = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Service

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Tests look at the service, not at a log."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), {k: v[-1] for k, v in parse_qs(parts.query).items()}
        self.service.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        if path.startswith(f"{MEDIA}/"):
            self._media(path.removeprefix(f"{MEDIA}/"), query)
        elif path.startswith("/harvested-bucket/"):
            self._bucket(path.removeprefix("/harvested-bucket/"))
        elif self._refused("mediapackage"):
            self._json(403, {"message": "no"}, "AccessDeniedException")
        else:
            self._listed(path, query)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if "/harvest" in self.path:
            self._harvest(unquote(urlsplit(self.path).path), json.loads(body))
        else:
            self._role(parse_qs(body.decode()))

    def _refused(self, service: str) -> bool:
        said = self.headers.get("Authorization", "")
        keys = ("AKIDGOOD", "AKIDROLE") if self.service.roles else ("AKIDGOOD",)
        found = re.match(r"AWS4-HMAC-SHA256 Credential=(\w+)/\d+/[\w-]+/(\w+)/", said)
        return found is None or found[1] not in keys or service not in found[2]

    def _listed(self, path: str, query: dict[str, str]) -> None:
        service = self.service
        group = f"/channelGroup/{GROUP}/channel"
        match path.removeprefix(group).strip("/").split("/") if path.startswith(group) else path:
            case "/channels":
                found = [{"id": name, "description": f"Camera {name}"} for name in service.channels]
                self._page("channels", "nextToken", found, query)
            case "/origin_endpoints":
                self._page("originEndpoints", "nextToken", self._endpoints_1(query), query)
            case [""]:
                listed = [{"ChannelName": name} for name in service.channels]
                self._page("Items", "NextToken", listed, query)
            case [name, "originEndpoint"] if name in service.channels:
                listed = [{"OriginEndpointName": "dash"}, {"OriginEndpointName": "hls"}]
                self._page("Items", "NextToken", listed, query)
            case [name, "originEndpoint", end] if name in service.channels:
                self._json(200, self._endpoint_2(name, end))
            case [_, "originEndpoint", _, "harvestJob", name]:
                self._state(name, "COMPLETED")
            case str() if path.startswith("/harvest_jobs/"):
                self._state(path.rpartition("/")[2], "SUCCEEDED")
            case str() if path.removeprefix("/channels/") in service.channels:
                self._json(200, {"id": path.removeprefix("/channels/")})
            case _:
                self._json(404, {"message": "no"}, "NotFoundException")

    def _endpoints_1(self, query: dict[str, str]) -> list[dict[str, Any]]:
        pdt = 1 if self.service.dated else 0
        hls = {"programDateTimeIntervalSeconds": pdt}
        known = {
            "channelId": query.get("channelId"),
            "startoverWindowSeconds": self.service.window_s,
        }
        return [
            {"id": "dash", "dashPackage": {"segmentDurationSeconds": 2}, "url": "http://x/"}
            | known,
            {"id": "hls", "hlsPackage": hls, "url": self.service.url} | known,
        ]

    def _endpoint_2(self, name: str, end: str) -> dict[str, Any]:
        place = {"ChannelGroupName": GROUP, "ChannelName": name, "OriginEndpointName": end}
        if end == "dash":
            return place | {"DashManifests": [{"ManifestName": "index", "Url": "http://x/"}]}
        manifest = {"ManifestName": "index", "Url": self.service.url}
        if self.service.dated:
            manifest |= {"ProgramDateTimeIntervalSeconds": 1}  # type: ignore[dict-item]
        return place | {
            "ContainerType": "TS",
            "StartoverWindowSeconds": self.service.window_s,
            "HlsManifests": [manifest],
        }

    def _page(self, field: str, token: str, items: list[Any], query: dict[str, str]) -> None:
        first = int(query.get("nextToken", "0"))
        last = first + self.service.page_items
        more = {token: str(last)} if last < len(items) else {}
        self._json(200, {field: items[first:last]} | more)

    def _state(self, name: str, done: str) -> None:
        job = self.service.harvests.get(name)
        if job is None:
            self._json(404, {"message": "no"}, "NotFoundException")
            return
        job["looks"] += 1
        state = done if job["looks"] > self.service.harvest_looks else "IN_PROGRESS"
        self._json(200, {"status": state, "Status": state})

    def _harvest(self, path: str, body: dict[str, Any]) -> None:
        if path == "/harvest_jobs":
            key = body["s3Destination"]["manifestKey"].removesuffix("/index.m3u8")
            name, span = body["id"], (body["startTime"], body["endTime"])
            assert body["s3Destination"]["roleArn"].startswith("arn:")
        else:
            key = body["Destination"]["S3Destination"]["DestinationPath"]
            span = tuple(body["ScheduleConfiguration"][f"{end}Time"] for end in ("Start", "End"))
            name = body["HarvestJobName"]
        self.service.harvest(name, key, *(_epoch_ms(one) for one in span))
        self._json(200, {"status": "IN_PROGRESS", "Status": "QUEUED"})

    def _role(self, form: dict[str, list[str]]) -> None:
        self.service.roles.append(form)
        keys = (
            "<AccessKeyId>AKIDROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
            "<SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>"
        )
        text = (
            '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            f"<AssumeRoleResult><Credentials>{keys}</Credentials></AssumeRoleResult>"
            "</AssumeRoleResponse>"
        )
        self._bytes(200, text.encode(), "text/xml")

    def _media(self, name: str, query: dict[str, str]) -> None:
        service = self.service
        version = "2" if "/channelGroup" in str(service.asked) else ""
        given = self.headers.get(f"X-MediaPackage{'V2' if version else ''}-CDNIdentifier")
        if (service.cdn_identifier is not None and given != service.cdn_identifier) or (
            service.signed and self._refused("mediapackagev2")
        ):
            self._json(403, {})
        elif name in service.asset.masters:
            self._playlist(service.asset.masters[name], query)
        elif name in service.asset.playlists:
            self._playlist(service.asset.playlists[name], query)
        elif name in service.asset.files:
            self._bytes(200, service.asset.files[name], "video/mp2t")
        else:
            self._json(404, {})

    def _playlist(self, playlist: MediaPlaylist | str, query: dict[str, str]) -> None:
        shown = self.service.shown(*_span(query))
        if shown is None:
            self._json(404, {})
            return
        first, last, ended = shown
        text = playlist if isinstance(playlist, str) else playlist.text(first, last, ended=ended)
        self._bytes(200, text.encode(), "application/vnd.apple.mpegurl")

    def _bucket(self, key: str) -> None:
        data = self.service.buckets.get(key)
        if self._refused("s3"):
            self._json(403, {})
        elif data is None:
            self._json(404, {})
        else:
            self._bytes(200, data, "application/octet-stream")

    def _json(self, status: int, body: Any, error: str = "") -> None:
        self._bytes(status, json.dumps(body).encode(), "application/json", error)

    def _bytes(self, status: int, data: bytes, kind: str, error: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if error:
            self.send_header("x-amzn-ErrorType", error)
        self.end_headers()
        self.wfile.write(data)


def _span(query: dict[str, str]) -> tuple[int | None, int | None]:
    said = query.get("aws.manifestsettings")
    if said is not None:
        query = dict(pair.split(":", 1) for pair in said.split(";"))
    start, end = query.get("start"), query.get("end")
    return (int(start) * 1000, int(end) * 1000) if start and end else (None, None)


def _epoch_ms(said: str | float) -> int:
    from datetime import datetime

    if isinstance(said, str):
        return int(datetime.fromisoformat(said).timestamp() * 1000)
    return int(said * 1000)
