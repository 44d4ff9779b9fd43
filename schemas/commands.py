"""Commands: what somebody wants done, complete in itself, with secrets sealed."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter

from schemas.base import Value
from schemas.connectors import ConnectorRef, Destination
from schemas.cuts import FuturePolicy, GapPolicy, Mode
from schemas.times import TimeRange

Priority = Literal["urgent", "normal", "background"]
MAX_METADATA_BYTES = 64 * 1024


class CommandBase(Value):
    """What every command carries.

    `request` is the client's own words, echoed in the job. `dedup_key` names the resource the
    command makes: two accepted commands with one key are one job. `queue` names the worker family.
    """

    queue: ClassVar[str]

    tenant_id: str
    requested_by: str
    request: dict[str, Any] = {}
    priority: Priority = "normal"
    dedup_key: str | None = None


class ClipFromStream(CommandBase):
    """A clip of a live channel, addressed by its fileId."""

    queue: ClassVar[str] = "clip"

    kind: Literal["clip"] = "clip"
    connector: ConnectorRef
    channel_id: str
    range: TimeRange
    clip_id: str
    file_id: str
    requested_file_id: str
    mode: Mode = "exact"
    gaps: GapPolicy = "fail"
    on_future: FuturePolicy = "wait"
    metadata: dict[str, str] = {}
    destination: Destination


Command = Annotated[ClipFromStream, Field(discriminator="kind")]
COMMANDS: tuple[type[CommandBase], ...] = (ClipFromStream,)
_ADAPTER: TypeAdapter[ClipFromStream] = TypeAdapter(ClipFromStream)


def parse_command(raw: str | bytes) -> ClipFromStream:
    """The command a JSON text spells; raises pydantic's ValidationError."""
    return _ADAPTER.validate_json(raw)
