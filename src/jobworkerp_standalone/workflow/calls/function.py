"""``call`` of a function of ``use.functions``, a catalog or a file: a task of its own, on what ``with`` gives."""

from __future__ import annotations

from typing import Any, Final, cast
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from jobworkerp_standalone.workflow.calls.asking import Asking
from jobworkerp_standalone.workflow.calls.credentials import credentials_of
from jobworkerp_standalone.workflow.calls.resources import source_text
from jobworkerp_standalone.workflow.calls.uris import uri_of
from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.flow import MAX_DEPTH, execute_task
from jobworkerp_standalone.workflow.load import load_function
from jobworkerp_standalone.workflow.model.calls import FunctionCall
from jobworkerp_standalone.workflow.model.tasks import Task
from jobworkerp_standalone.workflow.pointers import escaped
from jobworkerp_standalone.workflow.problems import InvalidDocument
from jobworkerp_standalone.workflow.source import working_directory

_DEFAULT: Final = "default"
_LATEST: Final = "latest"
_IN_FUNCTION: Final = "(in function "
_GITHUB: Final = "github.com"
_FEWEST_PARTS: Final = 2


async def output(asking: Asking, call: Any) -> JSON:
    """Run the function and return its output."""
    form, spot = cast("FunctionCall", call), asking.spot
    if spot.depth > MAX_DEPTH:
        raise Standard.CONFIGURATION.error(
            "Functions are nested too deeply", f"at most {MAX_DEPTH} may call each other; does one call itself?"
        )
    given, shown = await asking.mapping(form.with_, "")
    if given != shown:
        raise Standard.CONFIGURATION.error(
            "A secret cannot be given to a function", "let the function itself refer to it, as $secrets.NAME"
        ).at(asking.pointer(""))
    data: JSON = given if form.with_ is not None else asking.state.input
    # Nobody could go on with a run that waits in the middle of a function.
    spot = spot._replace(waits=False)
    if form.catalog is None and not form.url:
        known = asking.run.workflow.use.functions[form.name]
        return (await execute_task(asking.run, known, data, spot, f"{spot.key}/0")).output
    pointer = f"/use/functions/{escaped(_label(form))}"
    task = await _loaded(asking, form, pointer)
    try:
        return (await execute_task(asking.run, task, data, spot, f"{spot.key}/0")).output
    except WorkflowError as error:
        raise _here(error, form, pointer) from error


def _here(error: WorkflowError, form: FunctionCall, pointer: str) -> WorkflowError:
    """Return an error without its place in the function's own file, which means nothing here."""
    detail = error.detail or ""
    if _IN_FUNCTION not in detail:  # the innermost one says most
        where = f"{_label(form)}{(error.instance or '').removeprefix(pointer)}"
        detail = f"{detail} {_IN_FUNCTION}{where})".lstrip()
    return WorkflowError(error.type, error.status, error.title, detail)


def _label(form: FunctionCall) -> str:
    return form.name if form.url else f"{form.name}:{form.version or _LATEST}@{form.catalog}"


async def _loaded(asking: Asking, form: FunctionCall, pointer: str) -> Task:
    place, text = await _found(asking, form)
    use = asking.run.workflow.use
    try:
        return await anyio.to_thread.run_sync(load_function, text, form.name, use, pointer)
    except InvalidDocument as error:
        raise Standard.CONFIGURATION.error("A function is not valid", f"{place}: {error}") from error


async def _found(asking: Asking, form: FunctionCall) -> tuple[str, str]:
    if form.url:
        return form.name, await source_text(asking, form.name, None, "")
    version = form.version or _LATEST
    catalogs = asking.run.workflow.use.catalogs
    if form.catalog == _DEFAULT and _DEFAULT not in catalogs:
        return await _in_roots(asking, form.name, version)
    assert form.catalog is not None, "a function of the document needs no file"
    endpoint = catalogs[form.catalog]
    where = f"/use/catalogs/{escaped(form.catalog)}/endpoint"
    root = str((await uri_of(asking, endpoint.uri, where)).value)
    credentials = await credentials_of(endpoint.authentication, asking, f"{where}/authentication")
    place = f"{_raw(root).rstrip('/')}/functions/{form.name}/{version}/function.yaml"
    return place, await source_text(asking, place, credentials, "")


async def _in_roots(asking: Asking, name: str, version: str) -> tuple[str, str]:
    """Return a function of the default catalog: the directories where workflows are found by name."""
    for root in (*working_directory(), *asking.run.tools.roots):
        path = root / "functions" / name / version / "function.yaml"
        if await anyio.Path(path).is_file():
            return str(path), await source_text(asking, str(path), None, "")
    raise Standard.CONFIGURATION.error(
        "There is no such function",
        f"functions/{name}/{version}/function.yaml is neither in the working directory nor in WORKFLOW_ALLOWED_ROOTS",
        status=404,
    )


def _raw(root: str) -> str:
    """Return where the files of a catalog are, which is named by the page of its repository."""
    parts = urlsplit(root)
    path = [part for part in parts.path.split("/") if part]
    if parts.hostname != _GITHUB or len(path) < _FEWEST_PARTS:
        return root
    owner, repository, *more = path
    branch = "/".join(more[1:]) if more[:1] in (["tree"], ["blob"]) and more[1:] else "main"
    return f"https://raw.githubusercontent.com/{owner}/{repository.removesuffix('.git')}/{branch}"
