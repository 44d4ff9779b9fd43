"""A synthetic live HLS channel on loopback, paced by the wall clock and playable at once."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from media.testcard import Card, CardEncoder
from schemas.base import Value
from schemas.times import rfc3339

PLAYLIST = "live.m3u8"
_SERVED = re.compile(r"live\.m3u8|seg-\d{1,12}\.ts")
_LINGER_SEGMENTS = 3
_MAX_BEHIND_SEGMENTS = 10


class Entry(Value):
    """One published segment."""

    sequence: int
    start_ms: int
    broken: bool  # a discontinuity stands before it


class Channel:
    """The channel's folder: encodes segments in turn, keeps the window, writes the playlist."""

    def __init__(self, folder: Path, card: Card, start_ms: int, window_ms: int) -> None:
        self.folder, self.card, self.window_ms = folder, card, window_ms
        self._testcard = CardEncoder(card, start_ms)
        self._next_ms, self._broken, self._breaks_gone = start_ms, False, 0
        self._entries: deque[Entry] = deque()
        self._leaving: deque[Entry] = deque()
        self._ready: bytes | None = None

    @property
    def due_ms(self) -> int:
        """When the next segment has ended and may be published."""
        return self._next_ms + self.card.segment_ms

    @property
    def edge_ms(self) -> int:
        """Wall clock of the end of what is published."""
        return self._next_ms

    @property
    def first_ms(self) -> int:
        """Wall clock of the beginning of what is published."""
        return self._entries[0].start_ms if self._entries else self._next_ms

    def prepare(self) -> None:
        """Encode the next segment now, so that publishing it takes no time."""
        if self._ready is None:
            self._ready = self._testcard.next_segment()

    def publish(self) -> None:
        """Add the next segment to the folder and the playlist, and drop what left the window."""
        self.prepare()
        entry = Entry(
            sequence=self._next_ms // self.card.segment_ms,
            start_ms=self._next_ms,
            broken=self._broken,
        )
        _write(self.folder / _name(entry), self._ready or b"")
        self._ready, self._broken, self._next_ms = None, False, self.due_ms
        self._entries.append(entry)
        self._roll()
        self._write_playlist(ended=False)

    def skip_to(self, start_ms: int) -> None:
        """Go on from a later instant, after a sleep too long to make good."""
        self._testcard.close()
        self._testcard = CardEncoder(self.card, start_ms)
        self._ready, self._broken, self._next_ms = None, bool(self._entries), start_ms

    def end(self) -> None:
        """Say that nothing more will come, and let the encoder go."""
        self._testcard.close()
        self._write_playlist(ended=True)

    def _roll(self) -> None:
        while self._entries[0].start_ms + self.card.segment_ms <= self._next_ms - self.window_ms:
            gone = self._entries.popleft()
            self._breaks_gone += gone.broken
            self._leaving.append(gone)
        # A client that read the playlist just now may still ask for what has left it.
        while len(self._leaving) > _LINGER_SEGMENTS:
            (self.folder / _name(self._leaving.popleft())).unlink(missing_ok=True)

    def _write_playlist(self, *, ended: bool) -> None:
        first = self._entries[0].sequence if self._entries else 0
        seconds = self.card.segment_ms / 1000
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:3",
            f"#EXT-X-TARGETDURATION:{-(-self.card.segment_ms // 1000)}",
            f"#EXT-X-MEDIA-SEQUENCE:{first}",
            f"#EXT-X-DISCONTINUITY-SEQUENCE:{self._breaks_gone}",
        ]
        for entry in self._entries:
            lines += ["#EXT-X-DISCONTINUITY"] if entry.broken else []
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{rfc3339(entry.start_ms)}")
            lines += [f"#EXTINF:{seconds:.3f},", _name(entry)]
        lines += ["#EXT-X-ENDLIST"] if ended else []
        _write(self.folder / PLAYLIST, "\n".join([*lines, ""]).encode())


def _name(entry: Entry) -> str:
    return f"seg-{entry.sequence}.ts"


def _write(path: Path, data: bytes) -> None:
    """Put a whole file in place: a reader sees the old one or the new one."""
    draft = path.with_name(f".{path.name}.part")
    draft.write_bytes(data)
    draft.replace(path)


def pace(
    channel: Channel,
    stop: threading.Event,
    until_ms: int | None,
    now_ms: Callable[[], int],
) -> None:
    """Publish each segment when it has ended by the clock, until told to stop."""
    step = channel.card.segment_ms
    while not stop.is_set() and (until_ms is None or channel.edge_ms < until_ms):
        if now_ms() - channel.due_ms > _MAX_BEHIND_SEGMENTS * step:
            channel.skip_to(_grid_ms(now_ms(), channel.card))
        channel.prepare()
        if not _waited(stop, channel.due_ms, now_ms):
            channel.publish()


