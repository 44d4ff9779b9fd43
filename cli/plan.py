"""`cuttingroom plan`: what would be done for a command, down to spans and arguments."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from rich.console import Console

from connectors.egress import redacted
from connectors.sealing import new_key
from schemas.commands import CommandBase, parse_command
from schemas.errors import InvalidCommand, StoreUnavailable, Unsupported
from schemas.plans import Plan
from schemas.settings import Settings
from workers import handlers, registry
from workers.executor import execute
from workers.local_ledger import LocalLedger
from workers.run import Run, Signal
from workers.runtime import epoch_ms

OWNER = "plan"
# Later phases plan from bytes that have arrived: fetching is done, nothing beyond it.
CARRIED_OUT = frozenset({"fetch", "read", "write"})


def run(text: bytes, settings: Settings, console: Console) -> None:
    """Print the plan of every phase as JSON; only fetches into a throwaway folder are done."""
    command = _command(text)
    with tempfile.TemporaryDirectory(prefix="cuttingroom-plan-") as work:
        Path(work).chmod(0o711)
        made, world = handlers.build(_apart(settings, work))
        try:
            with _run(command, Path(work), world) as planned:
                for told in _plans(command, planned, made):
                    console.print_json(data=told)
        except StoreUnavailable:
            why = f"{_kind(command)} asks Redis what is held, and a plan is made without it"
            raise Unsupported(why) from None
        finally:
            world.media.close()


def _command(text: bytes) -> CommandBase:
    try:
        return parse_command(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidCommand(f"not a command: {where or 'JSON'}: {first['msg']}") from None


def _apart(settings: Settings, work: str) -> Settings:
    """Nothing of a service that runs here is touched; its key ring opens what it has sealed."""
    update: dict[str, object] = {
        "data_dir": work,
        "work_dir": work,
        "redis_url": SecretStr(f"unix://{work}/none.sock"),
    }
    if not settings.secret_keys.get_secret_value():
        update["secret_keys"] = new_key()
    return settings.model_copy(update=update)


def _plans(command: CommandBase, planned: Run, made: Any) -> Iterator[dict[str, Any]]:
    """Every phase with its steps; those that follow from steps which are not done, by name."""
    work = registry.works()[_kind(command)]
    facts, left = work.begin(command), ""
    for phase in work.phases:
        if left:
            yield {"phase": phase.name, "follows": left}
            continue
        facts = phase.gather(command, facts, planned)
        plan = phase.plan(command, facts)
        yield {"phase": phase.name, "plan": _shown(plan)}
        done = tuple(step for step in plan.steps if step.step in CARRIED_OUT)
        execute(Plan(steps=done), planned, made, lambda _share: None)
        left = phase.name if len(done) < len(plan.steps) else ""


def _kind(command: CommandBase) -> str:
    return str(type(command).model_fields["kind"].default)


@contextmanager
def _run(command: CommandBase, folder: Path, world: Any) -> Iterator[Run]:
    ledger = LocalLedger()
    ledger.submit(command)
    lease = ledger.claim(type(command).queue, OWNER, OWNER)
    if lease is None:
        raise InvalidCommand("the command could not be taken up")
    workspace = folder / "job"
    workspace.mkdir(mode=0o755)
    yield Run(lease, ledger, workspace, Signal(threading.Event()), epoch_ms, world)


def _shown(plan: Plan) -> list[dict[str, Any]]:
    """The steps as JSON, without what is secret in an address."""
    steps: list[dict[str, Any]] = [step.model_dump(mode="json") for step in plan.steps]
    for step in steps:
        if "uri" in step:
            step["uri"] = redacted(step["uri"])
        if step.get("key") and "uri" in step["key"]:
            step["key"]["uri"] = redacted(step["key"]["uri"])
        if isinstance(step.get("to"), dict):
            step["to"]["connector"] = (step["to"].get("connector") or {}).get("id")
    return steps
