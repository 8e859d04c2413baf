"""Pictures of documents."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from jobworkerp_standalone.workflow.graph.layout import lay_out
from jobworkerp_standalone.workflow.graph.mermaid import mermaid
from jobworkerp_standalone.workflow.graph.outline import outline
from jobworkerp_standalone.workflow.graph.svg import svg
from jobworkerp_standalone.workflow.load import load_text

ORDERS = load_text((Path(__file__).parents[3] / "examples" / "workflows" / "orders.yml").read_text()).document
NAMES = ("fetch", "orders", "nothing", "size", "refuse", "each", "price", "pack", "label", "letter", "pause", "tell")


def test_mermaid_shows_every_task_and_only_ways_between_what_is_there() -> None:
    text = mermaid(ORDERS)
    for name in NAMES:
        assert f'"{name}<br/>' in text or f'"{name}: ' in text
    known = set(re.findall(r"^\s*(?:subgraph )?(\w+)[\[({>]", text, re.MULTILINE))
    ways = re.findall(r"^\s*(\w+) -\.?->(?:\|\"[^\"]*\"\|)? (\w+)$", text, re.MULTILINE)
    assert len(ways) > 12
    assert {end for way in ways for end in way} <= known
    assert text.count("subgraph") == len(re.findall(r"^\s*end$", text, re.MULTILINE))
    assert '|"flood: (.orders | length) #gt; $workflow.input.l...' in text or "flood: (.orders" in text


def test_where_a_caught_error_leads_is_a_way() -> None:
    text = "do:\n  - t: {try: [{a: {wait: '${ .x }'}}], catch: {then: c}}\n  - b: {set: {x: 1}}\n  - c: {set: {x: 2}}\n"
    shown = mermaid(load_text(text, bare=True).document)
    (target,) = re.findall(r'(\w+)\["c<br/>set x"\]', shown)
    assert f'-->|"on error"| {target}' in shown
    assert "wait .x" in shown
    assert "errors end here" not in shown


def test_labels_of_ways_are_readable_where_paint_order_is_unknown() -> None:
    """What keeps the line away from a label is drawn before it, and never over it."""
    texts = list(ElementTree.fromstring(svg(ORDERS)).iter("{http://www.w3.org/2000/svg}text"))
    labels = [each for each in texts if each.get("class") == "label"]
    halos = [each for each in texts if each.get("class") == "halo"]
    assert labels
    assert "paint-order" not in svg(ORDERS)
    assert [(each.text, each.get("x"), each.get("y")) for each in halos] == [
        (each.text, each.get("x"), each.get("y")) for each in labels
    ]
    assert texts.index(halos[-1]) < texts.index(labels[0])


def test_svg_is_well_formed_and_shows_every_task() -> None:
    root = ElementTree.fromstring(svg(ORDERS))
    shown = {each.text for each in root.iter("{http://www.w3.org/2000/svg}text")}
    assert shown >= {*NAMES, "collected", "finish", "again", "exit"}


def test_no_two_boxes_overlap_unless_one_holds_the_other() -> None:
    boxes = lay_out(outline(ORDERS)).boxes
    for number, one in enumerate(boxes):
        for two in boxes[number + 1 :]:
            apart = (
                one.x + one.width <= two.x
                or two.x + two.width <= one.x
                or one.y + one.height <= two.y
                or two.y + two.height <= one.y
            )
            inside = one.x <= two.x and one.y <= two.y and two.x + two.width <= one.x + one.width
            assert apart or (inside and two.y + two.height <= one.y + one.height), (one.box.title, two.box.title)


def test_text_of_a_document_cannot_become_markup() -> None:
    document = load_text('do:\n  - \'<b>"x"\': {switch: [{c: {when: ".a < 1", then: end}}]}\n', bare=True).document
    ElementTree.fromstring(svg(document))
    assert "<b>" not in mermaid(document)
