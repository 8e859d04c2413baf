"""Hold protos against the wire contract (wire.txt beside this file).

Usage: python tests/contract/check_wire.py PROTO_DIRECTORY

Prints a line for each fact that the compiled protos lack or contradict, then how many facts there are and how many are
missing. Exit status: 0 where nothing is missing, else 1.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

CONTRACT: Final = Path(__file__).with_name("wire.txt")
Fact: TypeAlias = tuple[str, str]
"""The block (``message jobworkerp.data.JobId``) and the line in it (``1 value int64``); empty for the block itself."""


def contract(text: str) -> list[Fact]:
    """Return the facts of a contract, in their order."""
    facts: list[Fact] = []
    block = ""
    for line in text.splitlines():
        if line.startswith(" "):
            facts.append((block, line.strip()))
        elif line and not line.startswith("#"):
            block = line.replace("+ ", " ", 1)
            facts.append((block, ""))
    return facts


def compiled(protos: Path) -> FileDescriptorSet:
    """Compile every proto below a directory.

    Raises:
        SystemExit: protoc refused them, and said why.
    """
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory) / "protos.binpb"
        sources = sorted(str(path) for path in protos.rglob("*.proto"))
        protoc = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={protos}", f"--descriptor_set_out={made}"]
        if not sources or subprocess.run([*protoc, "--include_imports", *sources], check=False).returncode:
            raise SystemExit(f"the protos in {protos} cannot be compiled")
        return FileDescriptorSet.FromString(made.read_bytes())


def published(protos: FileDescriptorSet) -> set[Fact]:
    """Return the facts that compiled protos hold."""
    return set(_published(protos))


def missing(wanted: Iterable[Fact], there: set[Fact]) -> list[Fact]:
    """Return what is wanted and not there. A field may have presence without being asked to: the bytes are the same."""
    return [(block, line) for block, line in wanted if not {(block, line), (block, f"{line} optional")} & there]


def _published(protos: FileDescriptorSet) -> Iterator[Fact]:
    for file in protos.file:
        yield f"file {file.name} package {file.package}", ""
        for enum in file.enum_type:
            yield from _enum(file.package, enum)
        for message in file.message_type:
            yield from _message(file.package, message)
        for service in file.service:
            block = f"service {file.package}.{service.name}"
            yield block, ""
            yield from ((block, _method(method)) for method in service.method)


def _enum(scope: str, enum: EnumDescriptorProto) -> Iterator[Fact]:
    block = f"enum {scope}.{enum.name}"
    yield block, ""
    yield from ((block, f"{value.number} {value.name}") for value in enum.value)


def _message(scope: str, message: DescriptorProto) -> Iterator[Fact]:
    name = f"{scope}.{message.name}"
    block = f"message {name}"
    yield block, ""
    maps = {f".{name}.{nested.name}": nested for nested in message.nested_type if nested.options.map_entry}
    for field in message.field:
        if field.type_name in maps:
            key, value = maps[field.type_name].field
            yield block, f"{field.number} {field.name} map<{_type(key)},{_type(value)}>"
        else:
            yield block, f"{field.number} {field.name} {_type(field)}{_label(message, field)}"
    for enum in message.enum_type:
        yield from _enum(name, enum)
    for nested in message.nested_type:
        if not nested.options.map_entry:
            yield from _message(name, nested)


def _type(field: FieldDescriptorProto) -> str:
    if field.type_name:
        return field.type_name.removeprefix(".")
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def _label(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return " repeated"
    if field.proto3_optional:
        return " optional"
    return f" oneof={message.oneof_decl[field.oneof_index].name}" if field.HasField("oneof_index") else ""


def _method(method: MethodDescriptorProto) -> str:
    request = ("stream " if method.client_streaming else "") + method.input_type.removeprefix(".")
    reply = ("stream " if method.server_streaming else "") + method.output_type.removeprefix(".")
    return f"{method.name} {request} -> {reply}"


def main(arguments: list[str]) -> int:
    """Check the protos of a directory and say what is missing."""
    if len(arguments) != 1:
        print("usage: check_wire.py PROTO_DIRECTORY", file=sys.stderr)
        return 2
    wanted = contract(CONTRACT.read_text())
    lacking = missing(wanted, published(compiled(Path(arguments[0]))))
    for block, line in lacking:
        print(f"missing: {block}" + (f": {line}" if line else ""))
    print(f"{len(wanted)} facts, {len(lacking)} missing")
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
