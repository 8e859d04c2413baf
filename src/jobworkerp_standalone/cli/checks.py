"""What ``doctor`` looks at. Every check changes nothing and says what to do."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import shutil
import socket
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final, Literal, NamedTuple

from jobworkerp_standalone.client import ClientError, ServerAddress, connect
from jobworkerp_standalone.jobs.errors import SettingsError
from jobworkerp_standalone.jobs.visible import printable
from jobworkerp_standalone.runners.mcp.settings_file import Mistake, read_settings
from jobworkerp_standalone.settings import MEMORY, Address, Settings, load_settings

_CONNECT_SEC: Final = 2.0
_DOCKER_SOCKET: Final = "/var/run/docker.sock"


class Check(NamedTuple):
    """What one check found."""

    name: str
    state: Literal["ok", "warn", "fail"]
    text: str


def all_checks(environ: Mapping[str, str]) -> Iterator[Check]:
    """Yield one or more findings for each thing that a daemon needs."""
    try:
        settings = load_settings(environ)
    except SettingsError as error:
        for line in str(error).splitlines():
            yield Check("settings", "fail", f"{line}: correct the variable")
        settings = Settings()
    else:
        yield Check("settings", "ok", "every variable can be read")
    for address in settings.grpc_addresses:
        yield check_address(address)
    yield check_storage(settings.sqlite_path)
    yield check_token(settings, environ)
    yield check_docker(environ.get("DOCKER_HOST", ""))
    yield check_uv()
    yield from check_plugins(settings.plugins_runner_dir, named="PLUGINS_RUNNER_DIR" in environ)
    yield check_mcp(Path(settings.mcp_config), named="MCP_CONFIG" in environ)


def check_address(address: Address) -> Check:
    """Tell whether the port is free, or taken by a daemon, or by something else."""
    if address.port == 0:
        return Check("port", "ok", f"{address}: a free port is taken at the start")
    host = address.host
    if is_everywhere(host):
        host = "::1" if ":" in host else "127.0.0.1"
    match asyncio.run(_serving(ServerAddress(host, address.port))):
        case True:
            return Check("port", "ok", f"{address}: a healthy daemon is serving here (a second one cannot start)")
        case False:
            text = f"{address}: taken by another program; end it, or choose another port with GRPC_ADDR"
            return Check("port", "fail", text)
        case None:
            return _bindable(address)


async def _serving(address: ServerAddress) -> bool | None:
    """Return whether a healthy daemon answers, None where nothing listens."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(address.host, address.port), _CONNECT_SEC)
    except (OSError, TimeoutError):
        return None
    writer.close()
    try:
        async with connect(address, timeout=_CONNECT_SEC) as client:
            return await client.is_serving()
    except ClientError:
        return False


def _bindable(address: Address) -> Check:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address.host, address.port))
    except OSError as error:
        text = f"{address}: cannot be used ({error.strerror or error}); choose another with GRPC_ADDR"
        return Check("port", "warn" if address.host == "::1" else "fail", text)
    return Check("port", "ok", f"{address}: free")


def is_everywhere(host: str) -> bool:
    """Tell whether a host means every address of the machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def check_storage(path_text: str) -> Check:
    """Tell whether the database can be written, and which version it has."""
    if path_text == MEMORY:
        return Check("storage", "warn", "in memory: nothing survives the end of the daemon; set SQLITE_URL to a file")
    path = Path(path_text).absolute()
    if not path.exists():
        folder = next(each for each in path.parents if each.exists())
        if not os.access(folder, os.W_OK | os.X_OK):
            return Check("storage", "fail", f"{path}: {folder} cannot be written; choose another path with SQLITE_URL")
        return Check("storage", "ok", f"{path}: will be created")
    if not os.access(path, os.R_OK | os.W_OK) or not os.access(path.parent, os.W_OK):
        return Check("storage", "fail", f"{path}: cannot be written; correct its rights, or set SQLITE_URL")
    try:
        version = _database_version(path)
    except sqlite3.Error as error:
        return Check("storage", "fail", f"{path}: cannot be read ({error}); set SQLITE_URL to another file")
    return Check("storage", "ok", f"{path}: {version}")


def _database_version(path: Path) -> str:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "alembic_version" not in tables:
            return "empty" if not tables else "a database of another program; set SQLITE_URL to another file"
        row = database.execute("SELECT version_num FROM alembic_version").fetchone()
    return f"schema version {row[0]}" if row else "no schema yet"


def check_token(settings: Settings, environ: Mapping[str, str]) -> Check:
    """Tell whether calls need a token, and whether commands here would send it."""
    own = environ.get("JOBWORKERP_AUTH_TOKEN")
    public = [str(address) for address in settings.grpc_addresses if not _is_loopback(address.host)]
    if settings.auth_token is None:
        if public:
            text = f"AUTH_TOKEN is not set and {', '.join(public)} can be reached from elsewhere: set it"
            return Check("token", "warn", text)
        return Check("token", "ok", "AUTH_TOKEN is not set: every program of this machine may call")
    if own != settings.auth_token:
        text = "AUTH_TOKEN is set; set JOBWORKERP_AUTH_TOKEN to the same, so that commands here send it"
        return Check("token", "warn", text)
    return Check("token", "ok", "AUTH_TOKEN is set, and commands here send it")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_docker(docker_host: str) -> Check:
    """Tell whether a Docker daemon answers at its socket."""
    remedy = "DOCKER jobs will fail until Docker runs and this user may use it (DOCKER_HOST)"
    if docker_host and not docker_host.startswith("unix://"):
        return Check("docker", "ok", f"{docker_host} (DOCKER_HOST, not tried)")
    path = docker_host.removeprefix("unix://") or _DOCKER_SOCKET
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_CONNECT_SEC)
            probe.connect(path)
    except OSError as error:
        return Check("docker", "warn", f"{path}: {error.strerror or error}; {remedy}")
    return Check("docker", "ok", f"{path} answers")


def check_uv() -> Check:
    """Tell whether uv is there, which builds the environments of Python jobs."""
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        return Check("uv", "warn", "not found; PYTHON_COMMAND jobs will fail until it is installed (pip install uv)")
    return Check("uv", "ok", found)


def check_plugins(folders: str, *, named: bool) -> Iterator[Check]:
    """Tell which directories of drop-in runners are there."""
    for folder in filter(None, (part.strip() for part in folders.split(","))):
        path = Path(folder)
        if path.is_dir():
            yield Check("plugins", "ok", f"{path.absolute()}")
        elif named or path.exists():
            yield Check("plugins", "warn", f"{path} is not a directory; create it, or correct PLUGINS_RUNNER_DIR")
        else:
            yield Check("plugins", "ok", f"none ({path} is not there)")


def check_mcp(path: Path, *, named: bool) -> Check:
    """Tell whether the list of MCP servers can be read."""
    if not path.exists():
        if named:
            return Check("mcp", "fail", f"{path} does not exist; create it, or correct MCP_CONFIG")
        return Check("mcp", "ok", f"none ({path} is not there)")
    try:
        found = read_settings(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        return Check("mcp", "fail", printable(f"{path}: {error}; correct the file"))
    except Mistake as mistake:
        return Check("mcp", "fail", printable(str(mistake)))
    if found.mistakes:
        return Check("mcp", "fail", printable("; ".join(found.mistakes)))
    return Check("mcp", "ok", printable(f"{path}: {', '.join(found.servers) or 'no server'}"))
