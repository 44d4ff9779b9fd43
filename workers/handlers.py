"""How each type of step is carried out, and the world the handlers need for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from connectors.base import ConnectorEnv
from connectors.egress import Egress
from connectors.media_store import open_media_store
from connectors.registry import Registry
from connectors.sealing import Sealer
from media.process import shared
from schemas.commands import SourceCommand, parse_command
from schemas.errors import InvalidCommand
from schemas.plans import FetchFile, ReadFile, Step, WriteText
from schemas.settings import Settings
from store.client import Store
from store.epg import Guides
from store.localized import Localized
from store.pacing import Pacing
from workers.cutting import cut_all
from workers.encoding import probe_all, read_stored, run_all, turn_all
from workers.epg import keep as keep_guides
from workers.fetching import fetch_through
from workers.phases import Handlers
from workers.publishing import publish_all
from workers.receiving import admit_all as admit_uploads
from workers.receiving import take_all as take_uploads
from workers.run import Run
from workers.runtime import epoch_ms
from workers.sources import fetch_file, local_copy
from workers.sprite import take_all
from workers.world import World


def write_text(
    steps: tuple[Step, ...], run: Run, report: Callable[[float], None]
) -> Sequence[object]:
    """Write small text files into the workspace; answers their names."""
    written = [step for step in steps if isinstance(step, WriteText)]
    for done, step in enumerate(written, start=1):
        run.check()
        (run.workspace / step.name).write_text(step.text, encoding="utf-8")
        report(done / len(written))
    return tuple(step.name for step in written)


def fetch(steps: tuple[Step, ...], run: Run, report: Callable[[float], None]) -> Sequence[object]:
    """Bring resources of a clip's source into the workspace; answers their sizes."""
    command = parse_command(run.lease.command)
    if not isinstance(command, SourceCommand):
        raise InvalidCommand(f"{type(command).__name__} names no connector to fetch through")
    return fetch_through(command.connector, steps, run, report)


def fetch_files(
    steps: tuple[Step, ...], run: Run, report: Callable[[float], None]
) -> Sequence[object]:
    """Bring whole files into the workspace, one after the other; answers what was fetched."""
    wanted = [step for step in steps if isinstance(step, FetchFile)]
    return tuple(
        fetch_file(step, run, lambda done, at=at: report((at + done) / len(wanted)))  # type: ignore[misc]
        for at, step in enumerate(wanted)
    )


def read_files(
    steps: tuple[Step, ...], run: Run, report: Callable[[float], None]
) -> Sequence[object]:
    """Bring whole files of the command's connector here under names of ours; answers those."""
    command = parse_command(run.lease.command)
    if not isinstance(command, SourceCommand):
        raise InvalidCommand(f"{type(command).__name__} names no connector to read from")
    wanted = [step for step in steps if isinstance(step, ReadFile)]
    for step in wanted:
        target = run.workspace / step.name
        if step.stored_key is not None:
            read_stored(run, step.stored_key, target, report)
            continue
        held = local_copy(run, command.connector, step.file_id, report)
        target.unlink(missing_ok=True)
        target.hardlink_to(held)
    return tuple(step.name for step in wanted)


HANDLERS: Handlers = {
    "write": write_text,
    "fetch": fetch,
    "fetch_file": fetch_files,
    "read": read_files,
    "ffmpeg": run_all,
    "turn": turn_all,
    "probe": probe_all,
    "pictures": take_all,
    "cut": cut_all,
    "publish": publish_all,
    "keep_guide": keep_guides,
    "take_upload": take_uploads,
    "admit_upload": admit_uploads,
}


def build(settings: Settings, localized: Localized | None = None) -> tuple[Handlers, World]:
    """The handlers by step type, and their world; nothing is contacted or started yet."""
    egress = Egress(allow_cidrs=settings.allow_cidrs)
    store = Store.from_url(settings.redis_url.get_secret_value())
    env = ConnectorEnv(egress=egress, settings=settings, clock=epoch_ms)
    return HANDLERS, World(
        settings=settings,
        registry=Registry.discover(),
        sealer=Sealer(settings.secret_keys),
        env=env,
        media=shared(allow_unjailed=settings.allow_unjailed),
        media_store=open_media_store(settings),
        guides=Guides(store),
        localized=localized,
        pacing=Pacing(store) if localized is not None else None,
    )
