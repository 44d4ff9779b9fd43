"""A small Time-addressable Media Store on loopback, written from the published specification.

It keeps sources, flows, segments and objects; lists them in pages with `X-Paging-NextKey` or
`Link`; answers timeranges; takes flows, storage requests and segments that reuse an object; and
wants credentials where it is told to: basic, a bearer token, a token in the URL, an OAuth client.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

from tests.hls_builder import HlsAsset, MediaPlaylist

TAI_AHEAD_S = 37
SECOND = 10**9
_URN = "urn:x-nmos:format:"


def stamp(ns: int) -> str:
    """Nanoseconds as the store writes them."""
    return f"{'-' if ns < 0 else ''}{abs(ns) // SECOND}:{abs(ns) % SECOND}"


def timerange(start_ns: int, end_ns: int) -> str:
    """A half-open timerange."""
    return f"[{stamp(start_ns)}_{stamp(end_ns)})"


def ns_of(text: str) -> int:
    """Nanoseconds of a timestamp."""
    seconds, _, ns = text.removeprefix("-").partition(":")
    size = int(seconds) * SECOND + int(ns)
    return -size if text.startswith("-") else size


def span_of(text: str) -> tuple[int, int]:
    """The ends of a closed timerange."""
    start, _, end = text.strip("[]()").partition("_")
    return ns_of(start), ns_of(end)


@dataclass
class Store:
    """What the server holds; tests read and change it."""

    base: str = ""
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    flows: dict[str, dict[str, Any]] = field(default_factory=dict)
    segments: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    basic: tuple[str, str] | None = None
    bearer: str | None = None
    url_token: str | None = None
    client: tuple[str, str] | None = None
    tokens: list[str] = field(default_factory=list)
    token_lasts_s: int = 3600
    page_items: int = 3
    paging: str = "key"
    presigned: bool = True
    fetched: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def add_source(self, kind: str, label: str) -> str:
        """A new source."""
        name = str(uuid.uuid4())
        self.sources[name] = {"id": name, "format": _URN + kind, "label": label}
        return name

    def add_flow(self, kind: str, label: str, source: str | None = None, **more: Any) -> str:
        """A new flow, and its source where none is named."""
        name = str(uuid.uuid4())
        source_id = source or self.add_source(kind, label)
        self.flows[name] = {
            "id": name, "source_id": source_id, "format": _URN + kind, "label": label,
        } | more  # fmt: skip
        self.segments[name] = []
        return name

    def put_object(self, data: bytes) -> str:
        """A new object."""
        name = str(uuid.uuid4())
        self.objects[name] = data
        return name

    def add_playlist(
        self, flow: str, asset: HlsAsset, playlist: MediaPlaylist, ahead_s: int = TAI_AHEAD_S
    ) -> None:
        """An HLS playlist's segments, where their dates place them on a timeline."""
        inits: dict[Any, str] = {}
        for part in playlist.segments:
            assert part.pdt_ms is not None
            start = Fraction(part.pdt_ms * 10**6) + ahead_s * SECOND
            end = start + part.duration_s * SECOND
            media = (part.start_s + first_pts_s(asset)) * SECOND
            media_end = media + part.duration_s * SECOND
            segment = {
                "object_id": self.put_object(asset.files[part.name]),
                "timerange": timerange(round(start), round(end)),
                "ts_offset": stamp(round(start - media)),
                "object_timerange": timerange(round(media), round(media_end)),
            }
            if part.init is not None:
                inits.setdefault(part.init[0], self.put_object(asset.files[part.init[0]]))
                segment["init_object"] = {"object_id": inits[part.init[0]]}
            self.segments[flow].append(segment)

    def held(self, flow: str) -> str:
        """The timerange of a flow's segments."""
        spans = [span_of(s["timerange"]) for s in self.segments.get(flow, [])]
        return timerange(min(s[0] for s in spans), max(s[1] for s in spans)) if spans else "()"

    def get_urls(self, object_id: str) -> list[dict[str, Any]]:
        """Where an object can be had."""
        signature = "?sig=good" if self.presigned else ""
        url = f"{self.base}/objects/{object_id}{signature}"
        return [{"url": "s3://bucket/elsewhere"}, {"url": url, "presigned": self.presigned}]


def first_pts_s(asset: HlsAsset) -> Fraction:
    """The PTS the first frame of an asset has in its container, in seconds."""
    told = asset.streams[0].spec.start_pts_90k
    in_fmp4 = any(part.init for part in asset.playlist().segments)
    return Fraction((0 if in_fmp4 else 900_000) if told is None else told, 90_000)


