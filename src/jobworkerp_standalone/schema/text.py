"""Proto text to message classes, at run time.

A runner publishes its schemas as texts. Each is compiled alone, in a pool of its own, and its **root message** is the
first top-level message that it declares.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

_FILE: Final = "schema.proto"
_KEPT: Final = 1024


class BadProtoText(ValueError):
    """The text is not a proto schema with a message; the message says where and why."""


@lru_cache(maxsize=_KEPT)
def root_message(text: str) -> type[Message]:
    """Return the class of the text's root message. Compiling takes milliseconds and uses the disk.

    Raises:
        BadProtoText: it does not compile, or declares no message.
    """
    files = FileDescriptorSet.FromString(_compile(text))
    own = files.file[-1]
    if not own.message_type:
        raise BadProtoText("the schema declares no message")
    prefix = f"{own.package}." if own.package else ""
    return GetMessageClass(_pool(files).FindMessageTypeByName(prefix + own.message_type[0].name))


def declared_in(text: str) -> FileDescriptorProto:
    """Return what the text declares, comments included. Compiling takes milliseconds and uses the disk.

    Raises:
        BadProtoText: it does not compile, or declares no message.
    """
    own = FileDescriptorSet.FromString(_compile(text)).file[-1]
    if not own.message_type:
        raise BadProtoText("the schema declares no message")
    return own


def pool_of(text: str) -> DescriptorPool:
    """Return a new pool with everything that the text declares. Compiling takes milliseconds and uses the disk.

    Raises:
        BadProtoText: it does not compile.
    """
    return _pool(FileDescriptorSet.FromString(_compile(text)))


def _pool(files: FileDescriptorSet) -> DescriptorPool:
    pool = DescriptorPool()
    for file in files.file:
        try:
            pool.AddSerializedFile(file.SerializeToString())
        except TypeError as error:  # the runtime is stricter than the compiler, about JSON names for example
            raise BadProtoText(f"the schema cannot be used: {error}") from error
    return pool


def check_bytes(text: str, data: bytes) -> str | None:
    """Return None where ``data`` is a root message of ``text``, else what is wrong.

    Raises:
        BadProtoText: the text is no schema.
    """
    try:
        root_message(text).FromString(data)
    except DecodeError as error:
        return f"not a valid {root_message(text).DESCRIPTOR.full_name}: {error}"
    return None


def _compile(text: str) -> bytes:
    # The compiler is a C++ extension that reads and writes files. It reports through exceptions only when it makes
    # Python code, and writes descriptors only when it reports to standard error: so both, in this order.
    compiler: Any = import_module("grpc_tools._protoc_compiler")
    with tempfile.TemporaryDirectory(prefix="jobworkerp-schema-") as folder:
        (Path(folder) / _FILE).write_text(text, encoding="utf-8")
        known = str(Path(compiler.__file__).parent / "_proto")
        try:
            compiler.get_protos(_FILE.encode(), [folder.encode(), known.encode()])
        except Exception as error:
            raise BadProtoText(_why(error)) from error
        out = Path(folder) / "descriptors"
        arguments = (
            "protoc",
            f"-I{folder}",
            f"-I{known}",
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={out}",
            _FILE,
        )
        if compiler.run_main([each.encode() for each in arguments]) != 0:
            raise BadProtoText("the schema does not compile")
        return out.read_bytes()


def _why(error: Exception) -> str:
    """Return the compiler's first complaint as one line."""
    complaints = cast("Sequence[Any]", error.args[0] if error.args else ())
    for first in complaints:
        return f"the schema does not compile: line {first.line + 1}: {first.message.decode('utf-8', 'replace')}"
    return "the schema does not compile"
