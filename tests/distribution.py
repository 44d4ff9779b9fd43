"""How a run of several workers is shared out: what stays together, and what comes first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, zip_longest

import pytest
from xdist.scheduler import LoadScopeScheduling

# One service runs for all of them: `whole_service` in conftest.py.
_ON_ONE_SERVICE = {
    "tests/client/test_howto.py",
    *(f"tests/e2e/test_{name}.py" for name in ("content", "operations", "service", "webhooks")),
    *(f"tests/e2e/test_{name}_service.py" for name in ("export", "projects", "rendition")),
}
# Freezes and counts what the service does: nothing that others asked for may still run.
_FIRST_ON_IT = "tests/e2e/test_service.py"
_STARTS_ITS_OWN = "test_ctrl_c_drains_and_a_second_start_goes_on_with_everything"
# A crew of workers over a folder, or over a bucket.
_CREW = re.compile(r"tests/chaos/\w+_kills\.py::\w+\[(local|s3)\b")
# They wait more than they work, and some last a minute: late ones would be waited for alone.
_LONG = ("one service", "tests/chaos/", "tests/e2e/")


def group_of(nodeid: str) -> str:
    """What a test is run together with, by one worker, one after another: mostly its file."""
    file, _, name = nodeid.partition("::")
    if file in _ON_ONE_SERVICE:
        return _STARTS_ITS_OWN if name == _STARTS_ITS_OWN else "one service"
    crew = _CREW.match(nodeid)
    return f"{file} {crew[1]}" if crew else file


class Groups(LoadScopeScheduling):
    """Hands out whole groups."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def in_groups(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """The items by their groups, long groups and short ones in turns."""
    groups: dict[str, list[pytest.Item]] = {}
    for item in sorted(items, key=lambda item: not item.nodeid.startswith(_FIRST_ON_IT)):
        groups.setdefault(group_of(item.nodeid), []).append(item)
    return [item for name in _in_turns(groups) for item in groups[name]]


def _in_turns(names: Iterable[str]) -> Iterator[str]:
    long, short = [], []
    for name in names:
        (long if name.startswith(_LONG) else short).append(name)
    return (name for name in chain(*zip_longest(long, short)) if name is not None)
