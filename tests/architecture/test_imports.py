"""Dependencies point one way. Every import of every module is looked at, lazy ones included."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "jobworkerp_standalone"
PACKAGE = "jobworkerp_standalone"
BASE = {"jobs", "settings", "env_file", "__version__"}
RUNNER_CONTRACT = {
    "runners.base",
    "runners.children",
    "runners.description",
    "runners.bus",
    "runners.interest",
    "runners.journal",
    "runners.host",
    "runners.spec",
    "runners.pool",
    "runners.origin",
}

MAY_IMPORT: dict[str, set[str]] = {
    "env_file": set(),
    "twin_signals": set(),
    "jobs": {"jobs"},
    "ports": {"ports", "jobs"},
    "settings": {"settings", "jobs"},
    "log": {"jobs", "settings"},
    "pb": {"pb"},
    "schema": {"schema", "pb"},
    "net": {"net", *BASE},
    "plugin": {"plugin"},
    "runners": {"runners", "plugin", "net", "schema", "pb", *BASE},
    "workflow": {
        "workflow",
        "net",
        "runners.base",
        "runners.children",
        "runners.description",
        "runners.host",
        "runners.bus",
        "runners.interest",
        "runners.journal",
        "runners.json_turns",
        "runners.messages",
        "runners.mcp",
        "runners.spec",
        "schema",
        "pb",
        *BASE,
    },
    "wire": {"pb", "schema", "jobs", "runners.spec"},
    "engine": {"engine", "ports", *RUNNER_CONTRACT, *BASE},
    "backends": {"backends", "ports", "wire", *BASE},
    "rpc": {
        "rpc",
        "engine",
        "schema",
        "wire",
        "ports",
        "pb",
        "runners.bus",
        "runners.interest",
        "runners.spec",
        "runners.origin",
        "runners.builtin",
        *BASE,
    },
    "daemon": {"backends", "engine", "rpc", "runners", "schema", "ports", "twin_signals", *BASE},
    "client": {"client", "net.calls", "pb", "schema"},
    "embedded": {"embedded", "client", "daemon", "workflow", "pb", "schema", *BASE},
    "pytest_plugin": {"embedded"},
    "cli": {
        "cli",
        "client",
        "daemon",
        "embedded",
        "workflow",
        "log",
        "schema",
        "pb",
        "runners.guard.guard",
        "runners.mcp.settings_file",
        "twin_signals",
        *BASE,
    },
    "__main__": {"cli"},
    "__init__": {"client", "embedded", "jobs.errors"},
}
"""What each package may import, by first matching prefix. Nothing but ``cli`` imports ``daemon``."""


STARTS_PROCESSES = {
    "os": {"fork", "forkpty", "popen", "posix_spawn", "posix_spawnp", "system"},
    "asyncio": {"create_subprocess_exec", "create_subprocess_shell"},
    "anyio": {"open_process", "run_process"},
}
WHOLE_MODULES_THAT_DO = {
    "subprocess",
    "multiprocessing",
    "concurrent.futures.ProcessPoolExecutor",
    "concurrent.futures.process",
    "pty",
}
MAY_START_PROCESSES = {
    "runners.spawn",
    # These end by themselves: by the end of their socket or their lifeline, and after 5 s of processor time.
    "workflow.expressions.fork_server",
    "workflow.expressions.fork_server_main",
    "workflow.expressions.jq_check",
}
MAY_SPAWN = {"runners.guard.guard", "runners.process.launch"}
"""The guard itself, and who tells it."""


def modules() -> list[str]:
    return sorted(
        str(path.relative_to(SOURCE).with_suffix("")).replace("/", ".")
        for path in SOURCE.rglob("*.py")
        if "pb" not in path.relative_to(SOURCE).parts
    )


def imports(module: str) -> Iterator[str]:
    tree = ast.parse((SOURCE / f"{module.replace('.', '/')}.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_what_lies_below_it(module: str) -> None:
    allowed = MAY_IMPORT[module.partition(".")[0]]
    for imported in imports(module):
        if imported.partition(".")[0] != PACKAGE:
            continue
        inner = imported.removeprefix(f"{PACKAGE}.")
        assert any(inner == each or inner.startswith(f"{each}.") for each in allowed), f"{module} imports {imported}"


def needs() -> Mapping[str, set[str]]:
    """Return which modules each module imports, be it for its types alone."""
    places = {module.removesuffix("__init__").rstrip("."): module for module in modules()}

    def place(imported: str) -> str | None:
        """Return the module that an imported name is, or stands in; None for those of others and the generated ones."""
        if imported.partition(".")[0] != PACKAGE or imported.startswith(f"{PACKAGE}.pb."):
            return None
        inner = imported.removeprefix(PACKAGE).removeprefix(".")
        return places.get(inner) or places[inner.rpartition(".")[0]]

    found = {module: {place(each) for each in imports(module)} for module in modules()}
    return {module: {each for each in used if each not in (None, module)} for module, used in found.items()}


def test_no_module_needs_itself_by_way_of_others() -> None:
    graph = {module: needed for module, needed in needs().items() if module != "__init__"}  # loads what is asked for
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" needs ".join(reversed(error.args[1])))


def starts_of_processes(module: str) -> set[str]:
    """Return what a module uses that starts a process."""
    tree = ast.parse((SOURCE / f"{module.replace('.', '/')}.py").read_text())
    used = {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    } | set(imports(module))
    known = {f"{library}.{name}" for library, names in STARTS_PROCESSES.items() for name in names}
    return {
        name
        for name in used
        if name in known
        or name.startswith(("os.exec", "os.spawn"))
        or any(name == each or name.startswith(f"{each}.") for each in WHOLE_MODULES_THAT_DO)
    }


def test_one_module_starts_programs_so_that_the_guard_knows_of_all() -> None:
    assert {module for module in modules() if starts_of_processes(module)} == MAY_START_PROCESSES
    spawning = {module for module in modules() if f"{PACKAGE}.runners.spawn.spawn" in set(imports(module))}
    assert spawning == MAY_SPAWN


@pytest.mark.parametrize("module", [each for each in modules() if each.startswith("jobs.")])
def test_what_a_job_is_needs_no_io(module: str) -> None:
    forbidden = {"asyncio", "anyio", "socket", "os", "sqlite3", "sqlalchemy", "grpclib", "google", "threading"}
    assert not forbidden & {imported.split(".")[0] for imported in imports(module)}


def test_concrete_runners_are_imported_by_their_registry_alone() -> None:
    kinds = {"runners.command"}
    for module in modules():
        if module.startswith(("runners.", "runners")):
            continue
        for imported in imports(module):
            assert imported.removeprefix(f"{PACKAGE}.") not in kinds, f"{module} imports {imported}"


def test_every_package_has_its_place() -> None:
    assert {module.split(".")[0] for module in modules()} <= MAY_IMPORT.keys()


def test_files_and_functions_keep_to_their_size() -> None:
    for module in modules():
        text = (SOURCE / f"{module.replace('.', '/')}.py").read_text()
        assert text.count("\n") <= 400, f"{module} is longer than 400 lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and "cli" not in module:
                size = (node.end_lineno or 0) - node.lineno + 1
                assert size <= 45, f"{module}.{node.name} has {size} lines"
