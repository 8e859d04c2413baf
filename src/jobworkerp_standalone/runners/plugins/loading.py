"""Looking at a plugin: in a process, so that whatever its import does stays there."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import anyio
import anyio.to_thread

from jobworkerp_standalone.jobs.errors import Fatal, Retryable
from jobworkerp_standalone.jobs.model import OutputType
from jobworkerp_standalone.plugin import channel as frames
from jobworkerp_standalone.runners.base import Runner
from jobworkerp_standalone.runners.description import Method
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.origin import Offer
from jobworkerp_standalone.runners.plugins.inside import AsyncRunner, ThreadRunner
from jobworkerp_standalone.runners.plugins.kind import PluginKind
from jobworkerp_standalone.runners.plugins.places import requirements_of
from jobworkerp_standalone.runners.plugins.process import ProcessGone, WorkerProcess
from jobworkerp_standalone.runners.plugins.runner import ProcessRunner, answer_of
from jobworkerp_standalone.runners.plugins.sources import Source

_MAKERS: Final[Mapping[str, Callable[[Host, PluginKind], Runner]]] = {
    "process": ProcessRunner,
    "thread": ThreadRunner,
    "async": AsyncRunner,
}
_versions = itertools.count(1)


async def load_plugin(host: Host, source: Source) -> list[Offer]:
    """Import a plugin in a process of its own and return the runners that it defines.

    Raises:
        JobError: it cannot be used; the text names file and line. ``Retryable`` where trying again may help.
    """
    described = await _describe(host, source)
    inside = [each for each in described if each["isolation"] != "process"]
    if inside and (wanted := await requirements_of(source)) is not None:
        raise Fatal(
            f'{source}: {inside[0]["class"]} has isolation "{inside[0]["isolation"]}" and requirements of its own '
            f'({", ".join(wanted.packages)}): they cannot be installed into the daemon, use isolation "process"'
        )
    version = next(_versions)
    return [await anyio.to_thread.run_sync(_offer, host, source, version, each) for each in described]


async def _describe(host: Host, source: Source) -> list[dict[str, Any]]:
    settings = host.settings
    process = await WorkerProcess.start(host, source, str(source), settings.plugins_max_rss_mb << 20)
    try:
        with anyio.fail_after(settings.plugin_load_timeout_secs):
            await process.send_json(frames.LOAD, {"source": source.where, "only": source.only, "class": ""})
            return json.loads(await answer_of(process, frames.DESCRIBED))
    except ProcessGone as gone:
        raise Fatal(f"its process ended while it was imported: {gone}") from gone
    except TimeoutError as error:
        raise Retryable(
            f"it was not imported within {settings.plugin_load_timeout_secs} s (PLUGIN_LOAD_TIMEOUT_SECS)"
        ) from error
    finally:
        await process.stop()


def _offer(host: Host, source: Source, version: int, described: Mapping[str, Any]) -> Offer:
    name = described["name"]
    settings = host.settings
    kind = PluginKind(
        source,
        described["class"],
        name,
        described,
        version,
        described["max_jobs"] or settings.plugins_max_jobs,
        (described["max_rss_mb"] or settings.plugins_max_rss_mb) << 20,
    )
    methods = {key: _method(name, key, each) for key, each in described["methods"].items()}
    _check_schema(f"the settings of {name}", described["settings_proto"])
    maker = _MAKERS[described["isolation"]]

    def make(host: Host) -> Runner:
        return maker(host, kind)

    return Offer(
        name=name,
        description=described["description"],
        definition=str(source),
        make=make,
        settings_proto=described["settings_proto"],
        methods=methods,
        default_method="run" if "run" in methods else next(iter(methods)),
    )


def _method(runner: str, name: str, described: Mapping[str, Any]) -> Method:
    feed = described["feed_proto"]
    where = f"method {name} of {runner}"
    _check_schema(f"the args of {where}", described["args_proto"])
    _check_schema(f"the result of {where}", described["result_proto"])
    _check_schema(f"the feed of {where}", feed or "")
    return Method(
        name,
        described["args_proto"],
        described["result_proto"],
        described["description"],
        OutputType(described["output_type"]),
        require_client_stream=feed is not None,
        client_stream_data_proto=feed or "",
    )


def _check_schema(where: str, text: str) -> None:
    if not text:
        return
    from jobworkerp_standalone.schema.text import BadProtoText, root_message  # noqa: PLC0415 - the compiler

    try:
        root_message(text)
    except BadProtoText as error:
        raise Fatal(f"{where}: {error}") from error
