"""Calls of the command group ``worker``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from jobworkerp_standalone.cli.show import note
from jobworkerp_standalone.client import Client
from jobworkerp_standalone.client.coding import decode_settings, encode_settings
from jobworkerp_standalone.pb.jobworkerp.data import (
    CronMisfire,
    QueueType,
    ResponseType,
    RetryPolicy,
    RetryType,
    Worker,
    WorkerData,
    WorkerId,
)
from jobworkerp_standalone.pb.jobworkerp.service import CountWorkerRequest, FindWorkerListRequest

_QUEUE_TYPES: Final = {**QueueType.__members__, "FORCED_RDB": QueueType.DB_ONLY}
_DEFAULT_CHANNELS: Final = ("", "[default]")


class What(NamedTuple):
    """What a worker is made of."""

    name: str | None = None
    description: str | None = None
    runner: int | str | None = None
    settings: str | None = None


class How(NamedTuple):
    """How its jobs run."""

    periodic: int | None = None
    channel: str | None = None
    queue_type: str | None = None
    response_type: str | None = None


class Flags(NamedTuple):
    """Its switches; the names are those of ``WorkerData``."""

    store_success: bool | None = None
    store_failure: bool | None = None
    use_static: bool | None = None
    broadcast_results: bool | None = None


class Retry(NamedTuple):
    """Its retry policy; the names are those of ``RetryPolicy``."""

    type: str | None = None
    interval: int | None = None
    max_interval: int | None = None
    max_retry: int | None = None
    basis: float | None = None


class Schedule(NamedTuple):
    """When it runs by itself, and what runs after it; the names are those of ``WorkerData``."""

    cron: str | None = None
    cron_timezone: str | None = None
    cron_misfire: str | None = None
    allow_overlap: bool | None = None
    next_workers: Sequence[int] | None = None


class Changes(NamedTuple):
    """What a command line says about a worker; None is what it leaves open."""

    what: What = What()
    how: How = How()
    flags: Flags = Flags()
    retry: Retry = Retry()
    schedule: Schedule = Schedule()


async def create(client: Client, wanted: Changes) -> int:
    """Add a worker and return its id."""
    data = WorkerData(retry_policy=RetryPolicy())
    await _apply(client, data, wanted)
    reply = await client.worker.create(data)
    return reply.id.value if reply.id else 0


async def update(client: Client, worker_id: int, changes: Changes) -> bool:
    """Change a worker, and leave the rest of it as it is; whether the server did it."""
    worker = await client.schemas.worker(worker_id)
    data = worker.data or WorkerData()
    await _apply(client, data, changes)
    return (await client.worker.update(Worker(id=WorkerId(value=worker_id), data=data))).is_success


async def find(client: Client, key: int | str) -> tuple[Worker, Any] | None:
    """Return a worker by id or name, with its settings decoded."""
    worker = await client.schemas.find_worker(key)
    return None if worker is None else (worker, await _settings(client, worker))


async def listing(client: Client, offset: int | None, limit: int | None) -> list[tuple[Worker, Any]]:
    """Return workers, with their settings decoded."""
    request = FindWorkerListRequest(limit=limit, offset=offset)
    workers = [worker async for worker in client.worker.find_list(request)]
    return [(worker, await _settings(client, worker)) for worker in workers]


async def delete(client: Client, worker_id: int) -> bool:
    """Remove a worker; whether it was there."""
    return (await client.worker.delete(WorkerId(value=worker_id))).is_success


async def count(client: Client) -> int:
    """Return how many workers there are."""
    return (await client.worker.count_by(CountWorkerRequest())).total


async def _settings(client: Client, worker: Worker) -> Any:
    runner = await client.schemas.runner_of(worker)
    return decode_settings(runner, worker.data.runner_settings if worker.data else b"")


async def _apply(client: Client, data: WorkerData, changes: Changes) -> None:
    what, how = changes.what, changes.how
    if what.name is not None:
        data.name = what.name
    if what.description is not None:
        data.description = what.description
    if how.periodic is not None:
        data.periodic_interval = how.periodic
    if how.channel is not None:
        data.channel = None if how.channel in _DEFAULT_CHANNELS else how.channel
    if how.queue_type is not None:
        data.queue_type = _QUEUE_TYPES[how.queue_type]
    if how.response_type is not None:
        data.response_type = ResponseType[how.response_type]
    _set_given(data, changes.flags)
    _apply_retry(data, changes.retry)
    _apply_schedule(data, changes.schedule)
    await _apply_runner(client, data, what)


def _apply_retry(data: WorkerData, retry: Retry) -> None:
    policy = data.retry_policy or RetryPolicy()
    if retry.type is not None:
        policy.type = RetryType[retry.type.upper()]
    _set_given(policy, retry._replace(type=None))
    data.retry_policy = policy


def _apply_schedule(data: WorkerData, schedule: Schedule) -> None:
    if schedule.cron is not None:
        data.cron = schedule.cron
    if schedule.cron_timezone is not None:
        data.cron_timezone = schedule.cron_timezone
    if schedule.cron_misfire is not None:
        data.cron_misfire = CronMisfire[schedule.cron_misfire.upper().replace("-", "_")]
    if schedule.allow_overlap is not None:
        data.allow_overlap = schedule.allow_overlap
    if schedule.next_workers is not None:
        data.next_workers = [WorkerId(value=each) for each in schedule.next_workers]


async def _apply_runner(client: Client, data: WorkerData, what: What) -> None:
    if what.runner is not None:
        data.runner_id = (await client.schemas.runner(what.runner)).id
    if what.settings is not None:
        runner = await client.schemas.runner(data.runner_id.value if data.runner_id else 0)
        data.runner_settings = encode_settings(runner, what.settings)
        if data.runner_settings and runner.data is not None and not runner.data.runner_settings_proto.strip():
            note(f"warning: settings: runner {runner.data.name!r} takes none; they are kept, and nobody reads them")


def _set_given(message: WorkerData | RetryPolicy, given: Flags | Retry) -> None:
    for field, value in zip(given._fields, given, strict=True):
        if value is not None:
            setattr(message, field, value)
