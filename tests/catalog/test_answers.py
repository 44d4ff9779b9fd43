"""First answers are given again to the same request, and refused to another."""

from __future__ import annotations

import pytest

from catalog.answers import KEPT_MS
from catalog.engine import Catalog
from schemas.errors import Conflict
from tests.fakes import FixedClock


def test_the_same_request_gets_the_first_answer(catalog: Catalog) -> None:
    with catalog.write() as tx:
        tenant = tx.tenants.create("Acme").id
        tx.answers.keep(tenant, "k1", "hash", "sealed")

        assert tx.answers.first(tenant, "k1", "hash") == "sealed"
        assert tx.answers.first(tenant, "k2", "hash") is None


def test_another_request_under_the_key_is_a_conflict(catalog: Catalog) -> None:
    with catalog.write() as tx:
        tenant = tx.tenants.create("Acme").id
        tx.answers.keep(tenant, "k1", "hash", "sealed")

        with pytest.raises(Conflict) as refused:
            tx.answers.first(tenant, "k1", "other")
    assert refused.value.error_code == "idempotency_conflict"


def test_answers_are_forgotten_after_a_day(catalog: Catalog, clock: FixedClock) -> None:
    with catalog.write() as tx:
        tenant = tx.tenants.create("Acme").id
        tx.answers.keep(tenant, "k1", "hash", "sealed")
    clock.advance(KEPT_MS + 1)

    with catalog.write() as tx:
        assert tx.answers.first(tenant, "k1", "other") is None
        tx.answers.keep(tenant, "k1", "other", "new")
        assert tx.answers.first(tenant, "k1", "other") == "new"
