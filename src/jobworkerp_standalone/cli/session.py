"""What all commands share: where the server is, who calls, and how its errors end a command."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeVar

import typer

from jobworkerp_standalone.cli.exits import PROGRAM, Exit, Stop, usage
from jobworkerp_standalone.env_file import read_dotenv

if TYPE_CHECKING:
    from jobworkerp_standalone.client import CallFailed, Client, ClientError

DEFAULT_ADDRESS: Final = "http://127.0.0.1:9000"
_HINTS: Final = {
    "UNAUTHENTICATED": "set JOBWORKERP_AUTH_TOKEN to the server's AUTH_TOKEN",
    "UNIMPLEMENTED": "this server does not offer it; 'jobworkerp runner list' shows what it can run",
    "DEADLINE_EXCEEDED": "wait longer with --timeout; a job that was accepted goes on",
}
_START_HINT: Final = "start one with 'jobworkerp all-in-one', or name another with --address or JOBWORKERP_ADDR"
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Session:
    """The options that stand before the command."""

    address: str | None = None
    timeout_ms: int = 0

    def call(self, action: Callable[Concatenate[Client, P], Awaitable[T]], /, *args: P.args, **options: P.kwargs) -> T:
        """Connect, do it, close, and return what came out.

        Raises:
            Stop: it could not be done.
        """
        import asyncio  # noqa: PLC0415 - slow to import

        from jobworkerp_standalone.client import CallFailed, ClientError  # noqa: PLC0415

        async def act() -> T:
            async with self.connect() as client:
                return await action(client, *args, **options)

        try:
            return asyncio.run(act())
        except CallFailed as error:
            raise call_failed(error) from error
        except ClientError as error:
            raise client_failed(error) from error

    @property
    def server(self) -> str:
        """Return the server that the options and the environment name, or the default."""
        return self.address or environment().get("JOBWORKERP_ADDR") or DEFAULT_ADDRESS

    def resume_line(self, job_id: int) -> str:
        """Return the command that goes on with a run that waits there."""
        return f"{PROGRAM} workflow resume {job_id} --server {self.server}"

    def connect(self) -> _Connection:
        """Return the connection to the server that the options and the environment name."""
        import uuid  # noqa: PLC0415 - slow to import

        from jobworkerp_standalone.client import connect, parse_server_address  # noqa: PLC0415

        variables = environment()
        try:
            address = parse_server_address(self.server)
        except ValueError as error:
            raise usage(str(error)) from error
        return connect(
            address,
            variables.get("JOBWORKERP_AUTH_TOKEN"),
            self.timeout_ms / 1000 if self.timeout_ms else None,
            session_id=variables.get("SESSION_ID") or str(uuid.uuid4()),
            user_id=variables.get("USER_ID") or "unknown",
        )


if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    _Connection = AbstractAsyncContextManager[Client]


@cache
def environment() -> Mapping[str, str]:
    """Return the variables of this process, and below them those of the nearest ``.env``.

    Raises:
        Stop: the file cannot be read.
    """
    try:
        return {**read_dotenv(Path.cwd()), **os.environ}
    except FileNotFoundError as error:
        raise usage("the working directory was deleted: change to one that exists") from error
    except (OSError, UnicodeDecodeError) as error:
        raise usage(f"the .env file cannot be read: {error}") from error


def session_of(context: typer.Context) -> Session:
    """Return the options that stood before the command."""
    found = context.find_object(Session)
    return found if found is not None else Session()


def call_failed(error: CallFailed) -> Stop:
    """Return how a command ends whose call the server refused."""
    name = error.status.name
    code = Exit.NOT_FOUND if name == "NOT_FOUND" else Exit.CALL_FAILED
    return Stop(code, " ".join(str(error).split()), _HINTS.get(name))


def client_failed(error: ClientError) -> Stop:
    """Return how a command ends that did not come as far as the server's answer."""
    from jobworkerp_standalone.client import DoesNotFit, NoSuch, Unreachable  # noqa: PLC0415 - loaded by now

    if isinstance(error, Unreachable):
        return Stop(Exit.UNREACHABLE, str(error), _START_HINT)
    code = Exit.NOT_FOUND if isinstance(error, NoSuch) else Exit.USAGE
    if not isinstance(error, NoSuch | DoesNotFit):
        code = Exit.CALL_FAILED
    return Stop(code, str(error))
