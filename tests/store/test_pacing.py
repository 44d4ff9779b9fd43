"""A rate is one of all processes that take from it, each in turn."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from store.client import Store
from store.pacing import Pacing
from tests.redis_server import redis_server

ROOT = Path(__file__).parent.parent.parent
RATE, PART, TIMES = 1000, 250, 40
ASK = f"""
import json, sys
from store.client import Store
from store.pacing import Pacing
pacing = Pacing(Store.from_url(sys.argv[1]))
print(json.dumps([pacing.grant("t1/con_1", {RATE}, {PART}) for _ in range({TIMES})]))
"""


@pytest.mark.redis
def test_two_processes_take_from_one_rate(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        store = Store.from_url(server.url)
        began = now_s(store)
        asked = [
            subprocess.Popen(
                [sys.executable, "-c", ASK, server.url], cwd=ROOT, stdout=subprocess.PIPE
            )
            for _ in range(2)
        ]
        waits = [json.loads(one.communicate(timeout=60)[0]) for one in asked]
        took_s = now_s(store) - began
        other = Pacing(store).grant("t1/con_2", RATE, PART)
        store.close()

    all_s = 2 * TIMES * PART / RATE
    # Whoever asked last waits for everything that was granted, less what passed meanwhile.
    assert all_s - took_s - 0.001 <= max(max(one) for one in waits) <= all_s
    # Nobody was granted a part while an earlier one of its own, or another's, still ran.
    for own in waits:
        assert own == sorted(own)
    assert other == pytest.approx(PART / RATE, abs=0.001)


@pytest.mark.redis
def test_what_nobody_took_is_not_saved_up(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        store = Store.from_url(server.url)
        pacing = Pacing(store)

        quick = [pacing.grant("n", 1_000_000_000, 1000) for _ in range(20)]
        slow = pacing.grant("n", 1000, 1000)
        store.close()

    assert max(quick) < 0.001
    assert slow == pytest.approx(1, abs=0.001)


def now_s(store: Store) -> float:
    """Redis's own clock."""
    seconds, micros = store.client.time()
    return float(seconds) + float(micros) / 1_000_000
