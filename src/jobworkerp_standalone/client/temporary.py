"""Workers that exist for as long as a client needs them."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from jobworkerp_standalone.client.client import Client
from jobworkerp_standalone.client.errors import ClientError
from jobworkerp_standalone.client.steady import to_the_end
from jobworkerp_standalone.pb.jobworkerp.data import WorkerData, WorkerId
from jobworkerp_standalone.pb.jobworkerp.service import WorkerNameRequest

_log = logging.getLogger(__name__)


@asynccontextmanager
async def temporary_worker(client: Client, data: WorkerData) -> AsyncIterator[WorkerId]:
    """Make a worker, and remove it in the end, whatever happens; also where its id never arrived.

    Args:
        client: of the server.
        data: the worker; its name gets an ending that no other has.

    Raises:
        ClientError: it could not be made. One that cannot be removed is a warning: what it was made for is done.
    """
    data.name = f"{data.name}_{uuid.uuid4().hex}"
    if (await client.worker.find_by_name(WorkerNameRequest(name=data.name))).data is not None:
        raise ClientError(f"worker {data.name} exists already")
    try:
        worker_id = (await client.worker.create(data)).id
        if worker_id is None:
            raise ClientError("the server did not answer with the id of the temporary worker")
        yield worker_id
    finally:
        await to_the_end(_remove(client, data.name))


async def _remove(client: Client, name: str) -> None:
    try:
        worker = (await client.worker.find_by_name(WorkerNameRequest(name=name))).data
        if worker is not None and worker.id is not None:
            await client.worker.delete(worker.id)
    except ClientError as error:
        _log.warning("temporary worker %s was not removed: %s", name, error)
