"""The intake: queue producers write CloudEvents to a stream of their tenant, we accept them.

An entry has one field, `event`: a CloudEvents 1.0 envelope in JSON whose `type` is
`com.cuttingroom.command.<kind>` and whose `data` is the command without its tenant. What we cannot
take goes to a dead stream with a problem object; the entry's id is the idempotency key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from pydantic import ConfigDict, Field, ValidationError

from schemas.base import Value
from schemas.commands import CommandBase, parse_command
from schemas.connectors import Destination
from schemas.errors import (
    CuttingRoomError,
    InvalidCommand,
    PermanentError,
    RetryableError,
    StoreUnavailable,
)
from store import keys
from store.client import Store, translated
from store.jobs import Jobs

GROUP = "keeper"
TYPE_PREFIX = "com.cuttingroom.command."
MAX_EVENT_BYTES = 256 * 1024
MAX_DEPTH = 32
DEAD_LENGTH = 1_000
BATCH = 50
CLAIM_IDLE_MS = 30_000


class Envelope(Value):
    """CloudEvents 1.0, as much of it as we read; extensions are let through unread."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    specversion: Literal["1.0"]
    id: str = Field(min_length=1, max_length=256)
    source: str = Field(min_length=1, max_length=1024)
    type: str = Field(pattern=r"^com\.cuttingroom\.command\.[a-z]{1,32}$")
    datacontenttype: Literal["application/json"] = "application/json"
    data: dict[str, Any]

    @property
    def kind(self) -> str:
        """The kind of command the envelope holds."""
        return self.type.removeprefix(TYPE_PREFIX)


Entry = tuple[str, dict[str, str]]
ToCommand = Callable[[str, Envelope], CommandBase]


class Taken(NamedTuple):
    """How many entries were accepted, and how many refused."""

    accepted: int
    refused: int


def command_of(tenant_id: str, envelope: Envelope) -> CommandBase:
    """The command an envelope spells in full; its tenant is that of the stream."""
    spelled = {
        **envelope.data,
        "kind": envelope.kind,
        "tenant_id": tenant_id,
        "requested_by": f"intake:{envelope.source}"[:200],
    }
    try:
        command = parse_command(json.dumps(spelled))
    except ValidationError as error:
        raise InvalidCommand(_named(error)) from error
    if not type(command).from_intake:
        raise InvalidCommand(f"nobody but the service itself asks for {envelope.kind!r}")
    if any(ref.tenant_id != tenant_id for ref in command.connectors):
        raise InvalidCommand("a connector belongs to another tenant")
    _check_places(tenant_id, command)
    return command


def _check_places(tenant_id: str, command: CommandBase) -> None:
    """The media store is everybody's: a producer names what lies in its own tenant's folders."""
    to: Destination | None = getattr(command, "destination", None)
    written = to.key if to is not None and to.connector is None else None
    for key in (getattr(command, "stored_key", None), written):
        if key is not None and key.split("/")[1:2] != [tenant_id]:
            raise InvalidCommand(f"a key of the media store is <area>/{tenant_id}/<path>")


def _named(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])[:120]}: {first['msg'][:200]}"


def envelope_of(fields: dict[str, str]) -> Envelope:
    """The envelope of a stream entry, or InvalidCommand saying what is wrong with it."""
    text = fields.get("event")
    if text is None or len(fields) != 1:
        raise InvalidCommand("an entry has exactly one field, 'event'")
    if len(text) > MAX_EVENT_BYTES:
        raise InvalidCommand(f"the event is longer than {MAX_EVENT_BYTES} bytes")
    if _depth(text) > MAX_DEPTH:
        raise InvalidCommand(f"the event is nested deeper than {MAX_DEPTH}")
    try:
        return Envelope.model_validate(json.loads(text, object_pairs_hook=_unique))
    except ValidationError as error:
        raise InvalidCommand(_named(error)) from error
    except ValueError as error:
        raise InvalidCommand(f"the event is not JSON: {str(error)[:120]}") from error


def _depth(text: str) -> int:
    """An upper bound of the nesting: brackets within strings count too."""
    deepest = depth = 0
    for char in text:
        depth += (char in "[{") - (char in "]}")
        deepest = max(deepest, depth)
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return dict(pairs)


