"""Where the command line runs workflows: in a daemon of this process, or on a server."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from jobworkerp_standalone.cli.exits import PROGRAM, Exit, Stop, usage
from jobworkerp_standalone.cli.progress_views import View
from jobworkerp_standalone.cli.session import Session, call_failed, client_failed, environment
from jobworkerp_standalone.client import CallFailed, Client, ClientError
from jobworkerp_standalone.embedded import JobWorkerp
from jobworkerp_standalone.jobs.errors import SettingsError, StorageError

T = TypeVar("T")
_HERE = {"PLUGINS_RUNNER_DIR": "runners", "MCP_CONFIG": "mcp-settings.toml"}
"""What lies in the working directory counts, as for the daemon on the command line."""
_OTHER_FILE = "--db names another file"


@dataclass(frozen=True, slots=True)
class Place:
    """Where runs take place."""

    server: Session | None = None
    """None: in this process."""
    storage: Path | None = None
    """Database of a daemon of this process; None keeps nothing."""
    roots: tuple[Path, ...] = ()
    """Directories whose files documents may name, besides the working directory."""

    @property
    def embedded(self) -> bool:
        """Whether it is this process."""
        return self.server is None

    def resume_line(self, job_id: int) -> str:
        """Return the command that goes on with a run that waits here."""
        if self.server is not None:
            return self.server.resume_line(job_id)
        line = f"{PROGRAM} workflow resume {job_id}"
        return line if self.storage in (None, default_storage()) else f"{line} --db {self.storage}"


def default_storage() -> Path:
    """Return the database of runs that wait, where none is named."""
    base = environment().get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "jobworkerp" / "runs.sqlite3"


@asynccontextmanager
async def opened(place: Place, view: View) -> AsyncIterator[Client]:
    """Connect to the server, or start a daemon that ends with the block; what it logs is told by way of the view."""
    if place.server is not None:
        with _logged(view, "warn"):
            async with place.server.connect() as client:
                yield client
        return
    variables = environment()
    os.environ.update(variables)  # a .env file also reaches the programs that jobs start
    settings: dict[str, object] = {name: value for name, value in _HERE.items() if not variables.get(name)}
    roots = [*map(str, place.roots), variables.get("WORKFLOW_ALLOWED_ROOTS", "")]
    settings["WORKFLOW_ALLOWED_ROOTS"] = ",".join(each for each in roots if each)
    settings["WORKFLOW_ALLOW_ANY_NAME"] = True  # who names files here can read them anyway
    if place.storage is not None:
        _make_room(place.storage)
    with _logged(view, variables.get("LOG_LEVEL", "warn")):
        async with JobWorkerp(settings, storage=place.storage, environment=variables) as jw:
            yield jw.client


def in_loop(step: Coroutine[Any, Any, T]) -> T:
    """Do something with a client in a loop of its own, and return what came out.

    Raises:
        Stop: it could not be done.
    """
    try:
        return asyncio.run(step)
    except CallFailed as error:
        raise call_failed(error) from error
    except ClientError as error:
        raise client_failed(error) from error
    except SettingsError as error:
        raise usage(str(error)) from error
    except StorageError as error:
        raise Stop(Exit.USAGE, str(error), _OTHER_FILE) from error


def _make_room(storage: Path) -> None:
    try:
        storage.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Stop(Exit.USAGE, f"a run that waits cannot be kept in {storage}: {reason}", _OTHER_FILE) from error


@contextmanager
def _logged(view: View, level: str) -> Iterator[None]:
    handler = _ToView(view)
    top = logging.getLogger("jobworkerp_standalone")
    levels = {"trace": logging.DEBUG, "debug": logging.DEBUG, "info": logging.INFO, "error": logging.ERROR}
    top.setLevel(levels.get(level.strip().lower(), logging.WARNING))
    top.addHandler(handler)
    try:
        yield
    finally:
        top.removeHandler(handler)


class _ToView(logging.Handler):
    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view

    def emit(self, record: logging.LogRecord) -> None:
        self._view.say(f"{record.levelname.lower()}: {record.getMessage()}")
