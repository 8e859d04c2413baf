"""``JobWorkerp``: a daemon that lasts as long as a block, and what can be asked of it."""

from __future__ import annotations

import asyncio
import inspect
import math
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, cast

import anyio

from jobworkerp_standalone.client import Client, ClientError, DoesNotFit, WorkflowInvalid, connect_socket
from jobworkerp_standalone.client.coding import decode_output, encode_args, encode_settings, find_method
from jobworkerp_standalone.client.running import ended, run_job, stream_job
from jobworkerp_standalone.client.steady import together
from jobworkerp_standalone.client.workflows import RUNNER, WorkflowOrder, WorkflowRun, WorkflowRuns, workflow_worker
from jobworkerp_standalone.embedded.documents import Document, source_of, text_of
from jobworkerp_standalone.embedded.host import Host
from jobworkerp_standalone.jobs.errors import SettingsError
from jobworkerp_standalone.pb.jobworkerp.data import Runner, WorkerId
from jobworkerp_standalone.pb.jobworkerp.service import JobRequest
from jobworkerp_standalone.pb.jobworkerp.standalone import WatchedEvent
from jobworkerp_standalone.schema.text import BadProtoText, root_message
from jobworkerp_standalone.settings import load_settings, settings_table
from jobworkerp_standalone.workflow.large_json import AT_ONCE, beside

OnItem = Callable[[Any], Awaitable[None] | None]
OnEvent = Callable[[WatchedEvent], Awaitable[None] | None]

_NAME: Final = "embedded"
_NOT_INHERITED: Final = ("SQLITE_URL", "GRPC_ADDR")
"""Where the daemon of this machine keeps its jobs and listens is nothing for one that is embedded."""
_LONGEST_MS: Final = 2**63 - 1
_NOTHING: Final = "/dev/null/nothing"
_DEFAULTS: Final = {
    "SQLITE_URL": "sqlite::memory:",
    "SHUTDOWN_GRACE_SEC": "0",
    "PLUGINS_RUNNER_DIR": _NOTHING,
    "MCP_CONFIG": _NOTHING,
}
"""What an embedded daemon does differently: nothing is kept, found in the working directory, or waited for."""


