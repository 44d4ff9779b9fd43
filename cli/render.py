"""`cuttingroom render`: renditions of a file in one process, with no server at all."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter
from rich.console import Console

from cli.inprocess import carried_out, failure
from cli.output import check_output, folder_of
from cli.show import show_renditions
from connectors.sealing import new_key
from pipelines.recipes import RECIPES
from pipelines.rendition import check_together
from schemas.base import Value
from schemas.commands import CreateRenditions
from schemas.connectors import ConnectorRef, Destination
from schemas.errors import Cancelled, InvalidCommand
from schemas.jobs import MAX_ATTEMPTS, Job
from schemas.profiles import Profile
from schemas.settings import Settings
from workers import handlers
from workers.local_ledger import LocalLedger
from workers.rendition import WORK
from workers.runtime import Runtime

TENANT, QUEUE = "local", "rendition"
MAX_RECIPE_BYTES = 256 * 1024
_RECIPES = TypeAdapter(tuple[Profile, ...])


class Asked(Value):
    """What somebody typed."""

    source: Path
    recipe: tuple[str, ...]
    output: Path
    force: bool = False


def run(asked: Asked, settings: Settings, err: Console, out: Console, *, as_json: bool) -> None:
    """Make the renditions and say what they are; raises what kept it from that."""
    job = make(asked, settings, err)
    if job.state == "cancelled":
        raise Cancelled("stopped; nothing was finished")
    if job.state != "succeeded" or job.result is None:
        raise failure(job, "the rendition")
    if as_json:
        out.print_json(data=job.result)
    else:
        show_renditions(job.result, str(asked.output), out)


def make(asked: Asked, settings: Settings, err: Console, attempts: int = MAX_ATTEMPTS) -> Job:
    """The finished job, whatever became of it."""
    recipes = recipes_of(asked.recipe)
    check_together(recipes)
    _check_paths(asked)
    with running(asked, settings) as runtime:
        return carried_out(command(asked, recipes), runtime, err, attempts)


@contextmanager
def running(asked: Asked, settings: Settings) -> Iterator[Runtime]:
    """All that carries the job out, in a folder of its own; it writes next to the output."""
    with tempfile.TemporaryDirectory(prefix="cuttingroom-") as work:
        # Jailed children run under another uid: they must reach the workspace below.
        Path(work).chmod(0o711)
        made, world = handlers.build(_reaching(settings, asked, work))
        world.media.start()
        yield Runtime(
            ledger=LocalLedger(),
            works={QUEUE: WORK},
            handlers=made,
            world=replace(world, media_store=folder_of(asked.output, force=asked.force)),
            work_dir=Path(work),
            owner="cli",
        )


def recipes_of(names: Sequence[str]) -> tuple[Profile, ...]:
    """The recipes behind names and JSON files; a file holds one recipe or a list of them."""
    return tuple(recipe for name in names for recipe in _named(name))


def command(asked: Asked, recipes: tuple[Profile, ...]) -> CreateRenditions:
    """The command, as a service would accept it."""
    folder = {"folder": str(asked.source.parent)}
    return CreateRenditions(
        tenant_id=TENANT,
        requested_by="cli",
        request={"input": asked.source.name, "recipes": [recipe.name for recipe in recipes]},
        connector=ConnectorRef(id="cli", tenant_id=TENANT, type="local", config=folder),
        file_id=asked.source.name,
        recipes=recipes,
        destination=Destination(key=asked.output.name),
    )


def _named(name: str) -> tuple[Profile, ...]:
    if name in RECIPES:
        return RECIPES[name]
    path = Path(name)
    if not path.is_file():
        raise InvalidCommand(f"no recipe or file {name!r}; there are {', '.join(RECIPES)}")
    if path.stat().st_size > MAX_RECIPE_BYTES:
        raise InvalidCommand(f"{name} is larger than {MAX_RECIPE_BYTES} bytes")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidCommand(f"{name} is not JSON: {error}") from error
    return _RECIPES.validate_python(told if isinstance(told, list) else [told])


def _check_paths(asked: Asked) -> None:
    if not asked.source.is_file():
        raise InvalidCommand(f"there is no file {asked.source}")
    check_output(asked.output, force=asked.force, may_be_folder=True)


def _reaching(settings: Settings, asked: Asked, work: str) -> Settings:
    """The settings, with the typed file's folder allowed: whoever types a path means it."""
    folders = (*settings.local_folders, str(asked.source.parent))
    update = {"local_folders": folders, "work_dir": work, "data_dir": work}
    return settings.model_copy(update=update | {"secret_keys": new_key()})
