"""The composition root: start order, ready, signals, shutdown."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import anyio

from jobworkerp_standalone import __version__
from jobworkerp_standalone.backends.memory.queue import MemoryQueue
from jobworkerp_standalone.backends.stores import open_store
from jobworkerp_standalone.engine.clock import SystemClock
from jobworkerp_standalone.engine.engine import Engine, Ground, run_engine
from jobworkerp_standalone.ports import Clock
from jobworkerp_standalone.rpc.event_service import EventRpc
from jobworkerp_standalone.rpc.function_service import FunctionRpc, FunctionSetRpc
from jobworkerp_standalone.rpc.instance_service import WorkerInstanceRpc
from jobworkerp_standalone.rpc.job_service import JobRpc
from jobworkerp_standalone.rpc.restore_service import JobRestoreRpc
from jobworkerp_standalone.rpc.result_service import JobResultRpc
from jobworkerp_standalone.rpc.runner_service import RunnerRpc
from jobworkerp_standalone.rpc.server import Edge, serve
from jobworkerp_standalone.rpc.service import WireService
from jobworkerp_standalone.rpc.status_service import JobProcessingStatusRpc, JobStatusRpc
from jobworkerp_standalone.rpc.worker_service import WorkerRpc
from jobworkerp_standalone.rpc.workflow_service import WorkflowEventRpc, WorkflowRpc
from jobworkerp_standalone.runners.builtin import built_in_specs
from jobworkerp_standalone.runners.guard.guard import guarded
from jobworkerp_standalone.runners.origin import OriginKind
from jobworkerp_standalone.runners.origins import ORIGINS
from jobworkerp_standalone.runners.spawn import keep_exit_codes
from jobworkerp_standalone.runners.spec import RunnerSpec
from jobworkerp_standalone.settings import MEMORY, Address, Settings
from jobworkerp_standalone.twin_signals import TwinSignals

_log = logging.getLogger(__name__)
_SWITCH_SEC: Final = 0.0005


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon that is up: accepting calls and running jobs."""

    engine: Engine
    edge: Edge

    @property
    def addresses(self) -> Sequence[Address]:
        """Where it listens, with real port numbers."""
        return self.edge.addresses

    async def stop(self, hurry: anyio.Event | None = None) -> None:
        """Drain jobs, answer every caller; the server closes after."""
        self.edge.stopping()
        await self.engine.stop(self.engine.settings.shutdown_grace_sec, hurry)


@asynccontextmanager
async def run_daemon(
    settings: Settings,
    extra_runners: Sequence[RunnerSpec] = (),
    clock: Clock | None = None,
    origins: Sequence[OriginKind] = ORIGINS,
) -> AsyncIterator[Daemon]:
    """Start everything; ready when entered, stopped and closed when left.

    Raises:
        SettingsError: an address cannot be used, or SIGCHLD is ignored for good.
        StorageError: the database cannot be opened.
    """
    keep_exit_codes()
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(guarded())
        store = await stack.enter_async_context(open_store(settings, clock))
        queue = MemoryQueue(settings.job_queue_channel_capacity)
        specs = [*built_in_specs(), *extra_runners]
        ground = Ground(settings, clock, store, queue, specs, _settings_fault, origins)
        engine = await stack.enter_async_context(run_engine(ground))
        edge = await stack.enter_async_context(serve(_services(engine), settings))
        daemon = Daemon(engine, edge)
        try:
            yield daemon
        finally:
            with anyio.CancelScope(shield=True):
                await daemon.stop()


async def all_in_one(settings: Settings) -> None:
    """Run until a signal: the first lets running jobs finish, the second ends the grace at once."""
    stop, hurry = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as tasks:
        await tasks.start(_watch_signals, stop, hurry)
        async with run_daemon(settings) as daemon:
            tune_interpreter()
            _greet(daemon)
            await stop.wait()
            _log.info("stopping: running jobs get up to %d s", settings.shutdown_grace_sec)
            await daemon.stop(hurry)
        tasks.cancel_scope.cancel()
    if not stop.is_set():
        raise RuntimeError("the daemon ended although nobody asked it to")


def main(settings: Settings) -> None:
    """Run the daemon in a fresh event loop: uvloop's where it is installed."""
    try:
        from uvloop import new_event_loop  # noqa: PLC0415 - an extra
    except ImportError:
        new_event_loop = None
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(all_in_one(settings))


def tune_interpreter() -> None:
    """Keep pauses of the loop short, in a process that is the daemon's own; called once everything is up.

    What was made to start lives as long as the process, so that no collection needs to look at it again; it holds next
    to no garbage, and looking for that takes a seventh of the start. And a thread that works in Python (the database's)
    gives way sooner than after the 5 ms that are usual.
    """
    gc.freeze()
    gc.enable()
    sys.setswitchinterval(_SWITCH_SEC)


async def _watch_signals(
    stop: anyio.Event, hurry: anyio.Event, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    twins = TwinSignals()
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            if twins.repeats(number):
                continue
            if stop.is_set():
                _log.warning("second signal: not waiting for running jobs any longer")
                hurry.set()
            stop.set()


def _greet(daemon: Daemon) -> None:
    settings = daemon.engine.settings
    channels = ", ".join(
        f"{'[default]' if name.startswith('__') else name} x {slots}" for name, slots in settings.channels.items()
    )
    kept = "nothing is kept (in memory)" if settings.sqlite_path == MEMORY else settings.sqlite_path
    lines = (
        f"jobworkerp {__version__} is ready",
        f"  gRPC      {', '.join(str(address) for address in daemon.addresses)}"
        + (" (token needed)" if settings.auth_token else ""),
        f"  storage   {kept}, synchronous={settings.sqlite_synchronous}",
        f"  channels  {channels}",
        f"  try       jobworkerp{_address_option(daemon.addresses)} runner list",
    )
    print("\n".join(lines), file=sys.stderr, flush=True)  # noqa: T201 - the banner is for people


def _address_option(addresses: Sequence[Address]) -> str:
    """Return what the command line needs to find this server; nothing where it is where clients look."""
    return "" if Address("127.0.0.1", 9000) in addresses else f" -a {addresses[0]}"


async def _settings_fault(schema: str, data: bytes) -> str | None:
    from jobworkerp_standalone.schema.text import check_bytes  # noqa: PLC0415 - the compiler, only where it is needed

    return await anyio.to_thread.run_sync(check_bytes, schema, data)


def _services(engine: Engine) -> list[WireService]:
    return [
        JobRpc(engine),
        JobResultRpc(engine),
        JobProcessingStatusRpc(engine),
        JobStatusRpc(engine),
        JobRestoreRpc(engine),
        WorkerRpc(engine),
        RunnerRpc(engine),
        WorkerInstanceRpc(engine),
        FunctionRpc(),
        FunctionSetRpc(),
        WorkflowEventRpc(engine),
        EventRpc(engine),
        WorkflowRpc(engine),
    ]
