"""What a runner class can do: its methods and their schemas."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from types import NoneType
from typing import Any, Final, get_args, get_type_hints

from jobworkerp_standalone.plugin.base import MARK, Runner
from jobworkerp_standalone.plugin.errors import PluginMistake
from jobworkerp_standalone.plugin.proto import proto_text
from jobworkerp_standalone.plugin.shapes import is_message
from jobworkerp_standalone.plugin.wire import decode, encode

NON_STREAMING, STREAMING, BOTH = range(3)
_DEFAULT: Final = "run"
_ISOLATIONS: Final = ("process", "thread", "async")


@dataclass(frozen=True, slots=True)
class Port:
    """One place where values go in or out: a class, or bytes under a proto text."""

    type: Any = None
    text: str = ""

    def read(self, data: bytes) -> Any:
        """Return what the function gets for message bytes."""
        return data if self.type is None else decode(data, self.type)

    def write(self, value: Any, where: str) -> bytes:
        """Return the message bytes of what the function gave.

        Raises:
            TypeError: it is not what was declared.
        """
        if self.type is not None:
            return encode(value, self.type)
        if value is None and not self.text:
            return b""
        if not isinstance(value, (bytes, bytearray)):
            raise TypeError(f"{where} is {type(value).__name__}, expected bytes")
        return bytes(value)


@dataclass(frozen=True, slots=True)
class MethodPlan:
    """One method: which functions do it, and what goes in and out."""

    name: str
    description: str
    args: Port
    result: Port
    feed: Port | None
    run: str = ""
    """Attribute of the function with one result."""
    stream: str = ""
    """Attribute of the generator."""
    takes_args: bool = True

    @property
    def output_type(self) -> int:
        """Number of ``StreamingOutputType``."""
        if self.feed is not None or not self.run:
            return STREAMING
        return BOTH if self.stream else NON_STREAMING

    def function(self, *, streaming: bool) -> str:
        """Return the attribute that does it."""
        return self.stream if self.stream and (streaming or not self.run) else self.run


@dataclass(frozen=True, slots=True)
class RunnerPlan:
    """A runner class, read."""

    name: str
    description: str
    isolation: str
    settings: Port
    takes_settings: bool
    methods: dict[str, MethodPlan] = field(default_factory=dict[str, MethodPlan])

    def public(self) -> dict[str, Any]:
        """Return what the daemon needs to know, as JSON."""
        methods = {
            each.name: {
                "args_proto": each.args.text,
                "result_proto": each.result.text,
                "description": each.description,
                "output_type": each.output_type,
                "feed_proto": each.feed.text if each.feed else None,
            }
            for each in self.methods.values()
        }
        return {
            "name": self.name,
            "description": self.description,
            "isolation": self.isolation,
            "settings_proto": self.settings.text,
            "methods": methods,
        }


@cache
def plan_of(runner: type[Runner]) -> RunnerPlan:
    """Read a runner class.

    Raises:
        PluginMistake: it cannot be used as it is written; the text says where and what to change.
    """
    where = runner.__name__
    if runner.isolation not in _ISOLATIONS:
        raise PluginMistake(f"{where}.isolation {runner.isolation!r} is none of {', '.join(_ISOLATIONS)}")
    methods = {each.name: each for each in _methods(runner)}
    if not methods:
        raise PluginMistake(f"{where} does nothing: give it run, stream or a function marked with @method")
    for each in methods.values():
        for attribute in filter(None, (each.run, each.stream)):
            _check_isolation(runner, attribute)
    settings, takes_settings = _settings(runner)
    return RunnerPlan(
        runner.name or where,
        runner.description or _first_line(runner),
        runner.isolation,
        settings,
        takes_settings,
        methods,
    )


def is_coroutine(function: Any) -> bool:
    """Whether it runs on an event loop."""
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def is_generator(function: Any) -> bool:
    """Whether it yields items."""
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _methods(runner: type[Runner]) -> Iterator[MethodPlan]:
    run, stream = (getattr(runner, name, None) for name in ("run", "stream"))
    said = {"args": runner.args, "result": runner.result, "feed": runner.feed}
    described = {"name": _DEFAULT, "description": ""}
    if run is not None or stream is not None:
        yield _with_both(runner, run, stream, {**said, **described})
    for attribute in dir(runner):
        function = inspect.getattr_static(runner, attribute)
        marked = getattr(function, MARK, None)
        if marked is not None and attribute not in ("run", "stream"):
            yield _method(runner, attribute, {**marked, "name": marked["name"] or attribute})


def _with_both(runner: type[Runner], run: Any, stream: Any, said: dict[str, Any]) -> MethodPlan:
    """Return the method ``run`` of a runner that has ``run``, ``stream`` or both."""
    if run is not None and is_generator(run):
        raise PluginMistake(f"{runner.__name__}.run yields items: call it stream")
    if stream is not None and not is_generator(stream):
        raise PluginMistake(f"{runner.__name__}.stream must yield its items")
    plans = [_method(runner, name, said) for name, each in (("run", run), ("stream", stream)) if each is not None]
    first = plans[0]
    if len(plans) == 1:
        return first
    second = plans[1]
    if (first.args, first.result, first.feed) != (second.args, second.result, second.feed):
        raise PluginMistake(f"{runner.__name__}: run and stream must take the same and give the same")
    description = first.description or second.description
    return MethodPlan(first.name, description, first.args, first.result, first.feed, "run", "stream", first.takes_args)


def _method(runner: type[Runner], attribute: str, said: dict[str, Any]) -> MethodPlan:
    function = getattr(runner, attribute)
    where = f"{runner.__name__}.{attribute}"
    if not callable(function):
        raise PluginMistake(f"{where} is not a function")
    hints = _hints(function, where)
    parameters = [name for name in inspect.signature(function).parameters if name != "self"]
    inputs = [name for name in parameters if name != "feed"]
    if len(inputs) > 1:
        raise PluginMistake(f"{where} takes {', '.join(inputs)}: it gets one value, its arguments, and feed")
    yields = is_generator(function)
    returned = hints.get("return", NoneType)
    if yields:
        returned = next(iter(get_args(returned)), None)
    args = Port() if not inputs else _port(f"{where}({inputs[0]})", said["args"], hints.get(inputs[0]))
    feed = None
    if "feed" in parameters:
        item = next(iter(get_args(hints.get("feed"))), None)
        feed = _port(f"{where}(feed)", said["feed"], item)
    return MethodPlan(
        said["name"],
        said["description"] or _first_line(function),
        args,
        _port(f"the result of {where}", said["result"], returned),
        feed,
        run="" if yields else attribute,
        stream=attribute if yields else "",
        takes_args=bool(inputs),
    )


def _settings(runner: type[Runner]) -> tuple[Port, bool]:
    load: Callable[..., Any] = runner.load
    if load is Runner.load:
        if runner.settings is None:
            return Port(), False
        raise PluginMistake(f"{runner.__name__} has settings and no load that takes them")
    parameters = [name for name in inspect.signature(load).parameters if name != "self"]
    if not parameters:
        return Port(), False
    where = f"{runner.__name__}.load"
    return _port(f"{where}({parameters[0]})", runner.settings, _hints(load, where).get(parameters[0])), True


def _port(where: str, said: Any, hint: Any) -> Port:
    if isinstance(said, str):
        return Port(None, said)
    wanted = hint if said is None else said
    if wanted in (NoneType, bytes):
        return Port()
    if is_message(wanted):
        try:
            return Port(wanted, proto_text(wanted))
        except PluginMistake as error:
            raise PluginMistake(f"{where}: {error}") from error
    if wanted is None:
        raise PluginMistake(f"{where} is not annotated: name a dataclass or pydantic model, or bytes")
    shown = getattr(wanted, "__name__", str(wanted))
    raise PluginMistake(f"{where} is {shown}: make it a dataclass or pydantic model, or bytes with a proto text")


def _check_isolation(runner: type[Runner], attribute: str) -> None:
    on_loop = is_coroutine(getattr(runner, attribute))
    if runner.isolation == "async" and not on_loop:
        raise PluginMistake(f'{runner.__name__}.{attribute} must be async def, because isolation is "async"')
    if runner.isolation == "thread" and on_loop:
        raise PluginMistake(f'{runner.__name__}.{attribute} must be a plain function, because isolation is "thread"')


def _hints(function: Any, where: str) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except NameError as error:
        raise PluginMistake(f"{where}: {error}; annotations must name what the module defines") from error


def _first_line(thing: Any) -> str:
    return next(iter((thing.__doc__ or "").strip().splitlines()), "")
