"""What is said to Redis to have a command accepted, and what its answer means."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from schemas.commands import CommandBase
from schemas.errors import Conflict, FieldInvalid, QueueFull
from schemas.events import READY_EVENT
from schemas.jobs import MAX_ATTEMPTS
from schemas.ledger import Accepted
from store import keys
from store.client import fields
from store.records import fingerprint, job_of

IDEMPOTENCY_TTL_S = 24 * 3600
MAX_COMMAND_BYTES = 1024 * 1024


class Acceptance(NamedTuple):
    """A command on its way into the ledger: what the script is told, and what it is answered."""

    command: CommandBase
    facts: dict[str, Any]
    text: str

    @property
    def args(self) -> tuple[str, str]:
        """The arguments of the `accept` script."""
        return json.dumps(self.facts), self.text

    def accepted(self, answer: Sequence[Any]) -> Accepted:
        """The job an answer tells of, or the refusal it is."""
        code, record, *job_id = answer
        if code not in {"new", "same"}:
            _refuse(code, self.command)
        known = fields(record)
        if code == "same":
            return Accepted(job_of(job_id[0], known), created=False)
        known |= {**self.facts, "state": "queued", "attempt": "0"}
        # The request as it was sent, so that a retried call is answered with the same bytes.
        request = json.loads(self.text)["request"] if self.command.request else {}
        return Accepted(job_of(job_id[0], known, request), created=True)


def acceptance(
    command: CommandBase, queue_cap: int, idempotency_key: str | None, body_hash: str | None
) -> Acceptance:
    """The acceptance of a command, refused where it is too long."""
    text = command.model_dump_json()
    if len(text) > MAX_COMMAND_BYTES:
        raise FieldInvalid(f"the command is {len(text)} bytes, above {MAX_COMMAND_BYTES}")
    content, kind = fingerprint(command), _kind(command)
    connector = getattr(command, "connector", None)
    facts = {
        "random": base64.b32encode(secrets.token_bytes(10)).decode(),
        "tenant": command.tenant_id,
        "kind": kind,
        "queue": type(command).queue,
        "priority": command.priority,
        "requested_by": command.requested_by,
        "connector": connector.id if connector else "",
        "channel": getattr(command, "channel_id", ""),
        "fingerprint": content,
        "dedup": keys.digest(command.dedup_key) if command.dedup_key else "",
        "idem": keys.digest(idempotency_key) if idempotency_key else "",
        "idem_ttl": IDEMPOTENCY_TTL_S,
        "body": body_hash or content,
        "cap": queue_cap,
        "allowance": MAX_ATTEMPTS,
        "ready_event": READY_EVENT.get(kind, ""),
    }
    return Acceptance(command, facts, text)


def _kind(command: CommandBase) -> str:
    return str(getattr(command, "kind", ""))


def _refuse(code: str, command: CommandBase) -> NoReturn:
    if code == "full":
        raise QueueFull(f"queue {type(command).queue!r} is full")
    if code == "idempotency_conflict":
        raise Conflict("this Idempotency-Key came with another body before", code=code)
    kind = _kind(command)
    raise Conflict(f"this {kind} exists already with other content", code=f"{kind}_conflict")
