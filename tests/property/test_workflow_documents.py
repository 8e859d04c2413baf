"""Whatever a document holds, it is either read, and read the same again, or refused with problems."""

from __future__ import annotations

import json
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from jobworkerp_standalone.workflow.graph.mermaid import mermaid
from jobworkerp_standalone.workflow.graph.svg import svg
from jobworkerp_standalone.workflow.load import load_text
from jobworkerp_standalone.workflow.problems import InvalidDocument

names = st.text("abcdeXYZ_- /~\u00e9\u4e16", min_size=1, max_size=6).filter(lambda text: text.strip())
leaves = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="$\ufeff\u2028\u2029\x85\ufffe\uffff"), max_size=8
)
values = st.recursive(
    leaves | texts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
)
durations = st.sampled_from(["PT1S", {"seconds": 2}, {"hours": 1, "milliseconds": 3}, "P1DT0.5S"])
simple = st.one_of(
    st.builds(lambda each: {"set": each}, st.dictionaries(names, values, min_size=1, max_size=3)),
    st.builds(lambda each: {"wait": each}, durations),
    st.builds(
        lambda status: {"raise": {"error": {"type": "https://e.org/x", "status": status}}}, st.integers(100, 599)
    ),
    st.just({"run": {"shell": "ls"}, "if": ".a > 1"}),
    st.just({"call": "http", "with": {"method": "get", "endpoint": "http://example.org/{id}"}}),
    st.builds(lambda case: {"switch": [{case: {"when": ".a", "then": "end"}}]}, names),
)


def lists(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    tasks = st.dictionaries(names, inner, min_size=1, max_size=4)
    return tasks.map(lambda found: [{name: each} for name, each in found.items()])


def composites(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        lists(inner).map(lambda body: {"do": body}),
        lists(inner).map(lambda body: {"for": {"in": ".items"}, "do": body}),
        lists(inner).map(lambda body: {"fork": {"branches": body, "compete": True}}),
        st.tuples(lists(inner), lists(inner)).map(lambda two: {"try": two[0], "catch": {"do": two[1]}}),
    )


tasks = st.recursive(simple, composites, max_leaves=12)
documents = lists(tasks).map(
    lambda body: {"document": {"dsl": "1.0.3", "namespace": "t", "name": "flow", "version": "1.0.0"}, "do": body}
)


@settings(max_examples=40, deadline=None)
@given(documents)
def test_json_and_yaml_give_the_same_document(document: dict[str, Any]) -> None:
    as_json = load_text(json.dumps(document)).document
    as_yaml = load_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False)).document
    assert as_json.definition == document
    assert repr(as_yaml.definition) == repr(document)
    assert [task.name for task in as_yaml.do.tasks] == [task.name for task in as_json.do.tasks]
    assert "\nflowchart TD\n" in mermaid(as_yaml)
    assert svg(as_json) == svg(as_yaml)


@settings(max_examples=50, deadline=None)
@given(documents, st.data())
def test_a_changed_document_is_read_or_refused_with_problems(document: dict[str, Any], data: st.DataObject) -> None:
    changed = json.loads(json.dumps(document))
    for _ in range(data.draw(st.integers(1, 3))):
        _change(changed, data)
    _read_or_refuse(json.dumps(changed))
    _read_or_refuse(yaml.safe_dump(changed, allow_unicode=True))


@settings(max_examples=80, deadline=None)
@given(documents, st.data())
def test_a_damaged_text_is_read_or_refused_with_problems(document: dict[str, Any], data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([json.dumps(document, indent=1), yaml.safe_dump(document)]))
    at = data.draw(st.integers(0, len(text)))
    rest = data.draw(st.integers(0, 6))
    _read_or_refuse(text[:at] + data.draw(st.text(max_size=4)) + text[at + rest :])


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_with_problems(text: str) -> None:
    _read_or_refuse(text)


def _read_or_refuse(text: str) -> None:
    try:
        load_text(text, bare=True)
        return
    except InvalidDocument as error:
        problems = error.problems
    assert problems
    for problem in problems:
        assert problem.message
        assert problem.line >= 0
        assert str(problem)


def _change(value: Any, data: st.DataObject) -> None:
    """Put something else, or another name, at a random place."""
    while isinstance(value, dict | list) and value:
        key = data.draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
        inner = value[key]
        if isinstance(inner, dict | list) and inner and data.draw(st.booleans()):
            value = inner
            continue
        if isinstance(value, dict) and data.draw(st.booleans()):
            value[data.draw(names | st.sampled_from(["do", "set", "then", "call", "run", "with", "catch"]))] = inner
            del value[key]
        else:
            value[key] = data.draw(values)
        return
