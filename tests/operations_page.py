"""Writes docs/reference/operations.md from the tests themselves.

python -m tests.operations_page > docs/reference/operations.md
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

from connectors.base import PROTOCOLS, TimeShifted
from connectors.registry import ConnectorType, Registry
from tests.e2e.watching import documented
from tests.operations_table import tests_of
from tests.refusals_page import table

TESTS = Path(__file__).parent
SUITES = ("conformance/connectors/test_conformance.py", "conformance/connectors/test_uploads.py")
# Guides are brought in as many ways as there are types: each is tested beside its type.
OF_A_TYPE = {
    ("schedulesdirect", "epg"): "test_lineups_schedules_and_programs_are_brought",
    ("xmltv", "epg"): "test_a_zipped_guide_is_brought_as_it_is",
}
# What a connector may be able to do: tests of the rest of it pass it by.
ABLE = {proto.__name__: proto for proto in (*PROTOCOLS.values(), TimeShifted)}
HEAD = """# Every operation and connector, with the test that uses it

Operations are used through the whole service as `cuttingroom up` runs it: gateway, keeper, workers,
Redis. Each test named here is watched while it runs, and fails where it does not make the calls it
is named for, or they do not succeed. Written from the tests' own rows:
`python -m tests.operations_page > docs/reference/operations.md`.
"""
CONNECTORS = """Each type is opened as the product opens it, against real peers, and has to pass
every test of the conformance suite that its capabilities ask for.
"""


def page() -> str:
    """The whole page."""
    operations = [
        (f"`{name}`", f"{method} `{path}`", _listed(f"e2e/{test}" for test in tests_of(name)))
        for name, (method, path) in sorted(documented().items())
    ]
    types = [
        (f"`{kind.name}`", ", ".join(peers(kind.name)), f"`tests/connectors/test_{kind.name}.py`")
        for kind in Registry.discover().types()
    ]
    can = [
        (f"`{kind.name}`", f"`{capability}`", _listed(proofs(kind, capability)))
        for kind in Registry.discover().types()
        for capability in sorted(kind.capabilities)
    ]
    return "\n".join(
        (
            HEAD,
            table("Operations", ("operation", "", "tests"), operations, widest=None),
            table("Connector types", ("type", "peers", "its own tests"), types, widest=None),
            CONNECTORS,
            table("What connectors can do", ("type", "capability", "tests"), can, widest=None),
        )
    )


def peers(kind: str) -> list[str]:
    """What a type is tested against."""
    return list(importlib.import_module(f"tests.connectors.test_{kind}").PEERS)


def proofs(kind: ConnectorType, capability: str) -> list[str]:
    """The tests of a type that need a capability."""
    if (kind.name, capability) in OF_A_TYPE:
        return [f"connectors/test_{kind.name}.py::{OF_A_TYPE[kind.name, capability]}"]
    made = get_type_hints(kind.connect)["return"]
    others = {name for name, protocol in ABLE.items() if not issubclass(made, protocol)}
    wanted = {proto.__name__ for name, proto in PROTOCOLS.items() if name == capability}
    return [
        f"{suite}::{test}"
        for suite in SUITES
        for test, needed in needs(TESTS / suite).items()
        if wanted <= needed and not needed & others
    ]


def needs(file: Path) -> dict[str, set[str]]:
    """The tests of a suite, and the names each uses, those of its file's own functions too."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    named = {n.name: _names(n) for n in tree.body if isinstance(n, ast.FunctionDef)}
    for _ in named:
        for used in named.values():
            used |= {name for own in used & named.keys() for name in named[own]}
    return {name: used for name, used in named.items() if name.startswith("test_")}


def functions(file: Path) -> set[str]:
    """The functions of a module."""
    return set(_functions(file))


def _functions(file: Path) -> Iterator[str]:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            yield node.name


def _names(function: ast.FunctionDef) -> set[str]:
    return {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}


def _listed(tests: Iterator[str] | list[str]) -> str:
    """The functions of each file once."""
    found: dict[str, list[str]] = {}
    for name in tests:
        file, _, function = name.partition("::")
        found.setdefault(file, []).append(function.removeprefix("test_").replace("_", " "))
    return "; ".join(f"`{file}`: {', '.join(names)}" for file, names in found.items())


if __name__ == "__main__":
    print(page(), end="")
