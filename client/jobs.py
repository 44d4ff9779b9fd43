"""Jobs and events: asked for, waited for, followed through connections that break."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from client.calls import Ask, Calls, Query, address
from client.errors import ApiError, JobFailed, Unreachable, Unreadable
from client.retries import pause_s, wait_s
from client.sse import Message, messages
from client.transport import OpenReply
from client.values import Event, Job, Moment, instant, read
from schemas.errors import TimedOut
from schemas.jobs import State

WAIT_S = 24 * 3600.0
# The service says something at least every 15 s.
QUIET_S = 45.0
AnyJob = Job | str


class Jobs:
    """What was asked for, and what became of it."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def get(self, job: AnyJob) -> Job:
        """A job as it stands."""
        return self._calls.value(Job, "getJob", _at(job))

    def list(
        self,
        *,
        state: State | None = None,
        kind: str | None = None,
        connector_id: str | None = None,
        channel_id: str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
    ) -> Iterator[Job]:
        """The tenant's jobs made from `start` until before `end`, the newest first."""
        query = {
            "state": state,
            "kind": kind,
            "connectorId": connector_id,
            "channelId": channel_id,
            "from": instant(start),
            "to": instant(end),
        }
        return self._calls.pages(Job, "listJobs", query=query)

    def cancel(self, job: AnyJob) -> Job:
        """End a job that has not ended; the job as it stands then."""
        return self._calls.value(Job, "cancelJob", _at(job))

    def retry(self, job: AnyJob) -> Job:
        """Have a failed job done once more."""
        return self._calls.value(Job, "retryJob", _at(job))

    def history(self, job: AnyJob) -> Iterator[Event]:
        """What has happened to a job so far, page by page."""
        return self._calls.pages(Event, "listJobEvents", _at(job), parameter="after")

    def events(
        self, job: AnyJob, *, after: str | None = None, timeout_s: float = WAIT_S
    ) -> Iterator[Event]:
        """What happens to a job, from its beginning or after an event, until it has ended.

        Where the connection breaks it goes on after the last event it told.
        """
        path = address("listJobEvents", _at(job))
        return follow(self._calls, path, after, time.monotonic() + timeout_s)

    def changes(self, job: AnyJob, *, timeout_s: float = WAIT_S) -> Iterator[Job]:
        """The job each time it has changed, until it is final; TimedOut where that takes longer."""
        deadline_s, last = time.monotonic() + timeout_s, self.get(job)
        yield last
        if last.is_final:
            return
        path, after = address("listJobEvents", _at(job)), self._last_event(job)
        for _ in chain((None,), follow(self._calls, path, after, deadline_s)):
            now = self.get(job)
            if now != last:
                yield now
            if now.is_final:
                return
            last = now

    def wait(self, job: AnyJob, timeout_s: float = WAIT_S) -> Job:
        """The job once it is final, however it ended."""
        return deque(self.changes(job, timeout_s=timeout_s), maxlen=1)[0]

    def succeeded(self, job: AnyJob, timeout_s: float = WAIT_S) -> Job:
        """The job once it has succeeded; JobFailed where it ended otherwise."""
        found = self.wait(job, timeout_s)
        if found.state != "succeeded":
            error = found.error
            said = f": {error.message}" if error else ""
            code = error.code if error else found.state
            raise JobFailed(f"job {found.id} has {found.state}{said}", code=code, job_id=found.id)
        return found

    def _last_event(self, job: AnyJob) -> str | None:
        """The newest event so far: those before it are old news."""
        newest = deque(self.history(job), maxlen=1)
        return newest[0].id if newest else None

    def download(self, job: AnyJob, name: str, to: Path) -> Path:
        """Save a file a job has made, as the last part of `url` in its result names it.

        It is written beside its place first; where the connection breaks, only the rest is asked
        for again.
        """
        path = address("getJobFile", {**_at(job), "name": name})
        partial = to.with_name(f".{to.name}.part")
        try:
            with partial.open("wb") as out:
                _Download(self._calls, path, out).run()
            partial.replace(to)
        finally:
            partial.unlink(missing_ok=True)
        return to


