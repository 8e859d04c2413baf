"""Generate src/jobworkerp_standalone/pb from protos/.

Usage: python tools/generate_pb.py [--check]

What is made: betterproto2 classes and client stubs (async, grpclib); ``descriptors.binpb``, a FileDescriptorSet of
every proto with dependencies first; ``texts/``, the runner protos as clients are shown them, each complete in itself.
With --check nothing is written: exit status 1 where the committed output is not what would be made.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PROTOS: Final = ROOT / "protos"
OUTPUT: Final = ROOT / "src" / "jobworkerp_standalone" / "pb"
RUNNER_PROTOS: Final = "jobworkerp/runner"
NOT_SERVED: Final = frozenset({"jobworkerp/runner/common.proto"})
PACKAGE_DOC: Final = b'"""Made by tools/generate_pb.py from protos/. Do not edit: run `make generate`."""\n'

TOP_PACKAGE: Final = "jobworkerp/__init__.py"
TOP: Final = b'''
import betterproto2


def _is_pydantic(message: betterproto2.Message) -> bool:
    """Tell what pydantic would. betterproto2 asks it about every message: importing it takes longer than a call."""
    return "__is_pydantic_dataclass__" in vars(type(message))


betterproto2.Message._is_pydantic = _is_pydantic
'''
_IMPORT: Final = re.compile(r'^import "(?P<name>[^"]+)";\n', re.MULTILINE)
_HEAD: Final = re.compile(r'\A.*?^package [\w.]+;\n(?:\s*^import "[^"]+";\n)*', re.MULTILINE | re.DOTALL)


def generate(protos: Path) -> dict[str, bytes]:
    """Return every generated file by its path below ``pb/``.

    Raises:
        SystemExit: protoc or the betterproto2 compiler refused the protos.
    """
    made = served_texts(protos)
    with tempfile.TemporaryDirectory() as directory:
        classes = Path(directory) / "classes"
        classes.mkdir()
        descriptors = Path(directory) / "descriptors.binpb"
        _protoc(protos, classes, descriptors)
        made["descriptors.binpb"] = descriptors.read_bytes()
        made |= {_name(path, classes): path.read_bytes() for path in classes.rglob("*") if path.is_file()}
    made |= {name: PACKAGE_DOC for name, data in made.items() if not data and name.endswith("__init__.py")}
    made[TOP_PACKAGE] += TOP
    return made


def served_texts(protos: Path) -> dict[str, bytes]:
    """Return the runner protos as clients get them, each with what it imports written out at its end."""
    names = sorted(_name(path, protos) for path in (protos / RUNNER_PROTOS).rglob("*.proto"))
    return {f"texts/{name}": _self_contained(protos, name).encode("ascii") for name in names if name not in NOT_SERVED}


def _self_contained(protos: Path, name: str) -> str:
    text = (protos / name).read_text("ascii")
    imported: dict[str, str] = {}
    waiting = _IMPORT.findall(text)
    while waiting:
        other = waiting.pop(0)
        if other not in imported:
            whole = (protos / other).read_text("ascii")
            waiting += _IMPORT.findall(whole)
            imported[other] = _HEAD.sub("", whole, count=1).strip("\n")
    return "\n\n".join([_IMPORT.sub("", text).rstrip("\n"), *imported.values()]) + "\n"


def _protoc(protos: Path, classes: Path, descriptors: Path) -> None:
    programs = Path(sys.executable).parent
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc"),
        f"--proto_path={protos}",
        "--include_imports",
        f"--descriptor_set_out={descriptors}",
        f"--plugin=protoc-gen-python_betterproto2={programs / 'protoc-gen-python_betterproto2'}",
        f"--python_betterproto2_out={classes}",
        "--python_betterproto2_opt=client_generation=async,server_generation=none",
        *sorted(_name(path, protos) for path in protos.rglob("*.proto")),
    ]
    # The compiler formats what it makes with ruff, which it looks for on PATH. It must find no other configuration.
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    done = subprocess.run(command, cwd=classes, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stderr}protoc failed: correct what it names in {protos}")


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def differences(made: dict[str, bytes], output: Path) -> list[str]:
    """Return the names of the files that are missing, different or left over in ``output``."""
    there = {
        _name(path, output): path.read_bytes()
        for path in output.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))


def write(made: dict[str, bytes], output: Path) -> list[str]:
    """Make ``output`` hold exactly ``made``; return the names that changed."""
    changed = differences(made, output)
    for name in changed:
        path = output / name
        if name in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(made[name])
        else:
            path.unlink()
    return changed


def main() -> int:
    """Generate, or check what was generated."""
    parser = argparse.ArgumentParser(description="Generate the message classes from protos/.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the output is stale")
    check: bool = parser.parse_args().check
    made = generate(PROTOS)
    if not check:
        print(f"{len(made)} files, {len(write(made, OUTPUT))} changed")
        return 0
    stale = differences(made, OUTPUT)
    if stale:
        print(f"stale: {len(stale)} generated files differ from protos/ (first: {stale[0]}); run `make generate`")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
