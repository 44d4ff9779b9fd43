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
from schemas.plans import Step, WriteText
from schemas.settings import Settings
from workers.cutting import cut_all
from workers.fetching import Fetcher, fetch_all, fetches
from workers.phases import Handlers
from workers.publishing import publish_all
from workers.run import Run
from workers.runtime import epoch_ms
from workers.world import World, world_of


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
    world, command = world_of(run), parse_command(run.lease.command)
    if not isinstance(command, SourceCommand):
        raise InvalidCommand(f"{type(command).__name__} names no connector to fetch through")
    fetcher = Fetcher(world.live(command.connector), run)
    return fetch_all(fetches(steps), fetcher, world.settings.fetch_connections, run, report)


HANDLERS: Handlers = {
    "write": write_text,
    "fetch": fetch,
    "cut": cut_all,
    "publish": publish_all,
}


def build(settings: Settings) -> tuple[Handlers, World]:
    """The handlers by step type, and their world; nothing is contacted or started yet."""
    egress = Egress(allow_cidrs=settings.allow_cidrs)
    env = ConnectorEnv(egress=egress, settings=settings, clock=epoch_ms)
    return HANDLERS, World(
        settings=settings,
        registry=Registry.discover(),
        sealer=Sealer(settings.secret_keys),
        env=env,
        media=shared(allow_unjailed=settings.allow_unjailed),
        media_store=open_media_store(settings),
    )
