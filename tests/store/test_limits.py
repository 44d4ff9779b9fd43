"""Rate limits: a minute's worth a name."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import StoreUnavailable
from store.limits import RateLimits
from tests.redis_server import free_port, redis_server


def test_a_minutes_worth_is_allowed_and_no_more() -> None:
    limits = RateLimits.in_memory()

    taken = [limits.hit("key", 3) for _ in range(4)]

    assert [allowance.allowed for allowance in taken] == [True, True, True, False]
    assert [allowance.remaining for allowance in taken] == [2, 1, 0, 0]
    assert 1 <= taken[-1].reset_s <= 60
    assert limits.hit("other", 3).allowed


@pytest.mark.redis
def test_processes_share_a_limit_and_hear_when_redis_is_away(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        one, two = RateLimits.from_url(server.url), RateLimits.from_url(server.url)
        taken = [one.hit("key", 2).allowed, two.hit("key", 2).allowed, one.hit("key", 2).allowed]

    assert taken == [True, True, False]
    with pytest.raises(StoreUnavailable):
        RateLimits.from_url(f"redis://127.0.0.1:{free_port()}/0").hit("key", 2)
