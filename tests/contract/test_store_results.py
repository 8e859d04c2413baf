"""The promises of ``ports.Store`` about stored results."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobworkerp_standalone.jobs.errors import StorageError
from jobworkerp_standalone.jobs.model import JobResult, Priority, ResultStatus
from jobworkerp_standalone.ports import ResultFilter, Store
from tests.contract.scene import FULL_JOB, NOW, job, result

SUCCESS, FATAL, CANCELLED = ResultStatus.SUCCESS, ResultStatus.FATAL_ERROR, ResultStatus.CANCELLED
EVERYTHING = ResultFilter()


async def found(store: Store, wanted: ResultFilter = EVERYTHING, **choice: Any) -> list[int]:
    """Return the ids of what is found, by default oldest id first."""
    choice = {"sort_by": "id", "ascending": True, "limit": None, "offset": 0, **choice}
    return [each.id for each in await store.find_results(wanted, **choice)]


async def test_a_result_comes_back_as_it_went_in(store: Store) -> None:
    full = JobResult(2**62, FULL_JOB, "wörker", CANCELLED, b"\0\xff", NOW, NOW + 9, {"b": "c"})
    without_output = replace(full, id=1, output=None, metadata=FULL_JOB.metadata)
    empty_output = replace(full, id=2, output=b"", metadata={})
    as_run = replace(FULL_JOB, stored=False, fence=0, deliveries=0)
    for each in (full, without_output, empty_output):
        await store.add_result(each)
        assert await store.find_result(each.id) == replace(each, job=as_run)
    assert await store.find_result(3) is None


async def test_a_result_id_is_taken_once(store: Store) -> None:
    await store.add_result(result(1, job(1)))
    with pytest.raises(StorageError, match="result with id 1 is already stored"):
        await store.add_result(result(1, job(2)))
    assert await found(store) == [1]


async def test_results_of_a_job_are_newest_first(store: Store) -> None:
    for number, end in ((1, NOW + 5), (2, NOW + 9), (3, NOW + 9), (4, NOW + 1)):
        await store.add_result(result(number, job(7), end_time_ms=end))
    await store.add_result(result(5, job(8), end_time_ms=NOW + 99))
    assert [each.id for each in await store.results_of_job(7, 10)] == [3, 2, 1, 4]
    assert [each.id for each in await store.results_of_job(7, 2)] == [3, 2]
    assert await store.results_of_job(9, 10) == []


async def test_sorting(store: Store) -> None:
    rows = (  # id, job id, start, end, status
        (1, 30, NOW + 2, NOW + 3, FATAL),
        (2, 10, NOW + 1, NOW + 9, SUCCESS),
        (3, 20, NOW + 3, NOW + 5, FATAL),
        (4, 10, NOW + 1, NOW + 5, CANCELLED),
    )
    for number, job_id, start, end, status in rows:
        await store.add_result(result(number, job(job_id), status, start_time_ms=start, end_time_ms=end))
    orders = {
        "id": [1, 2, 3, 4],
        "job_id": [2, 4, 3, 1],
        "start_time": [2, 4, 1, 3],
        "end_time": [1, 3, 4, 2],
        "status": [2, 1, 3, 4],
    }
    for sort_by, order in orders.items():
        assert await found(store, sort_by=sort_by) == order
        assert await found(store, sort_by=sort_by, ascending=False) == order[::-1]


async def test_paging(store: Store) -> None:
    for number in range(1, 8):
        await store.add_result(result(number, job(number)))
    assert await found(store, limit=3) == [1, 2, 3]
    assert await found(store, limit=3, offset=5) == [6, 7]
    assert await found(store, offset=5) == [6, 7]
    assert await found(store, limit=0) == []
    assert await found(store, limit=5, offset=10) == []


FILTERS = {
    "all": (EVERYTHING, [1, 2, 3, 4]),
    "worker": (ResultFilter(worker_ids=(10,)), [1, 2]),
    "workers": (ResultFilter(worker_ids=(10, 30, 99)), [1, 2, 4]),
    "status": (ResultFilter(statuses=(SUCCESS,)), [1, 4]),
    "statuses": (ResultFilter(statuses=(SUCCESS, CANCELLED)), [1, 3, 4]),
    "priority": (ResultFilter(priorities=(Priority.LOW, Priority.HIGH)), [1, 4]),
    "key": (ResultFilter(uniq_key="k"), [2]),
    "no such key": (ResultFilter(uniq_key=""), []),
    "start from": (ResultFilter(start_time_from=NOW + 2), [2, 3, 4]),
    "start to": (ResultFilter(start_time_to=NOW + 2), [1, 2]),
    "end between": (ResultFilter(end_time_from=NOW + 12, end_time_to=NOW + 13), [2, 3]),
    "all at once": (ResultFilter((10,), (SUCCESS, FATAL), NOW, NOW + 9, NOW, NOW + 12, (Priority.MEDIUM,), "k"), [2]),
    "contradiction": (ResultFilter(start_time_from=NOW + 3, start_time_to=NOW + 2), []),
}


@pytest.fixture
async def four(store: Store) -> Store:
    """Return the store with four results that differ in everything."""
    rows = (
        (1, 10, SUCCESS, Priority.LOW, "other"),
        (2, 10, FATAL, Priority.MEDIUM, "k"),
        (3, 20, CANCELLED, Priority.MEDIUM, None),
        (4, 30, SUCCESS, Priority.HIGH, None),
    )
    for number, worker_id, status, priority, key in rows:
        of = job(number + 100, worker_id=worker_id, priority=priority, uniq_key=key)
        times = {"start_time_ms": NOW + number, "end_time_ms": NOW + 10 + number}
        await store.add_result(result(number, of, status, **times))
    return store


@pytest.mark.parametrize(("wanted", "ids"), FILTERS.values(), ids=FILTERS)
async def test_filters(four: Store, wanted: ResultFilter, ids: list[int]) -> None:
    assert await found(four, wanted) == ids
    assert await four.count_results(wanted) == len(ids)
    assert await four.delete_results(wanted) == len(ids)
    assert await found(four) == [each for each in (1, 2, 3, 4) if each not in ids]


async def test_one_result_is_deleted_once(four: Store) -> None:
    assert await four.delete_result(2)
    assert not await four.delete_result(2)
    assert await found(four) == [1, 3, 4]
