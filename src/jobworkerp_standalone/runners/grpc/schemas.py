"""What the messages of a method look like: from a proto text, or from the server itself."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import anyio.to_thread
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from jobworkerp_standalone.jobs.errors import BadInput, FetchError, Retryable
from jobworkerp_standalone.net.fetch import FetchRules, fetch
from jobworkerp_standalone.runners.grpc.connections import Connection
from jobworkerp_standalone.runners.grpc.metadata import Pairs
from jobworkerp_standalone.runners.grpc.reflection import reflect
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.schema.text import BadProtoText, pool_of

MAX_PROTO_BYTES: Final = 4 * 1024 * 1024
_FETCH_SEC: Final = 10.0
_KEPT: Final = 128
_KEPT_SEC: Final = 30 * 60.0


@dataclass(frozen=True, slots=True)
class MethodTypes:
    """The messages of one method."""

    request: type[Message]
    reply: type[Message]
    takes_stream: bool = False
    gives_stream: bool = False


@dataclass(frozen=True, slots=True)
class ProtoSource:
    """Where a proto text is: itself, or a URL."""

    source: str
    headers: tuple[tuple[str, str], ...] = ()
    insecure: bool = False
    """Also by http."""


class Schemas:
    """Compiled proto texts of the daemon, kept for half an hour."""

    def __init__(self, host: Host) -> None:
        self._rules = FetchRules.of(host.settings)
        self._folders = host.settings.grpc_proto_allowed_dir
        self._kept: OrderedDict[ProtoSource, tuple[float, DescriptorPool]] = OrderedDict()

    async def from_source(self, source: ProtoSource, method: str) -> MethodTypes:
        """Return the messages of ``method`` (``/package.Service/Method``) as a proto text declares them.

        Raises:
            BadInput: the source is none, does not compile, or declares no such method.
            Retryable: it could not be fetched now.
        """
        return _types(await self._pool(source), method, "the proto text")

    @staticmethod
    async def from_server(connection: Connection, method: str, metadata: Pairs) -> MethodTypes:
        """Return the messages of ``method`` as the server describes them; it is asked once for each connection.

        Raises:
            BadInput: it has no reflection, or no such method.
            Retryable: it did not answer.
        """
        service = method.split("/")[1]
        await connection.connected()  # what was learnt over a connection ends with it
        pool = connection.schemas.get(service)
        if pool is None:
            pool = connection.schemas[service] = await reflect(connection, service, metadata)
        return _types(pool, method, str(connection.target))

    async def _pool(self, source: ProtoSource) -> DescriptorPool:
        now = time.monotonic()
        kept = self._kept.get(source)
        if kept is not None and now < kept[0]:
            self._kept.move_to_end(source)
            return kept[1]
        text = await self._text(source)
        try:
            pool = await anyio.to_thread.run_sync(pool_of, text)
        except BadProtoText as error:
            raise BadInput(f"proto: {error}; it must compile alone, without imports of other files") from error
        self._kept[source] = (now + _KEPT_SEC, pool)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return pool

    async def _text(self, source: ProtoSource) -> str:
        text = source.source
        scheme = text.split("://", 1)[0].lower() if "://" in text.split(maxsplit=1)[0] else ""
        if scheme in ("http", "https"):
            return await self._fetched(source, scheme)
        if scheme == "file":
            return await anyio.to_thread.run_sync(_file_text, text, self._folders)
        if scheme:
            raise BadInput(f"proto.source begins with {scheme}://; give the text itself, or a https:// or file:// URL")
        if len(text.encode()) > MAX_PROTO_BYTES:
            raise BadInput(f"proto.source is longer than {MAX_PROTO_BYTES} bytes")
        return text

    async def _fetched(self, source: ProtoSource, scheme: str) -> str:
        if scheme == "http" and not source.insecure:
            raise BadInput("proto.source is an http:// URL; use https://, or set allow_insecure_http")
        rules = self._rules.narrowed(max_bytes=MAX_PROTO_BYTES, timeout_sec=_FETCH_SEC, headers=tuple(source.headers))
        try:
            return (await fetch(source.source, rules)).text
        except FetchError as error:
            raise (Retryable if error.may_pass else BadInput)(f"proto: {error}") from error


def proto_source(source: str, headers: Mapping[str, str], *, insecure: bool) -> ProtoSource | None:
    """Return where a proto text is; None for a blank source."""
    return ProtoSource(source.strip(), tuple(sorted(headers.items())), insecure) if source.strip() else None


def _types(pool: DescriptorPool, method: str, where: str) -> MethodTypes:
    _, service, name = method.split("/")
    try:
        found = pool.FindServiceByName(service).methods_by_name
    except KeyError as error:
        raise BadInput(f"{where} declares no service {service!r}") from error
    if name not in found:
        raise BadInput(f"service {service} has no method {name!r}; it has: {', '.join(sorted(found)) or 'none'}")
    method_type = found[name]
    return MethodTypes(
        GetMessageClass(method_type.input_type),
        GetMessageClass(method_type.output_type),
        method_type.client_streaming,
        method_type.server_streaming,
    )


def _file_text(url: str, folders: tuple[str, ...]) -> str:
    path = Path(unquote(urlsplit(url).path))
    if not folders:
        raise BadInput(f"proto.source {url!r} is a file, and GRPC_PROTO_ALLOWED_DIR allows no directory")
    try:
        real = path.resolve(strict=True)
        if not any(real.is_relative_to(Path(folder).resolve()) for folder in folders):
            raise BadInput(f"proto.source {url!r} lies in no directory of GRPC_PROTO_ALLOWED_DIR")
        if real.stat().st_size > MAX_PROTO_BYTES:
            raise BadInput(f"proto.source {url!r} is longer than {MAX_PROTO_BYTES} bytes")
        return real.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadInput(f"proto.source {url!r} cannot be read: {reason}") from error
