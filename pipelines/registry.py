"""Command type to pipeline: complete, or the start-up refuses and names what is missing."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from importlib import import_module
from types import ModuleType

from schemas.commands import COMMANDS, CommandBase
from schemas.errors import CuttingRoomError

_PROCFILE_LINE = re.compile(r"^[\w-]+:.*\bworkers\.main\b.*--queue[ =](?P<queue>[\w-]+)", re.M)


class RegistryIncomplete(CuttingRoomError):
    """A command type lacks a part; nothing may start like that."""

    code = "registry_incomplete"


def kind_of(command: type[CommandBase]) -> str:
    """The kind a command class declares."""
    return str(command.model_fields["kind"].default)


def queues(commands: Collection[type[CommandBase]] = COMMANDS) -> tuple[str, ...]:
    """Every queue there is, in order."""
    return tuple(dict.fromkeys(command.queue for command in commands))


def procfile_queues(procfile: str) -> frozenset[str]:
    """The queues that have a worker line in a Procfile."""
    return frozenset(match["queue"] for match in _PROCFILE_LINE.finditer(procfile))


def module_of(package: str, kind: str) -> ModuleType | None:
    """The module a kind has in a package, or None where there is none."""
    name = f"{package}.{kind}"
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


def missing(
    commands: Collection[type[CommandBase]],
    pipelines: Collection[str],
    actors: Mapping[str, type[CommandBase]],
    served: Collection[str],
) -> tuple[str, ...]:
    """What the command types lack, each as a sentence; empty when the registry is complete."""
    lacks: list[str] = []
    for command in commands:
        kind = kind_of(command)
        if kind not in pipelines:
            lacks.append(f"{kind}: no pipelines/{kind}.py")
        if actors.get(kind) is not command:
            lacks.append(f"{kind}: no workers/{kind}.py whose WORK takes {command.__name__}")
        if not getattr(command, "queue", ""):
            lacks.append(f"{kind}: {command.__name__} names no queue")
        elif command.queue not in served:
            lacks.append(f"{kind}: no Procfile line for queue {command.queue!r}")
    return tuple(lacks)


def pipelines_found(commands: Collection[type[CommandBase]] = COMMANDS) -> frozenset[str]:
    """The kinds that have a pipeline module."""
    kinds = (kind_of(command) for command in commands)
    return frozenset(kind for kind in kinds if module_of("pipelines", kind) is not None)


def require(lacks: tuple[str, ...]) -> None:
    """Refuse to go on while something is missing."""
    if lacks:
        raise RegistryIncomplete("the registry of commands is incomplete: " + "; ".join(lacks))
