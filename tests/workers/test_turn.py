"""One job of a slot works at a time, and those that come back go before new ones."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from schemas.errors import Cancelled
from tests.chaos.processes import until
from workers.turn import Stint, Turn


def go_on() -> None:
    """Nothing speaks against it."""


def begun(turn: Turn) -> Stint:
    stint = turn.begin()
    assert stint is not None
    return stint


def in_background(act: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def coming_back(turn: Turn, stint: Stint, act: Callable[[], object]) -> threading.Thread:
    """A thread that resumes and then acts, once it stands in the row."""
    asked = threading.Event()

    def check() -> None:
        asked.set()

    def resume() -> None:
        stint.resume(check)
        act()

    thread = in_background(resume)
    assert asked.wait(30)
    return thread


def test_one_has_the_turn_until_it_ends() -> None:
    turn = Turn(4)
    first = begun(turn)

    refused = turn.begin()
    first.end()

    assert refused is None
    assert turn.begin() is not None


def test_who_pauses_lets_another_begin() -> None:
    turn = Turn(4)
    first = begun(turn)

    assert first.pause()

    second = begun(turn)
    assert turn.holder is second


def test_who_comes_back_to_a_free_turn_has_it_at_once() -> None:
    turn = Turn(4)
    first = begun(turn)
    first.pause()

    first.resume(go_on)

    assert turn.holder is first


def test_those_that_come_back_go_before_a_new_one_in_their_order() -> None:
    turn, order = Turn(4), list[str]()
    first, second = begun(turn), None
    first.pause()
    second = begun(turn)
    second.pause()
    working = begun(turn)

    def note(name: str, stint: Stint) -> None:
        order.append(name)
        assert turn.begin() is None
        stint.end()

    threads = [
        coming_back(turn, second, lambda: note("second", second)),
        coming_back(turn, first, lambda: note("first", first)),
    ]
    waited = turn.wait_free(0)
    working.end()
    for thread in threads:
        thread.join(30)

    assert not waited
    assert order == ["second", "first"]
    assert turn.begin() is not None


def test_the_end_of_one_that_paused_takes_no_other_its_turn() -> None:
    turn = Turn(4)
    first = begun(turn)
    first.pause()
    second = begun(turn)

    first.end()
    first.end()

    assert turn.holder is second
    assert turn.begin() is None


def test_who_is_told_to_stop_while_it_comes_back_leaves_the_row() -> None:
    turn, stop = Turn(4), threading.Event()
    first = begun(turn)
    first.pause()
    working = begun(turn)
    raised: list[Cancelled] = []

    def check() -> None:
        if stop.is_set():
            raise Cancelled("somebody cancelled the job")

    def resume() -> None:
        try:
            first.resume(check)
        except Cancelled as error:
            raised.append(error)

    thread = in_background(resume)
    stop.set()
    thread.join(30)
    working.end()

    assert len(raised) == 1
    assert turn.begin() is not None


def test_no_more_may_be_away_than_there_are_places() -> None:
    turn = Turn(1)
    first = begun(turn)
    first.pause()
    second = begun(turn)

    refused = second.pause()
    first.end()

    assert not refused
    assert turn.holder is second
    assert second.pause()


def test_who_pauses_again_or_had_the_turn_all_along_changes_nothing() -> None:
    numbers: list[int] = []
    turn = Turn(1, numbers.append)
    first = begun(turn)

    first.resume(go_on)
    kept = turn.holder
    assert first.pause()
    assert first.pause()

    assert kept is first
    assert turn.holder is None
    assert set(numbers) == {1}


def test_once_closed_only_who_began_goes_on() -> None:
    turn = Turn(4)
    first = begun(turn)
    first.pause()

    turn.close()

    assert (turn.begin(), turn.wait_free(0)) == (None, False)
    first.resume(go_on)
    assert turn.holder is first


@pytest.mark.parametrize("over", ["resumed", "ended"])
def test_how_many_are_away_is_told(over: str) -> None:
    numbers: list[int] = []
    turn = Turn(4, numbers.append)
    first = begun(turn)
    first.pause()
    second = begun(turn)
    second.pause()

    first.resume(go_on) if over == "resumed" else first.end()

    assert numbers == [1, 2, 1]


def test_a_new_one_is_let_in_as_soon_as_the_turn_is_given() -> None:
    turn = Turn(4)
    first, let_in = begun(turn), threading.Event()

    def wait() -> None:
        if turn.wait_free(30):
            let_in.set()

    in_background(wait)
    first.pause()

    until(let_in.is_set, "a free turn")


def test_one_job_at_a_time_does_something_heavy_beside_the_one_that_has_the_turn() -> None:
    turn = Turn(4)
    first = begun(turn)
    first.pause()
    second = begun(turn)
    second.pause()
    holder = begun(turn)

    done, refused, own = first.aside(), second.aside(), holder.aside()

    assert done is not None
    assert refused is None
    assert own is not None
    own()
    assert second.aside() is None
    done()
    assert second.aside() is not None