def muxed(store: Store, asset: HlsAsset, **more: Any) -> str:
    """A flow of several essences with segments of its own; answers its source."""
    settings = {"container": "video/mp2t", "tags": {"flow_status": "closed_complete"}} | more
    flow = store.add_flow("multi", "Main camera", **settings)
    store.add_playlist(flow, asset, asset.playlist())
    return str(store.flows[flow]["source_id"])


def collected(store: Store, asset: HlsAsset, **more: Any) -> str:
    """Pictures and sound in flows of their own, collected by a third; answers its source."""
    members = []
    for name, playlist in asset.playlists.items():
        kind = "video" if name == "main.m3u8" else "audio"
        flow = store.add_flow(
            kind,
            f"{kind} of the camera",
            container="video/mp2t",
            codec="video/h264" if kind == "video" else "audio/aac",
            avg_bit_rate=2479,
            tags={"flow_status": "closed_complete"},
            essence_parameters={
                "frame_rate": {"numerator": 25, "denominator": 1},
                "frame_width": 320,
                "frame_height": 180,
            },
        )
        store.add_playlist(flow, asset, playlist)
        members.append({"id": flow, "role": name.partition(".")[0]})
    flow = store.add_flow("multi", "Main camera", flow_collection=members, **more)
    return str(store.flows[flow]["source_id"])


def with_plain_segments(store: Store, start_ms: int, count: int) -> str:
    """A flow of one-second segments without real media; answers its source."""
    flow = store.add_flow("video", "Gate 4", container="video/mp2t")
    begin = start_ms * 10**6 + TAI_AHEAD_S * SECOND
    for number in range(count):
        at = begin + number * SECOND
        one = {"object_id": store.put_object(b"media"), "timerange": timerange(at, at + SECOND)}
        store.segments[flow].append(one)
    return str(store.flows[flow]["source_id"])


