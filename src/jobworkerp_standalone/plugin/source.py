"""Importing a plugin: a file, a folder, or an installed module."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from jobworkerp_standalone.plugin.base import Runner
from jobworkerp_standalone.plugin.errors import PluginMistake

_INIT: Final = "__init__.py"


def import_source(where: str, module_name: str = "") -> ModuleType:
    """Import a plugin by its path, or by the name of a module where it is installed.

    Args:
        where: an absolute path, or ``module`` or ``module:Class``.
        module_name: what a file or folder is called inside; empty: its own name.

    Raises:
        PluginMistake: it cannot be imported; the text names file and line.
    """
    if not where.startswith("/"):
        return _guarded(where, lambda: importlib.import_module(where.partition(":")[0]))
    path = Path(where)
    file = path / _INIT if path.is_dir() else path
    name = module_name or path.name.removesuffix(".py")
    if not module_name and name in sys.stdlib_module_names:
        raise PluginMistake(f"{path.name} has the name of a module of Python's own: rename it")
    folders = [str(path)] if path.is_dir() else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folders)
    if spec is None or spec.loader is None:
        raise PluginMistake(f"{path.name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader = spec.loader
    try:
        return _guarded(where, lambda: loader.exec_module(module) or module)
    except BaseException:
        forget(name)
        raise


def forget(module_name: str) -> None:
    """Take a module and what is inside it out of the interpreter's list."""
    for name in [each for each in sys.modules if each == module_name or each.startswith(f"{module_name}.")]:
        del sys.modules[name]


def runners_of(module: ModuleType, only: str = "") -> list[type[Runner]]:
    """Return the runner classes that a module, or a package with its modules, defines.

    Raises:
        PluginMistake: there is none, or not the one that is asked for.
    """
    own = f"{module.__name__}."
    found: list[type[Runner]] = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Runner) and f"{each.__module__}.".startswith(own)
    ]
    if only:
        found = [each for each in found if each.__name__ == only] or [
            each for each in (getattr(module, only, None),) if isinstance(each, type) and issubclass(each, Runner)
        ]
    found = [each for each in dict.fromkeys(found) if not each.__name__.startswith("_")]
    if not found:
        wanted = f"class {only}" if only else "subclass of jobworkerp_standalone.plugin.Runner"
        raise PluginMistake(f"it defines no {wanted}")
    return found


def place(error: BaseException, root: str) -> str:
    """Return where in the plugin an error came from, as ``file, line N``; empty if nowhere there."""
    if isinstance(error, SyntaxError) and error.filename and error.filename.startswith(root):
        return f"{_short(error.filename, root)}, line {error.lineno}"
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename.startswith(root)]
    return f"{_short(frames[-1].filename, root)}, line {frames[-1].lineno}" if frames else ""


def complaint(error: BaseException, root: str) -> str:
    """Return an error with its place, in one line."""
    text = f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}".rstrip(": ")
    where = place(error, root)
    return f"{where}: {text}" if where else text


def _guarded(where: str, load: Any) -> ModuleType:
    try:
        return load()
    except PluginMistake:
        raise
    except BaseException as error:  # SystemExit and the like end a daemon
        raise PluginMistake(complaint(error, where)) from error


def _short(file: str, root: str) -> str:
    """Return a file as seen from where the plugin lies."""
    return str(Path(file).relative_to(Path(root).parent))
