"""What runs next, and when."""

from __future__ import annotations

from typing import NamedTuple

from jobworkerp_standalone.client import Client
from jobworkerp_standalone.jobs import model
from jobworkerp_standalone.jobs.periods import upcoming_ms
from jobworkerp_standalone.pb.jobworkerp.data import Job, Worker, WorkerData
from jobworkerp_standalone.pb.jobworkerp.service import FindListRequest


class Scheduled(NamedTuple):
    """A job that waits for its time."""

    job_id: int
    worker: str
    schedule: str
    """What makes it run again; ``once`` where nothing does."""
    times_ms: list[int]
    """When it runs next, as far as that can be told."""


async def schedule(client: Client, most_times: int) -> list[Scheduled]:
    """Return the jobs that wait for their time, the next one first."""
    jobs = [job async for job in client.job.find_list(FindListRequest())]
    found = [
        _scheduled(job, await client.schemas.find_worker(job.data.worker_id.value), most_times)
        for job in jobs
        if job.data is not None and job.data.worker_id is not None and job.data.run_after_time > 0
    ]
    return sorted(found, key=lambda each: (each.times_ms[0], each.job_id))


def _scheduled(job: Job, worker: Worker | None, most_times: int) -> Scheduled:
    data = worker.data if worker is not None and worker.data is not None else WorkerData()
    rules = model.Worker(
        0, data.name, 0, periodic_interval_ms=data.periodic_interval, cron=data.cron, cron_timezone=data.cron_timezone
    )
    due_ms = job.data.run_after_time if job.data else 0
    times = upcoming_ms(rules, due_ms, most_times)
    if data.cron:
        shown = f"cron {data.cron} {data.cron_timezone or 'UTC'}"
    else:
        shown = f"every {data.periodic_interval} ms" if data.periodic_interval else "once"
    return Scheduled(job.id.value if job.id else 0, data.name, shown, times)
