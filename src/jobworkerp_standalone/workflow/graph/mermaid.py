"""A document as Mermaid text, which many places show as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from jobworkerp_standalone.jobs.visible import one_line
from jobworkerp_standalone.workflow.graph.outline import Box, Edge, Lane, outline
from jobworkerp_standalone.workflow.model.document import Workflow

_SHAPES: Final = {
    "start": ("([", "])"),
    "stop": ("([", "])"),
    "mark": ("([", "])"),
    "switch": ("{{", "}}"),
    "wait": ("[/", "/]"),
    "raise": (">", "]"),
}
_INIT: Final = '%%{init: {"flowchart": {"subGraphTitleMargin": {"top": 4, "bottom": 28}}}}%%'
_ARROWS: Final = {"flow": "-->", "jump": "-->", "error": "-.->"}
_ESCAPES: Final = {
    "&": "#amp;",
    '"': "#quot;",
    "<": "#lt;",
    ">": "#gt;",
    "#": "#35;",
    "\\": "#92;#8203;",
    "$": "#36;",
    "`": "#96;",
}


def mermaid(document: Workflow) -> str:
    """Return the text of a flowchart."""
    return "\n".join([_INIT, "flowchart TD", *_lane(outline(document), "  ")]) + "\n"


def _lane(lane: Lane, indent: str) -> Iterator[str]:
    for box in lane.boxes:
        yield from _box(box, indent)
        for mark in lane.marks.get(box.id, []):
            yield from _box(mark, indent)
    yield from (_edge(edge, indent) for edge in lane.edges)


def _box(box: Box, indent: str) -> Iterator[str]:
    label = "<br/>".join(_escaped(line) for line in (box.title, *box.details))
    if not box.lanes:
        opening, closing = _SHAPES.get(box.kind, ("[", "]"))
        yield f'{indent}{box.id}{opening}"{label}"{closing}'
        return
    title = _escaped(": ".join([box.title, ", ".join(box.details)]))  # Mermaid keeps no room for many lines of a title
    yield f'{indent}subgraph {box.id}["{title}"]'
    yield f"{indent}  direction TB"
    for number, lane in enumerate(box.lanes):
        if lane.title:
            yield f'{indent}  subgraph {box.id}_{number}["{_escaped(lane.title)}"]'
            yield f"{indent}    direction TB"
            yield from _lane(lane, f"{indent}    ")
            yield f"{indent}  end"
        else:
            yield from _lane(lane, f"{indent}  ")
    yield from (_edge(edge, f"{indent}  ") for edge in box.edges)
    yield f"{indent}end"


def _edge(edge: Edge, indent: str) -> str:
    label = f'|"{_escaped(edge.label)}"|' if edge.label else ""
    return f"{indent}{edge.source} {_ARROWS[edge.way]}{label} {edge.target}"


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in one_line(text))
