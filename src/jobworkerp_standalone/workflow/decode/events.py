"""Events: which are waited for."""

from __future__ import annotations

import re
from typing import Final, Literal

from jobworkerp_standalone.workflow.decode.cursor import At
from jobworkerp_standalone.workflow.expressions.places import Place
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.model.events import REGULAR, Consumption, Correlation, EventFilter

IN_WITH: Final[dict[str, str]] = dict.fromkeys(
    ("type", "source", "subject", "data", "id", "time"), "it stands in 'with'"
)
_MODES = ("one", "any", "all")


def consumption(at: At, *, ends: bool = False) -> Consumption:
    """Return which events are waited for; ``ends``: those that end another listening."""
    found = at.fields((*_MODES, "until"), hints={"with": "it stands in one, or in the items of any or all"})
    mode: Literal["one", "any", "all"] = "one"
    match found.one_of(_MODES, "a choice of events"):
        case "any":
            mode = "any"
        case "all":
            mode = "all"
        case _:
            pass
    inner = found.of(mode)
    if inner is None:
        filters: list[EventFilter] = []
    elif mode == "one":
        filters = [_filter(inner)]
    else:
        filters = [_filter(item) for item in inner.items(least=1 if mode == "all" else 0)]
    until = found.of("until")
    if until is not None and ends:
        until.misnamed("'until' cannot stand inside of 'until'", "remove it")
    elif until is not None and mode != "any":
        until.wrong("'until' goes with 'any' only", "remove it")
    forever = until is not None and until.value is False
    return Consumption(
        place=at.pointer,
        mode=mode,
        filters=tuple(filters),
        until=None if until is None or forever else _until(until),
        forever=forever,
    )


def _until(at: At) -> Template | Consumption:
    return consumption(at, ends=True) if at.is_object else at.condition()


def _filter(at: At) -> EventFilter:
    found = at.fields(("correlate",), ("with",), hints=IN_WITH)
    attributes = found.of("with")
    if attributes is not None and attributes.value == {}:
        attributes.wrong("the filter is empty", "name the type of event, such as {type: com.example.order.placed}")
    members = [(key, _attribute(each)) for key, each in attributes.members()] if attributes else []
    return EventFilter(
        place=at.pointer,
        with_=tuple(sorted(members, key=_cost)),
        correlate=tuple(_correlation(name, each) for name, each in found.get("correlate", At.members, iter(()))),
    )


def _attribute(at: At) -> Template:
    template = at.template(Place.TEXT)
    if template.constant and isinstance(at.value, str) and REGULAR.search(at.value):
        try:
            re.compile(at.value)
        except (re.error, RecursionError, OverflowError) as error:
            at.warn(
                f"this looks like no regular expression, which {at.value!r} would be: {error}",
                "put \\ before its signs",
            )
    return template


def _correlation(name: str, at: At) -> Correlation:
    found = at.fields(("expect",), ("from",))
    return Correlation(
        name=name,
        place=at.pointer,
        from_=found.need("from", At.transform),
        expect=found.get("expect", lambda each: each.template()),
    )


def _cost(member: tuple[str, Template]) -> int:
    """Compare texts first: an expression sees the events alone that the rest of the filter lets through."""
    template = member[1]
    if not template.constant:
        return 2
    return 1 if isinstance(template.raw, str) and REGULAR.search(template.raw) else 0
