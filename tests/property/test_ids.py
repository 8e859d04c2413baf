"""Ids: growing, unique, positive, whatever the clock does."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobworkerp_standalone.jobs.ids import NODE_BITS, IdGenerator
from tests.property import values

TIME_SHIFT = 22
"""Below the milliseconds: ten bits of the node, twelve that count, as clients of the wire may rely on."""
nodes = st.integers(0, 2**NODE_BITS - 1)
clocks = st.lists(values.moments, min_size=1, max_size=50)
"""What a clock shows, one look after the other: it stands still, jumps ahead, steps back."""
IN_ONE_MILLISECOND = 5000
"""More than a counter of 12 bits can count."""


def made(node: int, shown: Sequence[int], *, floor: int = 0, per_look: int = 1) -> list[int]:
    looks = iter([moment for moment in shown for _ in range(per_look)])
    new_id = IdGenerator(node, floor, lambda: next(looks))
    return [new_id() for _ in range(len(shown) * per_look)]


def assert_growing(ids: Sequence[int]) -> None:
    assert all(earlier < later for earlier, later in pairwise(ids))


@given(nodes, clocks)
def test_ids_grow_whatever_the_clock_does(node: int, shown: list[int]) -> None:
    assert_growing(made(node, shown, per_look=3))


@given(nodes, clocks)
def test_ids_are_positive_and_fit_64_bits(node: int, shown: list[int]) -> None:
    assert all(0 < each < 2**63 for each in made(node, shown))


@given(nodes, values.moments)
def test_more_ids_than_a_millisecond_holds(node: int, moment: int) -> None:
    ids = made(node, [moment], per_look=IN_ONE_MILLISECOND)
    assert_growing(ids)
    assert ids[0] >> TIME_SHIFT == moment
    assert ids[-1] >> TIME_SHIFT == moment + 1


@given(nodes, clocks, nodes, clocks)
def test_a_restart_goes_on_above_what_is_stored(
    node: int, shown: list[int], next_node: int, shown_next: list[int]
) -> None:
    before = made(node, shown)
    after = made(next_node, shown_next, floor=max(before))
    assert_growing([*before, *after])


@given(st.lists(nodes, min_size=2, max_size=5, unique=True), clocks, st.integers(0, 2**62))
def test_nodes_never_share_an_id(chosen: list[int], shown: list[int], floor: int) -> None:
    ids = [each for node in chosen for each in made(node, shown, floor=floor, per_look=2)]
    assert len(set(ids)) == len(ids)


@given(nodes, values.moments)
def test_an_id_tells_its_time(node: int, moment: int) -> None:
    (only,) = made(node, [moment])
    assert only >> TIME_SHIFT == moment


@pytest.mark.parametrize("node", [-1, 2**NODE_BITS])
def test_a_node_out_of_range_is_refused(node: int) -> None:
    with pytest.raises(ValueError, match=str(node)):
        IdGenerator(node)


@contextmanager
def threads_that_switch_often() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def test_threads_never_share_an_id() -> None:
    new_id, threads = IdGenerator(1), 4
    barrier = Barrier(threads)

    def make() -> list[int]:
        barrier.wait()
        return [new_id() for _ in range(20_000)]

    with threads_that_switch_often(), ThreadPoolExecutor(threads) as pool:
        batches = [each.result() for each in [pool.submit(make) for _ in range(threads)]]
    for batch in batches:
        assert_growing(batch)
    ids = [each for batch in batches for each in batch]
    assert len(set(ids)) == len(ids)