def _waited(stop: threading.Event, until_ms: int, now_ms: Callable[[], int]) -> bool:
    """Wait for an instant of the clock; whether we were told to stop meanwhile."""
    while (left_ms := until_ms - now_ms()) > 0:
        # Short waits, so that a clock that is set takes effect.
        if stop.wait(min(left_ms, 500) / 1000):
            return True
    return stop.is_set()


class _Handler(BaseHTTPRequestHandler):
    """Serves the playlist and its segments, nothing else."""

    protocol_version = "HTTP/1.1"
    timeout = 30

    def __init__(self, folder: Path, *args: Any) -> None:
        self._folder = folder
        super().__init__(*args)

    def do_GET(self) -> None:
        """Answer one request."""
        name = self.path.partition("?")[0].removeprefix("/")
        try:
            data = (self._folder / name).read_bytes() if _SERVED.fullmatch(name) else None
        except OSError:
            data = None
        self._answer(name, data)

    do_HEAD = do_GET  # noqa: N815 (the name http.server asks for)

    def _answer(self, name: str, data: bytes | None) -> None:
        self.send_response(200 if data is not None else 404)
        kind = "video/mp2t" if name.endswith(".ts") else "application/vnd.apple.mpegurl"
        self.send_header("Content-Type", kind if data is not None else "text/plain")
        self.send_header("Content-Length", str(len(data or b"")))
        self.send_header("Cache-Control", "max-age=60" if name.endswith(".ts") else "no-store")
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data or b"")

    def log_message(self, *args: Any) -> None:
        """Requests are not worth a line."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A player that goes away in the middle of a segment is nothing to report."""


def serve(folder: Path, port: int) -> ThreadingHTTPServer:
    """Serve a channel's folder on loopback from a thread."""
    server = _Server(("127.0.0.1", port), partial(_Handler, folder))
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    return server


def wall_ms() -> int:
    """The machine's clock in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def opened(folder: Path, card: Card, *, history_s: int, window_s: int, now_ms: int) -> Channel:
    """A channel in an emptied folder, with some seconds of history published already."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("seg-*.ts"), *folder.glob(".*.part")]:
        old.unlink()
    start_ms = _grid_ms(now_ms - history_s * 1000, card)
    channel = Channel(folder, card, start_ms, window_s * 1000)
    while channel.due_ms <= now_ms:
        channel.publish()
    return channel


def _grid_ms(at_ms: int, card: Card) -> int:
    """The last whole second before an instant that lies on the segment grid."""
    at_ms -= at_ms % card.segment_ms
    return at_ms - at_ms % 1000


def main(
    folder: Annotated[Path, typer.Option("--dir", help="Where segments are kept.")],
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes any free one.")] = 0,
    seconds: Annotated[int | None, typer.Option(help="End after so long.", min=1)] = None,
    width: Annotated[int, typer.Option(help="Picture width.")] = 1280,
    height: Annotated[int, typer.Option(help="Picture height.")] = 720,
    segment_ms: Annotated[int, typer.Option(help="Length of a segment.")] = 2_000,
    window_s: Annotated[int, typer.Option(help="DVR window.", min=10)] = 120,
    history_s: Annotated[int, typer.Option(help="Made before the start.", min=0)] = 10,
) -> None:
    """Run a synthetic live channel; prints its URL as one JSON line when it can be played."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    card = _card(width, height, segment_ms)
    began_ms = wall_ms()
    channel = opened(folder, card, history_s=history_s, window_s=window_s, now_ms=began_ms)
    server = serve(folder, port)
    url = f"http://127.0.0.1:{server.server_address[1]}/{PLAYLIST}"
    print(json.dumps(_hello(url, channel)), flush=True)
    pace(channel, stop, began_ms + seconds * 1000 if seconds else None, wall_ms)
    channel.end()
    server.shutdown()
    server.server_close()


def _card(width: int, height: int, segment_ms: int) -> Card:
    """The card asked for; what cannot be made is said in one line."""
    try:
        return Card(width=width, height=height, segment_ms=segment_ms)
    except ValidationError as error:
        raise typer.BadParameter(error.errors()[0]["msg"]) from error


def _hello(url: str, channel: Channel) -> dict[str, object]:
    return {
        "url": url,
        "startMs": channel.first_ms,
        "edgeMs": channel.edge_ms,
        "segmentMs": channel.card.segment_ms,
        "fps": channel.card.fps,
    }


if __name__ == "__main__":
    typer.run(main)
