"""`cuttingroom plan`: what would be done for a command, down to spans and arguments."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from connectors.egress import redacted
from schemas.commands import CommandBase, parse_command
from schemas.errors import InvalidCommand
from schemas.plans import Plan
from schemas.settings import Settings
from workers import handlers, registry
from workers.executor import execute
from workers.local_ledger import LocalLedger
from workers.run import Run, Signal
from workers.runtime import epoch_ms

OWNER = "plan"
# Later phases plan from bytes that have arrived: fetching is done, nothing beyond it.
CARRIED_OUT = frozenset({"fetch", "write"})


def run(text: str, settings: Settings, console: Console) -> None:
    """Print the plan of every phase as JSON; only fetches into a throwaway folder are done."""
    try:
        command = parse_command(text)
    except ValueError as error:
        raise InvalidCommand(f"not a command: {_first_words(error)}") from None
    with tempfile.TemporaryDirectory(prefix="cuttingroom-plan-") as work:
        Path(work).chmod(0o711)
        reached = settings.model_copy(update={"data_dir": work, "work_dir": work})
        made, world = handlers.build(reached)
        try:
            with _run(command, Path(work), world) as planned:
                for name, plan in _plans(command, planned, made):
                    console.print_json(data={"phase": name, "plan": _shown(plan)})
        finally:
            world.media.close()


def _plans(command: CommandBase, planned: Run, made: Any) -> Iterator[tuple[str, Plan]]:
    work = registry.works()[type(command).model_fields["kind"].default]
    facts = work.begin(command)
    for phase in work.phases:
        facts = phase.gather(command, facts, planned)
        plan = phase.plan(command, facts)
        yield phase.name, plan
        done = tuple(step for step in plan.steps if step.step in CARRIED_OUT)
        execute(Plan(steps=done), planned, made, lambda _share: None)


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


def _first_words(error: ValueError) -> str:
    return str(error).splitlines()[0][:200]
