"""A source's file in a job's workspace: from the localized copy where that is fresh, else from
the source itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from connectors.base import Reads
from connectors.ranged import readers, source_file
from pipelines import localize
from pipelines.clip_address import clip_key
from schemas import file_id as file_ids
from schemas.connectors import ConnectorRef
from schemas.errors import (
    CorruptMedia,
    RetryableError,
    SourceNotFound,
    StoreUnavailable,
    WorkerInterrupted,
)
from schemas.localized import FetchedFile, LocalizedFile, SourceFile, Validators
from schemas.plans import FetchFile
from store.localized import Place
from workers import metrics
from workers.downloading import Download, Grant, Options
from workers.run import Run
from workers.streams import OUTPUT, clip_of, cut_here, read_whole
from workers.world import World, world_of

log = structlog.get_logger(__name__)
Report = Callable[[float], None]


def local_copy(
    run: Run, ref: ConnectorRef, file_id: str, report: Report = lambda _fraction: None
) -> Path:
    """The whole file in the run's workspace; asked for twice, it is there already.

    A localized copy stands in for a source that is away. On a connector of channels a clip's fileId
    is that clip, and a channel's id the whole of a stream that has ended. Raises as the source
    does, and TooLarge.
    """
    folder = run.workspace / f"src-{localize.file_digest(file_id)[:16]}"
    folder.mkdir(mode=0o755, exist_ok=True)
    ready = folder / "ready"
    if ready.exists():
        return folder / ready.read_text(encoding="utf-8")
    if is_channel(world_of(run), ref):
        path = _of_stream(run, ref, file_id, folder, report)
    else:
        path = folder / localize.workspace_name(file_id.rpartition("/")[2])
        _bring(run, ref, file_id, path, report)
    ready.write_text(path.name, encoding="utf-8")
    return path


def place_of(world: World, ref: ConnectorRef, file_id: str) -> Place:
    """Where the index holds a file of a connector."""
    fingerprint = world.registry.fingerprint(ref)
    return Place(ref.tenant_id, fingerprint, localize.file_digest(file_id))


def fetch_file(step: FetchFile, run: Run, report: Report) -> FetchedFile:
    """Carry out one fetch of a whole file."""
    world = world_of(run)
    options = Options(
        max_connections=step.max_connections,
        max_bytes=step.max_bytes,
        max_bytes_per_s=step.max_bytes_per_s,
        grant=_granting(world, step),
        report=report,
    )
    target = run.workspace / step.name
    return fetch(run, lambda: world.reads(step.connector), step.source, target, options)


def _granting(world: World, step: FetchFile) -> Grant | None:
    """The connector's rate, which every worker of the service takes from."""
    rate, pacing, ref = step.max_bytes_per_s, world.pacing, step.connector
    if rate is None or pacing is None:
        return None
    return lambda count: pacing.grant(f"{ref.tenant_id}/{ref.id}", rate, count)


def fetch(
    run: Run,
    opened: Callable[[], object],
    source: SourceFile,
    target: Path,
    options: Options,
) -> FetchedFile:
    """Bring a file into the workspace, counted and stopped as the run says."""
    options.on_bytes = lambda count: metrics.FETCHED_BYTES.labels(run.lease.kind).inc(count)
    options.control = run.check
    return Download(readers(opened, source), source, target, options).run()


@contextmanager
def held(run: Run, place: Place) -> Iterator[LocalizedFile | None]:
    """The localized version of a file, kept from eviction within this block."""
    index = world_of(run).localized
    if index is None:
        yield None
        return
    try:
        record = index.use(place, run.lease.job_id)
    except StoreUnavailable:
        record = None
    try:
        yield record
    finally:
        if record is not None:
            _let_go(run, place)


def _let_go(run: Run, place: Place) -> None:
    index = world_of(run).localized
    try:
        if index is not None:
            index.let_go(place, run.lease.job_id)
    except StoreUnavailable:
        log.warning("a localized file stays held for a while", place=place.digest)


def is_channel(world: World, ref: ConnectorRef) -> bool:
    """Whether a connector holds channels, whose files are streams and clips."""
    capabilities = world.registry.capabilities(ref.type)
    return "live" in capabilities and "reads" not in capabilities


def _of_stream(run: Run, ref: ConnectorRef, file_id: str, folder: Path, report: Report) -> Path:
    world, target = world_of(run), folder / OUTPUT
    if "/" in file_id:
        clip = file_ids.parse(file_id)
        if not held_clip(run, ref, clip, target, report):
            command = clip_of(ref, clip.channel_id, clip.range)
            return cut_here(run, command, folder, report)
        return target
    with held(run, place_of(world, ref, file_id)) as record:
        if record is not None and _from_store(run, record, target, report):
            return target
    _, wanted = read_whole(run, ref, file_id)
    return cut_here(run, clip_of(ref, file_id, wanted), folder, report)


def held_clip(
    run: Run,
    ref: ConnectorRef,
    clip: file_ids.ClipFileId,
    target: Path,
    report: Report = lambda _fraction: None,
) -> bool:
    """Whether a clip was made already, and is here now."""
    world = world_of(run)
    key = clip_key(ref.tenant_id, world.registry.fingerprint(ref), clip)
    try:
        stored = source_file(_readable(world), key)
        fetch(run, lambda: _readable(world), stored, target, Options(report=report))
    except SourceNotFound:
        return False
    return True


def _bring(run: Run, ref: ConnectorRef, file_id: str, target: Path, report: Report) -> None:
    world = world_of(run)
    with held(run, place_of(world, ref, file_id)) as record:
        source = _told(world, ref, file_id, record)
        if record and _is_fresh(record, source) and _from_store(run, record, target, report):
            return
    if source is None:
        source = source_file(world.reads(ref), file_id)
    (step,) = localize.fetch_plan(
        ref,
        source,
        f"{target.parent.name}/{target.name}",
        connections=world.settings.localize_connections,
        max_bytes=world.settings.localize_max_bytes,
    ).steps
    if isinstance(step, FetchFile):
        fetch_file(step, run, report)


def _is_fresh(record: LocalizedFile, source: SourceFile | None) -> bool:
    """Whether a copy is what the source has; where the source is away it is all there is."""
    return source is None or localize.same_version(record.validators, source.validators)


def _told(
    world: World, ref: ConnectorRef, file_id: str, record: LocalizedFile | None
) -> SourceFile | None:
    """What the source says of the file; None where it is away and a copy is held."""
    try:
        return source_file(world.reads(ref), file_id)
    except WorkerInterrupted:
        raise
    except (RetryableError, SourceNotFound):
        if record is None:
            raise
        return None


def _from_store(run: Run, record: LocalizedFile, target: Path, report: Report) -> bool:
    """Whether the held copy came whole and unharmed; where it did not, it is held no longer."""
    world = world_of(run)
    stored = SourceFile(
        file_id=record.key, name=target.name, validators=Validators(size=record.size)
    )
    try:
        got = fetch(run, lambda: _readable(world), stored, target, Options(report=report))
        if got.sha256 == record.sha256:
            return True
        raise CorruptMedia("the localized copy is not what was recorded of it")
    except (SourceNotFound, CorruptMedia) as error:
        log.warning("a localized copy is of no use", key=record.key, reason=error.message)
    target.unlink(missing_ok=True)
    if world.localized is not None:
        place = Place(
            record.tenant_id,
            record.fingerprint,
            localize.file_digest(record.file_id),
        )
        world.localized.drop(place)
    return False


def _readable(world: World) -> Reads:
    store = world.media_store
    if not isinstance(store, Reads):
        raise SourceNotFound("the media store cannot be read")
    return store
