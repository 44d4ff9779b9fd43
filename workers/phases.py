"""The shape of work: a pipeline's pure plans joined to the gathering of their facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from schemas.commands import CommandBase
from schemas.jobs import Stage
from schemas.plans import Plan, Step
from workers.run import Run

C = TypeVar("C", bound=CommandBase)
F = TypeVar("F")


class Handler(Protocol):
    """Carries out neighbouring steps of one type; answers one outcome a step.

    It calls `report` with its own share done (0..1) and `run.check()` at least each half second.
    """

    def __call__(
        self, steps: tuple[Step, ...], run: Run, report: Callable[[float], None], /
    ) -> Sequence[object]:
        """Do the steps."""


Handlers = Mapping[str, Handler]


@dataclass(frozen=True)
class Phase(Generic[C, F]):
    """One part of a job: gather facts with I/O, plan without, then the plan is carried out.

    `gather` may raise NotYetAvailable, and is called again at its time. `more` answers, once the
    plan is carried out, when the whole phase should be gone through again (epoch ms), or None.
    `reach` answers how much of such a phase (0..1) is done once the plan at hand is. `ahead` may
    begin, just before the plan is carried out, what the next phase will want to know. A phase that
    goes `beside` only reads and fetches a little each time it is gone through again, so it does not
    wait for what another job of the slot works at.
    """

    name: str
    stage: Stage
    weight: int
    gather: Callable[[C, F, Run], F]
    plan: Callable[[C, F], Plan]
    more: Callable[[C, F], int | None] = lambda _command, _facts: None
    reach: Callable[[C, F], float] = lambda _command, _facts: 1.0
    ahead: Callable[[C, F, Run], None] = lambda _command, _facts, _run: None
    beside: bool = False


@dataclass(frozen=True)
class Work(Generic[C, F]):
    """Everything a worker knows of one kind of command; `workers/<kind>.py` exports it as WORK.

    `result` is the job's result, made when every phase is done; `run.outcomes(phase)` holds what
    each phase's steps answered.
    """

    command: type[C]
    begin: Callable[[C], F]
    phases: tuple[Phase[C, F], ...]
    result: Callable[[C, F, Run], dict[str, Any]]


Works = Mapping[str, Work[Any, Any]]
