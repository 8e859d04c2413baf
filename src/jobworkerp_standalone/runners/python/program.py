"""The text of the program that a warm interpreter runs."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

_PACKAGE: Final = "jobworkerp_standalone.runners.python.inside"
_MODULES: Final = ("control", "baseline", "exits", "scripts", "main")
"""Each may import those before it."""
_LOADER: Final = """
import sys, types
loaded = {}
for name, text in TEXTS.items():
    loaded[name] = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, "<" + name + ">", "exec", dont_inherit=True), vars(loaded[name]))
for name in loaded:
    del sys.modules[name]
loaded[name].main()
"""


@cache
def program_text() -> str:
    """Return the modules of `inside` as one program: its environment does not have this package."""
    folder = files(_PACKAGE)
    texts = {f"{_PACKAGE}.{name}": folder.joinpath(f"{name}.py").read_text() for name in _MODULES}
    return f"TEXTS = {texts!r}{_LOADER}"
