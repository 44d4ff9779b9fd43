"""An incomplete registry of commands stops the start-up and names what is missing."""

from __future__ import annotations

from typing import ClassVar

import pytest

from pipelines import registry
from pipelines.registry import RegistryIncomplete, missing, procfile_queues, require
from schemas.commands import COMMANDS, ClipFromStream
from workers.registry import PROCFILE, check_complete, served_queues, works


class Unheard(ClipFromStream):
    """A command nobody wrote anything for."""

    queue: ClassVar[str] = "unheard"


def test_a_complete_registry_lacks_nothing() -> None:
    assert missing([ClipFromStream], {"clip"}, {"clip": ClipFromStream}, {"clip"}) == ()


@pytest.mark.parametrize(
    ("pipelines", "actors", "served", "named"),
    [
        (set(), {"clip": Unheard}, {"unheard"}, "pipelines/clip.py"),
        ({"clip"}, {}, {"unheard"}, "workers/clip.py"),
        ({"clip"}, {"clip": ClipFromStream}, {"unheard"}, "Unheard"),
        ({"clip"}, {"clip": Unheard}, {"clip"}, "Procfile line for queue 'unheard'"),
    ],
    ids=["pipeline", "actor", "actor of another", "procfile"],
)
def test_what_is_missing_is_named(
    pipelines: set[str], actors: dict[str, type[ClipFromStream]], served: set[str], named: str
) -> None:
    lacks = missing([Unheard], pipelines, dict(actors), served)

    with pytest.raises(RegistryIncomplete, match=named):
        require(lacks)


def test_the_procfile_is_read_for_its_queues() -> None:
    text = (
        "web: python -m api_gateway\na: python -m workers.main --queue a --slots 2\n#b: --queue b\n"
    )

    assert procfile_queues(text) == {"a"}


def test_every_command_of_ours_has_all_its_parts() -> None:
    check_complete(works())


def test_our_procfile_serves_every_queue() -> None:
    assert PROCFILE.exists()
    assert served_queues() >= set(registry.queues(COMMANDS))
