"""Where the Docker daemon is, by the variables that Docker's own tools read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobworkerp_standalone.jobs.errors import Fatal

_SYSTEM_SOCKET: Final = "unix:///var/run/docker.sock"
_SCHEMES: Final = ("unix", "tcp", "http", "https")


@dataclass(frozen=True, slots=True)
class DockerAddress:
    """A daemon. ``certificates``: the directory of ``ca.pem``, ``cert.pem`` and ``key.pem`` for TLS, None without."""

    url: str
    certificates: Path | None = None

    def __str__(self) -> str:
        return self.url


def docker_address(environ: Mapping[str, str]) -> DockerAddress:
    """Return the daemon that the environment names.

    Raises:
        Fatal: DOCKER_HOST cannot be understood.
    """
    host = environ.get("DOCKER_HOST", "").strip()
    if not host:
        return DockerAddress(_own_socket(environ))
    scheme, separator, rest = host.partition("://")
    if not separator or scheme not in _SCHEMES or not rest:
        raise Fatal(f"DOCKER_HOST={host!r} is no address of a Docker daemon; use unix://, tcp://, http:// or https://")
    if scheme == "unix" or not _wants_tls(environ, scheme):
        return DockerAddress(host)
    folder = environ.get("DOCKER_CERT_PATH") or str(Path(environ.get("HOME", "/")) / ".docker")
    return DockerAddress(f"https://{rest}" if scheme == "https" else f"tcp://{rest}", Path(folder))


def _wants_tls(environ: Mapping[str, str], scheme: str) -> bool:
    asked = environ.get("DOCKER_TLS_VERIFY", "").lower() in ("1", "true") or bool(environ.get("DOCKER_CERT_PATH"))
    return asked or scheme == "https"


def _own_socket(environ: Mapping[str, str]) -> str:
    """Return the socket of a daemon of this user, where there is one, else the system's."""
    folder = environ.get("XDG_RUNTIME_DIR")
    own = Path(folder) / "docker.sock" if folder else None
    return f"unix://{own}" if own is not None and own.exists() else _SYSTEM_SOCKET