class Events:
    """Everything that happens to the tenant's jobs."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self, *, after: str | None = None) -> Iterator[Event]:
        """What is kept, the oldest first, page by page."""
        query = {"after": after} if after else None
        return self._calls.pages(Event, "listEvents", query=query, parameter="after")

    def follow(
        self, *, after: str | None = None, timeout_s: float | None = None
    ) -> Iterator[Event]:
        """What happens from now on, or after an event that is known, without an end.

        Only with `after` is nothing missed where the connection breaks before the first event.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        return follow(self._calls, address("listEvents"), after, deadline_s)


def follow(calls: Calls, path: str, after: str | None, deadline_s: float | None) -> Iterator[Event]:
    """The events of a stream, through as many connections as it takes; 204 is its end.

    Gives up after so many connections in a row that told nothing as the client has retries.
    """
    known, idle = after, 0
    while True:
        wait: float | None = None
        broken: ApiError | Unreachable = Unreachable("the stream of events ends again and again")
        try:
            with calls.stream(_listen(path, known), min(QUIET_S, _left(deadline_s))) as answer:
                if answer.status == 204:
                    return
                for message in _in_time(answer, deadline_s):
                    # A stream opens with how soon to come again: only what follows is life.
                    idle = idle if message.retry_ms is not None else 0
                    event = _event(message)
                    if event is not None and event.id != known:
                        known = event.id
                        yield event
        except (ApiError, Unreachable) as error:
            broken = error
            wait = wait_s(error, idle) if isinstance(error, ApiError) else pause_s(idle)
            if wait is None:
                raise
        left_s = _left(deadline_s)
        if idle >= calls.retries:
            raise broken
        calls.pause(min(pause_s(idle) if wait is None else wait, left_s))
        idle += 1


def _listen(path: str, known: str | None) -> Ask:
    # Compressed, an event would wait for the next one.
    headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
    return Ask(
        method="GET", path=path, headers=headers | ({"Last-Event-ID": known} if known else {})
    )


def _in_time(answer: OpenReply, deadline_s: float | None) -> Iterator[Message]:
    if "text/event-stream" not in answer.headers.get("content-type", ""):
        raise Unreadable("the answer is no stream of events")
    for message in messages(answer.chunks()):
        yield message
        _left(deadline_s)


def _event(message: Message) -> Event | None:
    if not message.data:
        return None
    try:
        return read(Event, json.loads(message.data))
    except (ValueError, RecursionError):
        raise Unreadable("an event is no JSON") from None


def _left(deadline_s: float | None) -> float:
    if deadline_s is None:
        return QUIET_S
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimedOut("it takes longer than it was waited for", code="timed_out")
    return left_s


def _at(job: AnyJob) -> Query:
    return {"id": job if isinstance(job, str) else job.id}


def _length(answer: OpenReply) -> int:
    told = answer.headers.get("content-length", "")
    if not (told.isascii() and told.isdecimal() and len(told) < 17):
        raise Unreadable("the answer does not say how long the file is")
    return int(told)


class _Download:
    """A file on its way, which may take several connections."""

    def __init__(self, calls: Calls, path: str, out: BinaryIO) -> None:
        self._calls, self._path, self._out = calls, path, out
        self._etag: str | None = None
        self._size = 0

    def run(self) -> None:
        """Until it is whole; so many breaks in a row are forgiven as the client has retries."""
        idle = 0
        while True:
            before, wait = self._out.tell(), None
            try:
                self._part()
                if self._out.tell() >= self._size:
                    return
            except ApiError as error:
                wait = wait_s(error, idle)
                if wait is None or idle >= self._calls.retries:
                    raise
            except Unreachable:
                if idle >= self._calls.retries:
                    raise
            idle = 0 if self._out.tell() > before else idle + 1
            self._calls.pause(pause_s(idle) if wait is None else wait)

    def _part(self) -> None:
        with self._calls.stream(Ask(method="GET", path=self._path, headers=self._wanted())) as came:
            if came.status != 206:
                self._out.seek(0)
                self._out.truncate()
            self._etag = came.headers.get("etag")
            self._size = self._out.tell() + _length(came)
            for piece in came.chunks():
                self._out.write(piece)

    def _wanted(self) -> Mapping[str, str]:
        said = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if self._etag and self._out.tell():
            said |= {"Range": f"bytes={self._out.tell()}-", "If-Range": self._etag}
        return said
