"""A document as a picture in SVG, laid out here."""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import escape

from jobworkerp_standalone.jobs.visible import one_line
from jobworkerp_standalone.workflow.graph.layout import LINE, PAD, Picture, Placed, Route, lay_out
from jobworkerp_standalone.workflow.graph.outline import outline
from jobworkerp_standalone.workflow.model.document import Workflow

_MARGIN: Final = 20
_STYLE: Final = """\
text{font:12px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#1f2933;text-anchor:middle}
.name{font-weight:bold}.detail,.lane,.label{fill:#52606d}.halo{fill:#fff;stroke:#fff;stroke-width:4px}
rect,polygon{fill:#f5f7fa;stroke:#52606d;stroke-width:1.2}
.group{fill:#fff;stroke-dasharray:none;stroke:#9aa5b1}
.call,.run{fill:#e3f2fd;stroke:#1976d2}.set{fill:#f1f8e9;stroke:#558b2f}.switch{fill:#fff8e1;stroke:#f9a825}
.raise{fill:#ffebee;stroke:#c62828}.wait,.emit,.listen{fill:#f3e5f5;stroke:#8e24aa}
.start,.stop,.mark{fill:#3e4c59;stroke:#3e4c59}.light{fill:#fff}
path{fill:none;stroke:#3e4c59;stroke-width:1.3}.error{stroke:#c62828;stroke-dasharray:5 3}
"""
_HEAD: Final = (
    '<marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    '<path d="M0,0 L8,4 L0,8 z" style="fill:#3e4c59;stroke:none"/></marker>'
)


def svg(document: Workflow) -> str:
    """Return the text of an SVG file."""
    picture = lay_out(outline(document))
    width, height = picture.width + 2 * _MARGIN, picture.height + 2 * _MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="{-_MARGIN} {-_MARGIN} {width:.0f} {height:.0f}">',
            f"<title>{escape(one_line(document.title or document.name))}</title>",
            f"<style>{_STYLE}</style><defs>{_HEAD}</defs>",
            f'<rect x="{-_MARGIN}" y="{-_MARGIN}" width="{width:.0f}" height="{height:.0f}" '
            'style="fill:#fff;stroke:none"/>',
            *_parts(picture),
            "</svg>\n",
        ]
    )


def _parts(picture: Picture) -> list[str]:
    labels = [(each.label, each.edge.label) for each in picture.routes if each.edge.label]
    return [
        *(_box(each) for each in picture.boxes),
        *(_line(each) for each in picture.routes),
        *(_text(x, y, text, "lane") for x, y, text in picture.titles),
        # The halo is an element of its own: not every program that draws SVG knows paint-order.
        *(_text(*at, label, "halo", ' aria-hidden="true"') for at, label in labels),
        *(_text(*at, label, "label") for at, label in labels),
    ]


def _box(placed: Placed) -> str:
    box = placed.box
    kind = "group" if box.lanes else box.kind
    round_ = placed.height / 2 if kind in {"start", "stop", "mark"} else 6
    shape = (
        _hexagon(placed)
        if kind == "switch"
        else f'<rect class="{kind}" x="{placed.x:.1f}" y="{placed.y:.1f}" width="{placed.width:.1f}" '
        f'height="{placed.height:.1f}" rx="{round_:.0f}"/>'
    )
    light = " light" if kind in {"start", "stop", "mark"} else ""
    lines = [_text(placed.middle, placed.y + PAD / 2 + LINE - 2, box.title, f"name{light}")]
    lines += [
        _text(placed.middle, placed.y + PAD / 2 + LINE * (number + 1) - 2, detail, "detail")
        for number, detail in enumerate(box.details, start=1)
    ]
    return shape + "".join(lines)


def _hexagon(placed: Placed) -> str:
    x, y, right, bottom = placed.x, placed.y, placed.x + placed.width, placed.y + placed.height
    cut, middle = 8, placed.y + placed.height / 2
    corners = (
        (x, middle),
        (x + cut, y),
        (right - cut, y),
        (right, middle),
        (right - cut, bottom),
        (x + cut, bottom),
    )
    return f'<polygon class="switch" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in corners)}"/>'


def _line(route: Route) -> str:
    corners = " L".join(f"{x:.1f},{y:.1f}" for x, y in route.corners)
    style = ' class="error"' if route.edge.way == "error" else ""
    return f'<path{style} d="M{corners}" marker-end="url(#arrow)"/>'


def _text(x: float, y: float, text: str, style: str, more: str = "") -> str:
    return f'<text class="{style}"{more} x="{x:.1f}" y="{y:.1f}">{escape(one_line(text))}</text>'
