"""The page of operations is complete, and names what there is."""

from pathlib import Path

from connectors.registry import Registry
from tests.e2e.watching import documented
from tests.operations_page import TESTS, functions, page, peers, proofs
from tests.operations_table import USES


def test_the_page_of_operations_is_up_to_date() -> None:
    kept = Path(__file__).parents[1] / "docs/reference/operations.md"

    assert kept.read_text(encoding="utf-8") == page(), (
        "python -m tests.operations_page > docs/reference/operations.md"
    )


def test_every_operation_is_used_by_a_test_of_the_whole_service() -> None:
    used = {operation for operations in USES.values() for operation in operations}

    assert used == documented().keys()


def test_every_test_that_is_named_exists() -> None:
    for name in USES:
        file, _, function = name.partition("::")

        assert function in functions(TESTS / "e2e" / file), name


def test_every_type_has_peers_and_every_capability_a_test() -> None:
    for kind in Registry.discover().types():
        assert peers(kind.name), kind.name
        for capability in kind.capabilities:
            found = proofs(kind, capability)

            assert found, (kind.name, capability)
            for name in found:
                file, _, function = name.partition("::")
                assert function in functions(TESTS / file), name