class Inbox:
    """The intake streams of all tenants; one keeper reads them, another takes over."""

    def __init__(
        self, store: Store, jobs: Jobs, consumer: str, to_command: ToCommand = command_of
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._consumer = consumer
        self._to_command = to_command
        self._opened: set[str] = set()

    def open(self, tenant_id: str) -> None:
        """Let the tenant's producers write; harmless when done twice."""
        with translated():
            self._store.client.sadd(keys.TENANTS, tenant_id)
        self._ensure_group(tenant_id)

    def _ensure_group(self, tenant_id: str) -> None:
        if tenant_id in self._opened:
            return
        stream = keys.intake(tenant_id)
        with translated():
            exists = self._store.client.exists(stream)
            known: Any = self._store.client.xinfo_groups(stream) if exists else []
            if GROUP not in {group["name"] for group in known}:
                self._store.client.xgroup_create(stream, GROUP, id="0", mkstream=True)
        self._opened.add(tenant_id)

    def take(self) -> Taken:
        """Accept what has come in for every tenant since the last time."""
        with self._forgetful():
            tenants = self._tenants()
            if not tenants:
                return Taken(0, 0)
            wanted: Any = {keys.intake(tenant): ">" for tenant in tenants}
            with translated():
                answer: Any = self._store.client.xreadgroup(
                    GROUP, self._consumer, wanted, count=BATCH
                )
            streams = dict(answer or {})
            found = [self._take(t, streams.get(keys.intake(t), [])) for t in tenants]
        return _total(found)

    def recover(self) -> Taken:
        """Accept what a keeper that is gone, or a full queue, left lying for half a minute."""
        with self._forgetful():
            found = [self._take(tenant, self._left(tenant)) for tenant in self._tenants()]
        return _total(found)

    def _tenants(self) -> list[str]:
        with translated():
            tenants: Any = self._store.client.smembers(keys.TENANTS)
        for tenant in tenants:
            self._ensure_group(tenant)
        return sorted(tenants)

    @contextmanager
    def _forgetful(self) -> Iterator[None]:
        """After any failure every group is looked at anew: somebody may have deleted a stream."""
        try:
            yield
        except StoreUnavailable:
            self._opened.clear()
            raise

    def _left(self, tenant_id: str) -> list[Entry]:
        with translated():
            left: Any = self._store.client.xautoclaim(
                keys.intake(tenant_id),
                GROUP,
                self._consumer,
                min_idle_time=CLAIM_IDLE_MS,
                count=BATCH,
            )
        return list(left[1])

    def _take(self, tenant_id: str, entries: Sequence[Any]) -> Taken:
        stream, accepted, refused = keys.intake(tenant_id), 0, 0
        for entry_id, fields in _flat(entries):
            try:
                self._accept(tenant_id, entry_id, fields)
                accepted += 1
            except RetryableError:
                break  # a full queue or an absent Redis: the entry stays ours for later
            except PermanentError as error:
                self._bury(tenant_id, entry_id, fields, error)
                refused += 1
            with translated():
                self._store.client.xack(stream, GROUP, entry_id)
                self._store.client.xdel(stream, entry_id)
        return Taken(accepted, refused)

    def _accept(self, tenant_id: str, entry_id: str, fields: dict[str, str]) -> None:
        command = self._to_command(tenant_id, envelope_of(fields))
        self._jobs.accept(command, idempotency_key=f"intake:{entry_id}")

    def _bury(
        self, tenant_id: str, entry_id: str, fields: dict[str, str], error: CuttingRoomError
    ) -> None:
        problem = {
            "type": f"about:blank#{error.error_code}",
            "title": "The entry was refused",
            "status": 422,
            "code": error.error_code,
            "detail": error.message,
            "instance": entry_id,
        }
        held = json.dumps(fields)[:MAX_EVENT_BYTES]
        with translated():
            self._store.client.xadd(
                keys.intake_dead(tenant_id),
                {"problem": json.dumps(problem), "entry": held},
                maxlen=DEAD_LENGTH,
                approximate=True,
            )


def _flat(entries: Sequence[Any]) -> list[Entry]:
    # RESP3 wraps a stream's entries in one more list; a deleted entry has no fields.
    nested = entries and isinstance(entries[0], list) and not isinstance(entries[0][0], str)
    return [(i, fields) for i, fields in (entries[0] if nested else entries) if fields]


def _total(found: Sequence[Taken]) -> Taken:
    return Taken(sum(t.accepted for t in found), sum(t.refused for t in found))
