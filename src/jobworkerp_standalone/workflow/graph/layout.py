"""Where the boxes of an outline go: lanes side by side, boxes one below the other, groups around what they hold.

Jumps run in tracks to the right of a lane, each in a track of its own where they overlap. Sizes are in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from jobworkerp_standalone.workflow.graph.outline import Box, Edge, Lane

LINE: Final = 16
CHARACTER: Final = 7.3
"""Width of a character of the font that is asked for, on the safe side."""
PAD: Final = 10
GAP: Final = 34
SIDE: Final = 24
TRACK: Final = 18
_LEAST: Final = 90


@dataclass(slots=True)
class Placed:
    """A box with its place; ``x`` and ``y`` are its upper left corner."""

    box: Box
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """Return the x of its middle."""
        return self.x + self.width / 2


@dataclass(slots=True)
class Route:
    """A way, as corners, and where its label stands."""

    edge: Edge
    corners: list[tuple[float, float]]
    label: tuple[float, float]


@dataclass(slots=True)
class Picture:
    """Everything that is drawn, groups before what they hold."""

    boxes: list[Placed] = field(default_factory=list[Placed])
    titles: list[tuple[float, float, str]] = field(default_factory=list[tuple[float, float, str]])
    routes: list[Route] = field(default_factory=list[Route])
    width: float = 0
    height: float = 0

    def shifted(self, x: float, y: float) -> Picture:
        """Return it at another place."""
        return Picture(
            [Placed(each.box, each.x + x, each.y + y, each.width, each.height) for each in self.boxes],
            [(left + x, top + y, text) for left, top, text in self.titles],
            [
                Route(each.edge, [(a + x, b + y) for a, b in each.corners], (each.label[0] + x, each.label[1] + y))
                for each in self.routes
            ],
            self.width,
            self.height,
        )

    def take(self, other: Picture) -> None:
        """Add what another one shows."""
        self.boxes += other.boxes
        self.titles += other.titles
        self.routes += other.routes


def lay_out(lane: Lane) -> Picture:
    """Return the picture of a lane: its boxes centred below each other."""
    inner = [_box(box) for box in lane.boxes]
    widest = max((each.width for each in inner), default=_LEAST)
    picture = Picture()
    top = 0.0
    if lane.title:
        picture.titles.append((widest / 2, LINE - 4, lane.title))
        top = LINE + 6.0
    places: dict[str, Placed] = {}
    right = widest
    for box, drawn in zip(lane.boxes, inner, strict=True):
        moved = drawn.shifted((widest - drawn.width) / 2, top)
        picture.take(moved)
        place = places[box.id] = moved.boxes[0]
        right = max(right, _marks(lane, place, picture, places, widest))
        top += drawn.height + GAP + _extra(lane, box)
    bottom = max(top - GAP, LINE)
    picture.width = _routes(lane, places, right, picture)
    picture.height = bottom
    return picture


def _extra(lane: Lane, box: Box) -> float:
    """Return the room that labels of ways below a box need."""
    labels = sum(1 for edge in lane.edges if edge.source == box.id and edge.label and edge.way == "flow")
    return LINE * 0.5 if labels else 0.0


def _text_width(text: str) -> float:
    return len(text) * CHARACTER


def _box(box: Box) -> Picture:
    lines = [box.title, *box.details]
    width = max(_LEAST, *(_text_width(line) + 2 * PAD for line in lines))
    height = len(lines) * LINE + PAD * 1.5
    picture = Picture([Placed(box, 0, 0, width, height)], width=width, height=height)
    if not box.lanes:
        return picture
    lanes = [lay_out(lane) for lane in box.lanes]
    between = SIDE + max((_text_width(edge.label) for edge in box.edges), default=0)
    inner = sum(each.width for each in lanes) + between * (len(lanes) - 1)
    width = max(width, inner + 2 * SIDE)
    left = (width - inner) / 2
    tallest = max(each.height for each in lanes)
    for each in lanes:
        picture.take(each.shifted(left, height + PAD))
        left += each.width + between
    picture.width, picture.height = width, height + tallest + 2 * PAD + 6
    picture.boxes[0].width, picture.boxes[0].height = picture.width, picture.height
    places = {each.box.id: each for each in picture.boxes}
    for edge in box.edges:
        source, target = places[edge.source], places[edge.target]
        y, x = source.y + source.height / 2, source.x + source.width
        picture.routes.append(_across(edge, (x, y), target))
    return picture


def _across(edge: Edge, start: tuple[float, float], target: Placed) -> Route:
    """Return a way from the right of one lane to the left of the next."""
    x, y = start
    turn = target.x - SIDE / 2
    end = target.y + min(target.height, 2 * LINE) / 2
    return Route(edge, [(x, y), (turn, y), (turn, end), (target.x, end)], ((x + turn) / 2, y - 4))


def _marks(lane: Lane, place: Placed, picture: Picture, places: dict[str, Placed], widest: float) -> float:
    """Put the ends of ways beside their box; returns how far to the right they reach."""
    top = place.y
    right = 0.0
    for mark in lane.marks.get(place.box.id, []):
        label = max((_text_width(edge.label) for edge in lane.edges if edge.target == mark.id), default=0)
        left = max(place.x + place.width, widest if place.box.lanes else 0) + SIDE + label + PAD
        width = _text_width(mark.title) + 2 * PAD
        places[mark.id] = Placed(mark, left, top, width, LINE + PAD)
        picture.boxes.append(places[mark.id])
        right = max(right, left + width)
        top += LINE + PAD + 6
    return right


def _routes(lane: Lane, places: dict[str, Placed], right: float, picture: Picture) -> float:
    """Draw the ways of a lane; returns its width."""
    tracks: list[list[tuple[float, float]]] = []
    reach = right
    down: dict[str, int] = {}
    for edge in lane.edges:
        if edge.target not in places or edge.source not in places:
            continue
        source, target = places[edge.source], places[edge.target]
        if edge.way == "jump":
            route, far = _jump(edge, source, target, right, tracks)
            reach = max(reach, far)
        elif target.box.kind == "mark":
            y = target.y + target.height / 2
            start = source.x + source.width
            route = Route(edge, [(start, y), (target.x, y)], ((start + target.x) / 2, y - 4))
        else:
            seen = down[edge.source] = down.get(edge.source, -1) + 1
            route = _down(edge, source, target, seen)
            reach = max(reach, route.label[0] + _text_width(edge.label) / 2)
        picture.routes.append(route)
    return reach


def _down(edge: Edge, source: Placed, target: Placed, seen: int) -> Route:
    """Return a way straight down; further ones between the same boxes run beside it."""
    x = source.middle + seen * (2 * SIDE)
    x = min(x, source.x + source.width - 4, target.x + target.width - 4)
    start, end = source.y + source.height, target.y
    y = start + (end - start) * (0.4 if not seen else 0.75)
    return Route(edge, [(x, start), (x, end)], (x + 8 + _text_width(edge.label) / 2, y))


def _jump(
    edge: Edge, source: Placed, target: Placed, right: float, tracks: list[list[tuple[float, float]]]
) -> tuple[Route, float]:
    """Return a way along the first free track, and how far to the right it reaches."""
    out = source.y + source.height * 0.7
    into = target.y + min(target.height * 0.3, LINE)
    low, high = min(out, into), max(out, into)
    number = next(
        (n for n, taken in enumerate(tracks) if all(high < a - LINE or low > b + LINE for a, b in taken)), len(tracks)
    )
    if number == len(tracks):
        tracks.append([])
    tracks[number].append((low, high))
    label = _text_width(edge.label)
    x = right + SIDE + number * TRACK
    start, end = source.x + source.width, target.x + target.width
    place = (x + 6 + label / 2, (low + high) / 2 + number * LINE)
    return Route(edge, [(start, out), (x, out), (x, into), (end, into)], place), x + 12 + label
