"""Where a worker's calls go."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Protocol, Self

from jobworkerp_standalone.jobs.errors import BadInput, Fatal
from jobworkerp_standalone.net.identity import Identity

DEFAULT_MESSAGE_BYTES: Final = 4 * 1024 * 1024
_PORTS: Final = {False: 80, True: 443}
_MAX_PORT: Final = 65_535


class TlsFiles(Protocol):
    """``TlsConfig`` of the settings of both kinds."""

    ca_cert_path: str
    client_cert_path: str
    client_key_path: str
    server_name_override: str


@dataclass(frozen=True, slots=True)
class Target:
    """A server, and how it is spoken to. Workers with the same target share a connection."""

    host: str
    port: int
    tls: bool
    ca_cert_path: str = ""
    client_cert_path: str = ""
    client_key_path: str = ""
    server_name: str = ""
    connect_timeout_ms: int = 0
    """0: as long as the system tries."""
    max_message_bytes: int = DEFAULT_MESSAGE_BYTES
    identity: Identity | None = None
    """A client certificate beside the files."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def of(
        cls,
        host: str,
        port: int,
        *,
        tls: bool,
        files: TlsFiles | None,
        connect_timeout_ms: int = 0,
        max_message_bytes: int = 0,
    ) -> Self:
        """Read the fields of the settings.

        Raises:
            Fatal: they name no server, or half a client certificate.
        """
        scheme, has_scheme, rest = host.strip().partition("://")
        if has_scheme:
            if scheme.lower() not in ("http", "https"):
                raise Fatal(f"host {host!r} begins with {scheme}://; use http://, https:// or neither")
            host, tls = rest.rstrip("/"), scheme.lower() == "https"
        host, port = _split_port(host.strip(), port)
        if not host or "/" in host:
            raise Fatal(f"host {host!r} of the settings is no server name; give a name or an address")
        if port > _MAX_PORT:
            raise Fatal(f"port {port} of the settings is too large; use 0 to {_MAX_PORT}")
        if files is not None and bool(files.client_cert_path) != bool(files.client_key_path):
            raise Fatal("tls_config names only one of client_cert_path and client_key_path; give both or neither")
        return cls(
            host,
            port or _PORTS[tls],
            tls,
            *(
                (files.ca_cert_path, files.client_cert_path, files.client_key_path, files.server_name_override)
                if files
                else ()
            ),
            connect_timeout_ms=connect_timeout_ms,
            max_message_bytes=max_message_bytes or DEFAULT_MESSAGE_BYTES,
        )

    def showing(self, identity: Identity) -> Self:
        """Return the target with a client certificate, which one of the settings goes before.

        Raises:
            BadInput: there is no TLS.
        """
        if not self.tls:
            raise BadInput(f"client_certificate needs TLS, and {self} is called without: set tls in the settings")
        return self if self.client_cert_path else replace(self, identity=identity)


def _split_port(host: str, port: int) -> tuple[str, int]:
    """Return name and port of a host that may carry both."""
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name, port or _port(rest.removeprefix(":"), host)
    name, colon, rest = host.partition(":")
    if colon and ":" not in rest:
        return name, port or _port(rest, host)
    return host, port


def _port(text: str, host: str) -> int:
    if text and not text.isdecimal():
        raise Fatal(f"host {host!r} ends in something that is no port; give host and port apart")
    return int(text or 0)
