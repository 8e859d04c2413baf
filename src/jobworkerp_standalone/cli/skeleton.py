"""What ``runner new`` writes."""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path
from typing import Final

from jobworkerp_standalone.cli.exits import Exit, Stop, usage

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PLUGIN: Final = '''"""CLASS, a runner for jobworkerp."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jobworkerp_standalone.plugin import BadInput, Runner


@dataclass
class Settings:
    """What a worker is set up with. Field numbers follow the order: add new ones at the end."""

    greeting: str = "Hello"


@dataclass
class Args:
    """What a job gets."""

    name: str
    times: int = 1


@dataclass
class Result:
    """What it gives."""

    text: str


class CLASS(Runner):
    """Greets."""

    def load(self, settings: Settings) -> None:
        self.greeting = settings.greeting

    def run(self, args: Args) -> Result:
        return Result("\\n".join(each.text for each in self.stream(args)))

    def stream(self, args: Args) -> Iterator[Result]:
        if not args.name:
            raise BadInput("name is empty: say who is to be greeted")
        for _ in range(args.times):
            yield Result(f"{self.greeting}, {args.name}!")
'''
_TEST: Final = '''"""Run with: pytest FOLDER/test_MODULE.py"""

from __future__ import annotations

from pathlib import Path

from jobworkerp_standalone.plugin.source import import_source

MODULE = import_source(str(Path(__file__).with_name("MODULE.py").resolve()))


def test_it_greets() -> None:
    runner = MODULE.CLASS()
    runner.load(MODULE.Settings("Hi"))
    assert runner.run(MODULE.Args("Ann")).text == "Hi, Ann!"
    assert [each.text for each in runner.stream(MODULE.Args("Bob", 2))] == ["Hi, Bob!", "Hi, Bob!"]
'''


def write_skeleton(name: str, directory: str) -> list[str]:
    """Write a plugin and its test; return what to say.

    Raises:
        Stop: the name cannot be one, or the files cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise usage(f"NAME {name!r}: begin with a letter and use letters, digits and _ only")
    module = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    if keyword.iskeyword(module):
        raise usage(f"NAME {name!r}: no file {module}.py can be imported, because Python means something by the word")
    if module in sys.stdlib_module_names or module.startswith("test_") or module.endswith("_test"):
        raise usage(f"NAME {name!r}: a file {module}.py would not be taken for a plugin, choose another name")
    class_name = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    folder = Path(directory)
    files = {folder / f"{module}.py": _PLUGIN, folder / f"test_{module}.py": _TEST}
    for path in files:
        if path.exists():
            raise Stop(Exit.FAILED, f"{path} is there already: choose another name, or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            filled = text.replace("CLASS", class_name).replace("MODULE", module).replace("FOLDER", str(folder))
            path.write_text(filled, encoding="utf-8")
    except OSError as error:
        raise Stop(Exit.FAILED, f"{folder} cannot be written to: {error.strerror}") from error
    return [
        *(f"wrote {path}" for path in files),
        f"A daemon that has {folder}/ among its PLUGINS_RUNNER_DIR loads it when it starts, and at once where it",
        "follows files (PLUGINS_RELOAD). Then see what it takes with:",
        f"  jobworkerp runner show {class_name}",
    ]