@contextmanager
def tams_store(**settings: Any) -> Iterator[Store]:
    """A running store."""
    store = Store(**settings)
    handler = type("Handler", (_Handler,), {"store": store})
    server = _Server(("127.0.0.1", 0), handler)
    store.base = f"http://127.0.0.1:{server.server_address[1]}/tams"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield store
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
    store: Store

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Tests look at the store, not at a log."""

    def do_GET(self) -> None:
        path, query = self._opened()
        self.store.asked.append(f"{path}?{urlsplit(self.path).query}")
        if path.startswith("/objects/"):
            self._object(path.removeprefix("/objects/"), query)
        elif not self._allowed(query):
            self._json(401, {"type": "unauthorised"})
        else:
            self._read(path.strip("/").split("/"), query)

    def do_POST(self) -> None:
        path, query = self._opened()
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if path == "/token":
            self._grant(body)
        elif not self._allowed(query):
            self._json(401, {"type": "unauthorised"})
        else:
            self._written(path.strip("/").split("/"), json.loads(body))

    def do_PUT(self) -> None:
        path, query = self._opened()
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        names = path.strip("/").split("/")
        if names[0] == "objects":
            self.store.objects[names[1]] = body
            self._json(200, {})
        elif not self._allowed(query):
            self._json(401, {"type": "unauthorised"})
        else:
            self._put_flow(names[1], json.loads(body))

    def do_DELETE(self) -> None:
        path, query = self._opened()
        names = path.strip("/").split("/")
        if not self._allowed(query):
            self._json(401, {"type": "unauthorised"})
            return
        self.store.flows.pop(names[1], None)
        self.store.segments.pop(names[1], None)
        self._json(204, None)

    def _opened(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        return unquote(parts.path.removeprefix("/tams")), dict(parse_qsl(parts.query))

    def _allowed(self, query: dict[str, str]) -> bool:
        store, given = self.store, self.headers.get("Authorization", "")
        if store.basic is not None:
            pair = base64.b64encode(":".join(store.basic).encode()).decode()
            return given == f"Basic {pair}"
        if store.bearer is not None:
            return given == f"Bearer {store.bearer}"
        if store.url_token is not None:
            return query.get("access_token") == store.url_token
        if store.client is not None:
            return given.removeprefix("Bearer ") in store.tokens
        return True

    def _grant(self, body: bytes) -> None:
        user, _, secret = (
            base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic "))
            .decode()
            .partition(":")
        )
        form = parse_qs(body.decode())
        if (unquote(user), unquote(secret)) != self.store.client or form.get("grant_type") != [
            "client_credentials"
        ]:
            self._json(401, {"error": "invalid_client"})
            return
        self.store.tokens.append(f"token-{len(self.store.tokens)}")
        lasts = self.store.token_lasts_s
        token = {"access_token": self.store.tokens[-1], "token_type": "Bearer", "expires_in": lasts}
        self._json(200, token)

    def _object(self, name: str, query: dict[str, str]) -> None:
        data = self.store.objects.get(name)
        signed = query.get("sig") == "good" if self.store.presigned else self._allowed(query)
        if data is None or not signed:
            self._json(403 if data else 404, {})
            return
        self.store.fetched.append(name)
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if found is None:
            self._bytes(200, data, {})
            return
        first, last = int(found[1]), min(int(found[2]), len(data) - 1)
        told = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
        self._bytes(206, data[first : last + 1], told)

    def _read(self, names: list[str], query: dict[str, str]) -> None:
        store = self.store
        match names:
            case ["service"]:
                kind = {"type": "http_object_store"}
                self._json(200, {"type": "urn:x-tams:service:test", "media_store": kind})
            case ["sources"]:
                self._page(list(store.sources.values()), query)
            case ["flows"]:
                wanted = query.get("source_id")
                self._page([f for f in store.flows.values() if f["source_id"] == wanted], query)
            case ["flows", name] if name in store.flows:
                told = {"timerange": store.held(name)} if "include_timerange" in query else {}
                self._json(200, store.flows[name] | told)
            case ["flows", name, "segments"]:
                self._page(self._segments(name, query), query)
            case _:
                self._json(404, {"type": "not found"})

    def _segments(self, name: str, query: dict[str, str]) -> list[dict[str, Any]]:
        found = sorted(self.store.segments.get(name, []), key=lambda s: span_of(s["timerange"]))
        if "timerange" in query:
            start, end = span_of(query["timerange"])
            spans = [(span_of(s["timerange"]), s) for s in found]
            found = [s for (a, b), s in spans if a < end and start < b]
        return [self._shown(segment, query) for segment in found]

    def _shown(self, segment: dict[str, Any], query: dict[str, str]) -> dict[str, Any]:
        shown = segment | {"get_urls": self.store.get_urls(segment["object_id"])}
        if query.get("include_object_timerange") != "true":
            shown.pop("object_timerange", None)
        if "init_object" in shown:
            init = shown["init_object"]["object_id"]
            shown["init_object"] = {"object_id": init, "get_urls": self.store.get_urls(init)}
        return shown

    def _page(self, items: list[Any], query: dict[str, str]) -> None:
        first = int(query.get("page", "0"))
        limit = min(int(query.get("limit", "100")), self.store.page_items)
        headers = {"X-Paging-Limit": str(limit)}
        if first + limit < len(items):
            more = urlencode(query | {"page": str(first + limit)})
            path = urlsplit(self.path).path
            if self.store.paging == "key":
                headers["X-Paging-NextKey"] = str(first + limit)
            else:
                headers["Link"] = f'<{path}?{more}>; rel="next"'
        self._json(200, items[first : first + limit], headers)

    def _written(self, names: list[str], body: Any) -> None:
        store = self.store
        match names:
            case ["flows", name, "storage"] if name in store.flows:
                wanted = body.get("object_ids") or [str(uuid.uuid4())]
                places = [
                    {"object_id": one, "put_url": {"url": f"{store.base}/objects/{one}"}}
                    for one in wanted
                ]
                self._json(201, {"media_objects": places})
            case ["flows", name, "segments"] if name in store.flows:
                self._register(name, body if isinstance(body, list) else [body])
            case _:
                self._json(404, {"type": "not found"})

    def _register(self, name: str, found: list[dict[str, Any]]) -> None:
        failed = []
        for segment in found:
            start, end = span_of(segment["timerange"])
            spans = [span_of(s["timerange"]) for s in self.store.segments[name]]
            known = segment["object_id"] in self.store.objects
            if not known or any(a < end and start < b for a, b in spans):
                failed.append({"object_id": segment["object_id"], "error": {"type": "overlap"}})
                continue
            kept = dict(segment)
            for one in [s for group in self.store.segments.values() for s in group]:
                if one["object_id"] == segment["object_id"] and "object_timerange" in one:
                    kept.setdefault("object_timerange", one["object_timerange"])
            self.store.segments[name].append(kept)
        if failed:
            self._json(200, {"failed_segments": failed})
        else:
            self._json(201, {})

    def _put_flow(self, name: str, body: dict[str, Any]) -> None:
        there = name in self.store.flows
        self.store.flows[name] = body
        self.store.segments.setdefault(name, [])
        kind = {"id": body["source_id"], "format": body["format"], "label": body.get("label")}
        self.store.sources.setdefault(body["source_id"], kind)
        self._json(204 if there else 201, None if there else body)

    def _json(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self._bytes(status, data, {"Content-Type": "application/json"} | (headers or {}))

    def _bytes(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
