"""One job from claim to end: the only place that may catch every exception."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import structlog
from pydantic import ValidationError

from media.workspace import Workspace
from schemas.errors import (
    Cancelled,
    InvalidCommand,
    LeaseLost,
    NotYetAvailable,
    StoreUnavailable,
    WorkerInterrupted,
)
from schemas.jobs import Stage
from schemas.ledger import RENEW_MS, Lease, Ledger
from workers import metrics
from workers.executor import execute
from workers.phases import Phase, Work
from workers.retries import decide, is_unexpected, job_error
from workers.run import Run, Signal
from workers.runtime import Runtime
from workers.turn import Stint

PEEK_S = 0.5
_PEEKS_A_RENEWAL = int(RENEW_MS / 1000 / PEEK_S)
log = structlog.get_logger(__name__)


def run_job(queue: str, runtime: Runtime, stint: Stint | None = None) -> bool:
    """Claim the fairest job of the queue and see it to an end; whether there was one.

    Never raises: what becomes of the job stands in the ledger. `stint` is the turn the job has
    among the others of its slot; without one there are none.
    """
    if runtime.stop.is_set():
        return False
    nonce, known = uuid.uuid4().hex, [lease.job_id for lease in tuple(runtime.current.values())]
    try:
        lease = runtime.ledger.claim(queue, runtime.owner, nonce, known)
    except StoreUnavailable as error:
        log.warning("claim failed", reason=error.message)
        return False
    if lease is None:
        return False
    runtime.current[nonce] = lease
    with structlog.contextvars.bound_contextvars(
        job=lease.job_id, tenant=lease.tenant_id, attempt=lease.attempt, kind=lease.kind
    ):
        try:
            _attempt(lease, runtime, stint)
        finally:
            del runtime.current[nonce]
    return True


def _attempt(lease: Lease, runtime: Runtime, stint: Stint | None) -> None:
    signal, stage = Signal(runtime.stop), _LastStage()
    log.info("job started")
    try:
        with _renewed(lease, runtime.ledger, signal):
            _work(lease, runtime, signal, stage, stint)
    except Exception as error:  # noqa: BLE001  # a job never takes its worker down
        _conclude(error, lease, runtime, stage.value)


class _LastStage:
    """The stage an attempt was in when it ended."""

    value: Stage | None = None


def _work(
    lease: Lease, runtime: Runtime, signal: Signal, stage: _LastStage, stint: Stint | None
) -> None:
    work = runtime.works.get(lease.kind)
    if work is None:
        raise InvalidCommand(f"this worker knows no command of kind {lease.kind!r}")
    with Workspace.create(runtime.work_dir, lease.job_id, lease.fence) as workspace:
        run = Run(
            lease, runtime.ledger, workspace.path, signal, runtime.clock, runtime.world, stint
        )
        ended = False
        try:
            with run.busy, run.at_end:
                result = _perform(work, run, runtime)
            runtime.ledger.finish(lease, runtime.addressed(lease.job_id, result))
            ended = True
            log.info("job succeeded")
        except Exception as error:
            stage.value = run.stage
            ended = _is_end(error, lease)
            raise
        finally:
            if ended:
                workspace.remove()


def _is_end(error: Exception, lease: Lease) -> bool:
    """Whether what was fetched is of no use to anybody after this."""
    if isinstance(error, LeaseLost | WorkerInterrupted | NotYetAvailable | StoreUnavailable):
        return False
    return decide(error, lease.attempt, lease.allowance, 0).action == "fail"


def _perform(work: Work[Any, Any], run: Run, runtime: Runtime) -> dict[str, Any]:
    try:
        command = work.command.model_validate_json(run.lease.command)
    except ValidationError as error:
        raise InvalidCommand("the stored command is not one this version can read") from error
    facts = work.begin(command)
    total, done = sum(phase.weight for phase in work.phases), 0
    for phase in work.phases:
        share = _Share(done, phase.weight, total)
        with metrics.stage_timed(run.lease.kind, phase.stage):
            facts = _go_through(phase, command, facts, run, runtime, share)
        done += phase.weight
    return work.result(command, facts, run)


class _Share:
    """Where one phase lies within the progress of the whole job."""

    def __init__(self, done: int, weight: int, total: int) -> None:
        self._done, self._weight, self._total = done, weight, max(1, total)

    def of(self, fraction: float) -> float:
        """The progress of the job when so much of the phase is done."""
        return (self._done + self._weight * fraction) / self._total


def _go_through(
    phase: Phase[Any, Any], command: Any, facts: Any, run: Run, runtime: Runtime, share: _Share
) -> Any:
    reached = 0.0
    run.enter(phase.stage, share.of(0))
    while True:
        run.check()
        try:
            facts = phase.gather(command, facts, run)
        except NotYetAvailable as error:
            _wait(error.retry_at_ms, run, runtime)
            run.take_turn()
            continue
        run.go_on()
        plan = phase.plan(command, facts)
        reach = phase.reach(command, facts)
        report = partial(_report_between, run, share, reached, reach)
        phase.ahead(command, facts, run)
        outcomes = execute(plan, run, runtime.handlers, report)
        reached = max(reached, reach)
        run.keep(phase.name, outcomes)
        again_at_ms = phase.more(command, facts)
        if again_at_ms is None:
            run.take_turn()
            return facts
        _wait(again_at_ms, run, runtime)
        if not phase.beside:
            run.take_turn()


def _report_between(run: Run, share: _Share, low: float, high: float, fraction: float) -> None:
    run.report(share.of(low + max(0.0, high - low) * fraction))


def _wait(at_ms: int, run: Run, runtime: Runtime) -> None:
    if at_ms - runtime.clock() > runtime.hold_ms:
        raise NotYetAvailable("the media has not been broadcast yet", retry_at_ms=at_ms)
    if not run.wait_for_media(at_ms):
        # Taken up before its time it would only look, and be given back again and again.
        late_ms = at_ms + runtime.early_ms
        raise NotYetAvailable("too many jobs wait beside this one", retry_at_ms=late_ms)


@contextmanager
def _renewed(lease: Lease, ledger: Ledger, signal: Signal) -> Iterator[None]:
    """Hold the lease while the work goes on; pass on what the ledger says meanwhile."""
    over = threading.Event()
    thread = threading.Thread(
        target=_keep_renewing, args=(lease, ledger, signal, over), name="renew", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _keep_renewing(lease: Lease, ledger: Ledger, signal: Signal, over: threading.Event) -> None:
    tick = 0
    while not over.wait(PEEK_S):
        tick += 1
        try:
            state = ledger.peek(lease) if tick % _PEEKS_A_RENEWAL else ledger.renew(lease)
        except StoreUnavailable:
            continue  # keep working: the fence decides at the end
        if state != "held" and not over.is_set():
            signal.give(state)
            if state == "lost":
                return


def _conclude(error: Exception, lease: Lease, runtime: Runtime, stage: Stage | None) -> None:
    """Write down how the attempt ended; where even that fails, the lease lapses."""
    try:
        _record(error, lease, runtime, stage)
    except LeaseLost:
        log.warning("lease lost")
    except StoreUnavailable as away:
        log.error("the end of the attempt could not be recorded", reason=away.message)


def _record(error: Exception, lease: Lease, runtime: Runtime, stage: Stage | None) -> None:
    ledger = runtime.ledger
    match error:
        case LeaseLost():
            log.warning("lease lost")
        case Cancelled():
            ledger.cancelled(lease)
            log.info("job cancelled")
        case WorkerInterrupted():
            ledger.retry(lease, job_error(error, stage), 0, counted=False)
            log.info("job put back")
        case NotYetAvailable():
            ledger.waiting(lease, error.retry_at_ms - runtime.early_ms, release=True)
            log.info("job waits", until_ms=error.retry_at_ms)
        case _:
            _record_failure(error, lease, runtime, stage)


def _record_failure(error: Exception, lease: Lease, runtime: Runtime, stage: Stage | None) -> None:
    told = job_error(error, stage)
    if is_unexpected(error):
        log.error("unexpected error", exc_info=error)
    decision = decide(error, lease.attempt, lease.allowance, runtime.jitter())
    if decision.action == "fail":
        runtime.ledger.fail(lease, told)
        log.warning("job failed", code=told.code, reason=told.message)
    else:
        runtime.ledger.retry(lease, told, decision.delay_ms, counted=True)
        log.warning("job will be tried again", code=told.code, delay_ms=decision.delay_ms)