class JobWorkerp:
    """A daemon of this process, and the way to have it do something.

    Args:
        settings: those of ``docs/settings.md`` by the name of their variable; values as a shell would write them, or
            numbers and booleans; None is as if it were not there.
        storage: database file; None keeps nothing.
        listen: addresses to listen on as well, such as ``127.0.0.1:0``; None is not to be reached from outside.
        environment: variables to read settings from where ``settings`` says nothing, for example ``os.environ``; but
            not the addresses and the database of the daemon.

    Raises:
        SettingsError: a setting is wrong; when entered.
        StorageError: the database cannot be used; when entered.
    """

    def __init__(
        self,
        settings: Mapping[str, object] | None = None,
        *,
        storage: str | os.PathLike[str] | None = None,
        listen: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        _check_names(settings or {})
        given = {name: _variable(name, value) for name, value in (settings or {}).items() if value is not None}
        if listen is not None:
            given["GRPC_ADDR"] = listen
        inherited = {name: value for name, value in (environment or {}).items() if name not in _NOT_INHERITED}
        self._variables = {**_DEFAULTS, **inherited, **given}
        self._storage = None if storage is None else os.fspath(storage)
        self._listens = "GRPC_ADDR" in given
        self._host: Host | None = None
        self._exits = AsyncExitStack()
        self._client: Client | None = None
        self._workers: dict[tuple[int, bytes, bool], WorkerId] = {}
        self._making = asyncio.Lock()
        self._compiled: set[str] = set()

    async def __aenter__(self) -> Self:
        if self._host is not None:
            raise RuntimeError("a JobWorkerp is entered once; make another one")
        _check_loop()
        settings = load_settings(self._variables, sqlite_path=self._storage)
        self._host = Host(settings if self._listens else replace(settings, grpc_addresses=()))
        try:
            await self._host.start()
            connection = await self._host.connect()
            self._client = await self._exits.enter_async_context(connect_socket(connection, _NAME, settings.auth_token))
        except BaseException:
            await self._host.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._host is not None, "entered"
        client, self._client = self.client, None
        async with self._exits:  # closes the connection last, so that whoever still waits hears how their jobs ended
            try:
                await self._forget_workers(client)
            finally:
                failure = await self._host.stop()
        if failure is not None and error is None:
            raise failure

    @property
    def client(self) -> Client:
        """Return the client of everything else: workers, results, schedules, states."""
        if self._client is None:
            raise RuntimeError("this JobWorkerp is not running; use it inside of 'async with JobWorkerp() as jw:'")
        return self._client

    async def _forget_workers(self, client: Client) -> None:
        with suppress(ClientError):  # a daemon that is gone says why when it is stopped
            for made in self._workers.values():
                await client.worker.delete(made)

    @property
    def addresses(self) -> Sequence[str]:
        """Return where it listens, with real port numbers; nothing unless asked for."""
        daemon = self._host.daemon if self._host is not None else None
        return [str(each) for each in daemon.addresses] if daemon is not None else []

    async def run(
        self,
        runner: str,
        args: Mapping[str, Any] | str | None = None,
        *,
        using: str | None = None,
        settings: Mapping[str, Any] | str | None = None,
        timeout: float | None = None,
        stream: OnItem | None = None,
        use_static: bool = False,
    ) -> Any:
        """Run one job and return its result, as JSON has it. Cancelled, the job is cancelled and waited for.

        Args:
            runner: its name, such as ``COMMAND``.
            args: what the job is given: fields of the method's message; text for runners without a schema.
            using: the method, where the runner has several.
            settings: what the runner is given before: fields of its settings.
            timeout: seconds that the job may take.
            stream: is called with each item of the output as it comes, and awaited where it can be; the result is then
                the last item.
            use_static: keep the runner warm for the next call with the same settings.

        Raises:
            JobFailed: the job did not succeed.
            NoSuch: there is no such runner or method.
            DoesNotFit: args or settings do not fit.
            CallFailed: the job was not accepted.
        """
        kind = await self._runner(runner, using)
        encoded = encode_args(kind, using, _fields("args", args))
        worker_id = await self._worker(kind, encode_settings(kind, _fields("settings", settings)), use_static)
        request = JobRequest(worker_id=worker_id, args=encoded, using=using, timeout=_milliseconds(timeout))
        if stream is None:
            return decode_output(kind, using, (await run_job(self.client, request)).checked())
        last: Any = None

        async def pass_on(item: bytes) -> None:
            nonlocal last
            last = decode_output(kind, using, item)
            await _told(stream(last))

        await stream_job(self.client, request, pass_on)
        return last

    async def run_workflow(
        self,
        workflow: Document,
        input: Any = None,  # noqa: A002 - what the DSL calls it
        *,
        context: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        on_event: OnEvent | None = None,
    ) -> WorkflowRun:
        """Run a workflow until it has completed, or waits. Cancelled, the run and its jobs are ended and waited for.

        Args:
            workflow: path, text or document.
            input: its input, anything that JSON has.
            context: variables that its expressions see.
            timeout: seconds that the whole run may take.
            on_event: is called with everything that happens in the run, and awaited where it can be.

        Raises:
            WorkflowInvalid: the document or its input is wrong; the text has a line for each mistake.
            WorkflowFaulted: it ended with an error that nothing caught.
            OSError: the file cannot be read.
            TypeError, ValueError: what is given is nothing that JSON has, or the file no text.
        """
        source = await source_of(workflow)
        order = WorkflowOrder(
            document=source.text,
            input="" if input is None else await text_of(input),
            context=None if context is None else await text_of(context),
            timeout_ms=_milliseconds(timeout),
        )
        runs = await self._runs()
        try:
            return await self._followed(self.client, runs, await runs.start(order), on_event)
        except WorkflowInvalid as error:
            raise await source.explained(error) from None

    async def resume(
        self,
        run: WorkflowRun | int,
        payload: Any = None,
        *,
        on_event: OnEvent | None = None,
    ) -> WorkflowRun:
        """Go on with a run that waits (``then: wait``), as ``run_workflow`` does.

        Args:
            run: the run, or the id of its job.
            payload: what the task that waits puts out; None leaves the output that it had.
            on_event: see ``run_workflow``.

        Raises:
            CallFailed: nothing is kept of such a run.
            WorkflowFaulted: it ended with an error that nothing caught.
        """
        client, runs = self.client, await self._runs()
        job_id = run if isinstance(run, int) else run.job_id
        going_on = await runs.resume(job_id, None if payload is None else await text_of(payload))
        return await self._followed(client, runs, going_on, on_event)

    async def _followed(self, client: Client, runs: WorkflowRuns, job_id: int, on_event: OnEvent | None) -> WorkflowRun:
        async def tell(on_event: OnEvent) -> None:
            async for event in runs.events(job_id):
                await _told(on_event(event))

        if on_event is None:
            end = await ended(client, runs.worker_id, job_id)
        else:
            end = await together(ended(client, runs.worker_id, job_id), tell(on_event))
        run = await beside(partial(runs.result, end), large=len(end.output) > AT_ONCE)
        return run.checked()

    async def _runs(self) -> WorkflowRuns:
        kind = await self._runner(RUNNER, "run")
        return WorkflowRuns(self.client, kind, await self._worker(kind, b"", use_static=False))

    async def _runner(self, name: str, using: str | None) -> Runner:
        """Return a runner whose schemas are compiled: that takes milliseconds and the disk, so a thread does it."""
        _check_loop(self._host.loop if self._host is not None else None)
        kind = await self.client.schemas.runner(name)
        method = find_method(kind, using)
        texts = [kind.data.runner_settings_proto if kind.data else ""]
        texts += [method.args_proto, method.result_proto] if method else []
        for text in texts:
            if text.strip() and text not in self._compiled:
                try:
                    await anyio.to_thread.run_sync(root_message, text)
                except BadProtoText as error:
                    raise DoesNotFit(f"runner {name!r} has a schema that cannot be used: {error}") from error
                self._compiled.add(text)
        return kind

    async def _worker(self, runner: Runner, settings: bytes, use_static: bool) -> WorkerId:
        assert runner.id is not None, "listed runners have one"
        key = runner.id.value, settings, use_static
        async with self._making:
            if key not in self._workers:
                data = workflow_worker(f"{_NAME}_{os.getpid()}_{id(self):x}_{len(self._workers)}", runner)
                data.runner_settings, data.use_static = settings, use_static
                made = (await self.client.worker.create(data)).id
                if made is None:
                    raise ClientError("the daemon made a worker without saying its id")
                self._workers[key] = made
            return self._workers[key]


async def _told(answer: Awaitable[None] | None) -> None:
    if inspect.isawaitable(answer):
        await answer


def _fields(what: str, given: Mapping[str, Any] | str | None) -> str | dict[str, Any]:
    if given is None:
        return "{}" if what == "args" else ""
    return given if isinstance(given, str) else dict(given)


def _variable(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fspath(cast("os.PathLike[str]", value))
    raise SettingsError(f"{name} is a {type(value).__name__}; expected text, a number, a boolean or a path")


def _milliseconds(seconds: float | None) -> int | None:
    if seconds is None or seconds == math.inf:
        return None
    return min(max(1, round(seconds * 1000)), _LONGEST_MS)


def _check_loop(own: asyncio.AbstractEventLoop | None = None) -> None:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError as error:
        raise RuntimeError(
            "JobWorkerp runs on asyncio; under anyio choose that backend (in tests: a fixture anyio_backend that "
            "returns 'asyncio')"
        ) from error
    if own is not None and loop is not own:
        raise RuntimeError("this JobWorkerp was entered in another event loop, and has to be used in that one")


def _check_names(given: Iterable[str]) -> None:
    known = [name for info in settings_table() for name in info.names]
    wrong = [name for name in given if name not in known]
    if wrong:
        near = get_close_matches(wrong[0].upper(), known, 1)
        hint = f"; did you mean {near[0]}?" if near else "; docs/settings.md lists them"
        raise SettingsError(f"there is no setting {wrong[0]!r}{hint}")
