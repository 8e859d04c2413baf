"""The protos hold the wire contract, explain themselves, and what is generated from them is fresh."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

from tests.contract.check_wire import CONTRACT, compiled, contract, main, missing, published
from tools.generate_pb import OUTPUT, PROTOS, RUNNER_PROTOS, differences, generate, write

TEXTS = OUTPUT / "texts"
SERVED = sorted(path.relative_to(TEXTS).as_posix() for path in TEXTS.rglob("*.proto"))
CHANGES = {
    "removed": ("  uint32 max_retry = 4;\n", "", "4 max_retry uint32"),
    "renumbered": ("uint32 max_retry = 4;", "uint32 max_retry = 44;", "4 max_retry uint32"),
    "renamed": ("uint32 max_retry = 4;", "uint32 retries = 4;", "4 max_retry uint32"),
    "retyped": ("uint32 interval = 2;", "uint64 interval = 2;", "2 interval uint32"),
    "repeated": ("uint32 interval = 2;", "repeated uint32 interval = 2;", "2 interval uint32"),
}


def contract_roots() -> dict[str, str]:
    """The first message of every file of the contract, which is the root of a runner's text."""
    roots: dict[str, str] = {}
    file = ""
    for block, _ in contract(CONTRACT.read_text()):
        kind, name, *_ = block.split()
        if kind == "file":
            file = name
        elif kind == "message":
            roots.setdefault(file, name.rpartition(".")[2])
    return roots


def compile_alone(text: str, directory: Path, *options: str) -> FileDescriptorProto:
    (directory / "alone.proto").write_text(text)
    made = directory / "alone.binpb"
    assert protoc.main(["protoc", f"-I{directory}", f"-o{made}", *options, "alone.proto"]) == 0
    (file,) = FileDescriptorSet.FromString(made.read_bytes()).file
    return file


def test_nothing_of_the_contract_is_missing(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([str(PROTOS)]) == 0
    assert capfd.readouterr().out.endswith(" facts, 0 missing\n")


@pytest.mark.parametrize(("old", "new", "fact"), CHANGES.values(), ids=CHANGES)
def test_change_that_breaks_clients_is_found(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], old: str, new: str, fact: str
) -> None:
    protos = shutil.copytree(PROTOS, tmp_path / "protos")
    common = protos / "jobworkerp/data/common.proto"
    text = common.read_text()
    assert old in text
    common.write_text(text.replace(old, new))
    assert main([str(protos)]) == 1
    assert f"missing: message jobworkerp.data.RetryPolicy: {fact}\n" in capfd.readouterr().out


def test_methods_values_and_empty_messages_are_facts() -> None:
    there = published(compiled(PROTOS))
    for block, line in [
        ("message jobworkerp.data.Empty", ""),
        ("enum jobworkerp.data.RunnerType", "-1 REUSABLE_WORKFLOW"),
        ("service jobworkerp.service.JobStatusService", "Find jobworkerp.data.JobId -> "),
    ]:
        fact = next((block, found) for found_block, found in there if found_block == block and found.startswith(line))
        assert missing([fact], there) == []
        assert missing([fact], there - {fact}) == [fact]


@pytest.mark.parametrize("name", SERVED)
def test_served_text_is_complete_in_itself(tmp_path: Path, name: str) -> None:
    text = (TEXTS / name).read_bytes().decode("ascii")
    assert text.startswith('syntax = "proto3";\n')
    assert '\nimport "' not in text
    file = compile_alone(text, tmp_path)
    assert not file.dependency
    assert file.message_type[0].name == contract_roots()[name]


def test_served_texts_mean_what_the_protos_mean(tmp_path: Path) -> None:
    whole = {file.name: file for file in compiled(PROTOS).file}
    for name in SERVED:
        alone, declared = compile_alone((TEXTS / name).read_text(), tmp_path), whole[name]
        assert alone.package == declared.package
        assert list(alone.message_type)[: len(declared.message_type)] == list(declared.message_type), name


def test_every_runner_message_of_the_contract_is_served() -> None:
    runner_files = {name for name in contract_roots() if name.startswith(RUNNER_PROTOS)}
    assert runner_files - set(SERVED) == {f"{RUNNER_PROTOS}/common.proto"}


def test_descriptors_come_dependencies_first_and_without_source_info() -> None:
    seen: set[str] = set()
    for file in FileDescriptorSet.FromString((OUTPUT / "descriptors.binpb").read_bytes()).file:
        assert seen.issuperset(file.dependency)
        assert not file.HasField("source_code_info")
        seen.add(file.name)


def test_what_is_generated_is_fresh() -> None:
    assert differences(generate(PROTOS), OUTPUT) == []


def test_stale_output_is_found_and_repaired(tmp_path: Path) -> None:
    made = {"a.py": b"1\n", "deep/b.py": b"2\n"}
    (tmp_path / "a.py").write_text("old\n")
    (tmp_path / "left.py").write_text("over\n")
    assert differences(made, tmp_path) == ["a.py", "deep/b.py", "left.py"]
    assert write(made, tmp_path) == ["a.py", "deep/b.py", "left.py"]
    assert differences(made, tmp_path) == []


def test_classes_cost_nothing_until_they_are_used() -> None:
    code = (
        "import sys, jobworkerp_standalone.schema.messages as m; m.message_class('jobworkerp.data.Job');"
        "assert 'betterproto2' not in sys.modules;"
        "import jobworkerp_standalone.pb.jobworkerp.service, jobworkerp_standalone.pb.jobworkerp.function.service"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


def test_everything_is_explained(tmp_path: Path) -> None:
    made = tmp_path / "explained.binpb"
    sources = [str(path) for path in PROTOS.rglob("*.proto")]
    assert protoc.main(["protoc", f"-I{PROTOS}", "--include_source_info", f"-o{made}", *sources]) == 0
    silent: list[str] = []
    for file in FileDescriptorSet.FromString(made.read_bytes()).file:
        for place in file.source_code_info.location:
            if not place.leading_comments.strip():
                name = declared_at(file, list(place.path))
                silent += [f"{file.name}: {name}"] if name else []
    assert silent == []


def declared_at(file: FileDescriptorProto, path: list[int]) -> str | None:
    """The name of the message, field, enum, value, service or method that a source path leads to."""
    thing: object = file
    names: list[str] = []
    if not path or len(path) % 2:
        return None
    for number, index in zip(path[::2], path[1::2], strict=True):
        field = thing.DESCRIPTOR.fields_by_number[number].name  # type: ignore[attr-defined]
        if field not in {"message_type", "enum_type", "service", "field", "nested_type", "value", "method"}:
            return None
        thing = getattr(thing, field)[index]
        names.append(thing.name)  # type: ignore[attr-defined]
    return ".".join(names)
