"""One environment for what means the same, however it is written; different ones for what does not."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobworkerp_standalone.jobs.errors import Fatal
from jobworkerp_standalone.runners.python.plan import Plan, Recipe, read_plan, without_credentials
from tests.support.wire_client import build

_NAMES = st.sampled_from(["six", "zope-interface", "a-b-c", "x1", "typing-extensions", "python-dateutil", "p3-2"])
_VERSIONS = st.sampled_from(["1", "1.0", "2.10.3", "0.1rc1", "3.*"])
_SIGNS = st.sampled_from(["==", ">=", "<=", "~=", "!=", ">", "<"])
_MARKERS = st.sampled_from(["", ";python_version>'3.8'", ";sys_platform=='linux'"])
_EXTRAS = st.sampled_from(["", "[socks]", "[a,b]"])


@st.composite
def requirements(draw: st.DrawFn) -> str:
    """Return one requirement in its plainest form."""
    version = draw(st.one_of(st.just(""), st.builds(lambda sign, number: sign + number, _SIGNS, _VERSIONS)))
    return draw(_NAMES) + draw(_EXTRAS) + version + draw(_MARKERS)


def rewritten(requirement: str, chance: random.Random) -> str:
    """Write a requirement in another way that means the same."""
    name = requirement
    for end in "[<>=~!;":
        name = name.partition(end)[0]
    rest = requirement[len(name) :]
    name = "".join(chance.choice("-_.") if letter == "-" else chance.choice(letter + letter.upper()) for letter in name)
    spaces = lambda: " " * chance.randrange(3)  # noqa: E731 - shorter than a function
    for sign in (";", ",", "[", "]"):
        rest = rest.replace(sign, f"{spaces()}{sign}{spaces()}")
    for sign in ("==", ">=", "<=", "~=", "!="):
        rest = rest.replace(sign, f"{spaces()}{sign}{spaces()}")
    return f"{name}{rest}".strip()


def key(*lines: str, python: str = "") -> str:
    return Recipe(python, lines).key


@given(st.lists(requirements(), max_size=5), st.builds(random.Random, st.integers(0, 99_999)))
def test_order_repeats_case_and_spaces_make_no_other_environment(lines: list[str], chance: random.Random) -> None:
    others = [rewritten(line, chance) for line in [*lines, *lines[:2]]]
    chance.shuffle(others)
    assert key(*others) == key(*lines)


@given(st.lists(requirements(), max_size=4), st.lists(requirements(), max_size=4))
def test_other_requirements_make_another_environment(some: list[str], others: list[str]) -> None:
    assert (key(*some) == key(*others)) == (set(some) == set(others))


@given(st.lists(requirements(), max_size=4), st.builds(random.Random, st.integers(0, 99_999)))
def test_a_requirements_file_is_its_lines(lines: list[str], chance: random.Random) -> None:
    comments, ends = ["", "  # why", " # a#b"], ["\n", "\r\n", "\n\n"]
    written = [rewritten(line, chance) + chance.choice(comments) + chance.choice(ends) for line in lines]
    text = "".join(("# what we need\r\n", *written))
    plan = Plan(requirements_url="http://x/r.txt")
    assert plan.recipe(text).key == key(*lines)


def test_what_else_makes_another_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {key("six"), key("six", python="3.11"), key("six", python="3.12"), key("six==1.0"), key("six==1.00")}
    assert len(keys) == 5
    options = key("--index-url http://a", "six", "b")
    assert options != key("six", "b")
    assert options != key("six", "b", "--index-url http://a"), "the order of options counts"
    monkeypatch.setenv("UV_INDEX_STRATEGY", "unsafe-best-match")
    assert key("six") not in keys


def test_a_hash_over_several_lines_is_one_requirement() -> None:
    recipe = Plan().recipe("six==1.17.0 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\nother\n")
    assert len(recipe.requirements) == 2


@pytest.mark.parametrize(
    "line", ["-r more.txt", "-r/x", "-c c.txt", "--requirement=x", "--constraints x", "-e .", "--editable x"]
)
def test_a_file_that_points_to_another_is_refused(line: str) -> None:
    with pytest.raises(Fatal, match=r"line 2 points to another file"):
        Plan(requirements_url="http://x/r.txt").recipe(f"six\n{line}\n")


def test_passwords_are_shown_to_nobody() -> None:
    for shown in ("http://u:p@h/x", "git+https://token@h/x", "a http://u:p@q@h/x and ssh://u@h"):
        hidden = without_credentials(shown)
        assert "***@h" in hidden
        assert ":p" not in hidden
        assert "token" not in hidden
    assert without_credentials("git+https://h/x@v1") == "git+https://h/x@v1"
    with pytest.raises(Fatal) as caught:
        Plan(requirements_url="http://u:p@h/r").recipe("-r http://u:p@h/s")
    assert "u:p" not in str(caught.value)
    assert "u:p" not in Recipe("", ("x @ http://u:p@h/x",)).title


@pytest.mark.parametrize("text", ["a" * 500_000, "a " * 250_000, "://" * 200_000, " " * 500_000 + "x", "-" * 500_000])
def test_no_text_holds_the_daemon(text: str) -> None:
    without_credentials(text)
    assert key(text)
    assert Plan().recipe(f"six\n{text}\n").key


def test_spaces_around_a_version_do_not_count() -> None:
    data = build("jobworkerp.runner.PythonCommandRunnerSettings", python_version=" 3.11 ").SerializeToString()
    assert read_plan(data).python == "3.11"
