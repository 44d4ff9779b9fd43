"""The work of every command type, found by name and checked for completeness at start-up."""

from __future__ import annotations

from pathlib import Path

from pipelines import registry
from schemas.commands import COMMANDS
from workers.phases import Work, Works

PROCFILE = Path(__file__).parent.parent / "Procfile"


def works() -> Works:
    """What `workers/<kind>.py` exports as WORK, by kind."""
    found: dict[str, Work] = {}  # type: ignore[type-arg]  # each kind has its own facts
    for command in COMMANDS:
        kind = registry.kind_of(command)
        module = registry.module_of("workers", kind)
        work = getattr(module, "WORK", None)
        if isinstance(work, Work):
            found[kind] = work
    return found


def served_queues(procfile: Path = PROCFILE) -> frozenset[str]:
    """The queues with a Procfile line; all of them where the Procfile is not shipped."""
    if not procfile.exists():
        return frozenset(registry.queues())
    return registry.procfile_queues(procfile.read_text(encoding="utf-8"))


def check_complete(found: Works) -> None:
    """Stop the start-up where a command type lacks a part, and say which."""
    actors = {kind: work.command for kind, work in found.items()}
    lacks = registry.missing(COMMANDS, registry.pipelines_found(), actors, served_queues())
    registry.require(lacks)
