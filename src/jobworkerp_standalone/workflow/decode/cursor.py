"""A place in a document, and what can be read there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from jobworkerp_standalone.workflow.decode.mistakes import explanation, of_expression, of_literal
from jobworkerp_standalone.workflow.decode.wording import described, last
from jobworkerp_standalone.workflow.durations import UNITS, milliseconds
from jobworkerp_standalone.workflow.expressions.errors import ExpressionSyntaxError
from jobworkerp_standalone.workflow.expressions.places import Place, enclosed
from jobworkerp_standalone.workflow.expressions.template import Leaf, Template, compile_template
from jobworkerp_standalone.workflow.model.values import Duration, Origin
from jobworkerp_standalone.workflow.nodes import Mark, Node
from jobworkerp_standalone.workflow.pointers import escaped, unescaped
from jobworkerp_standalone.workflow.problems import Problem, did_you_mean

T = TypeVar("T")
Word = TypeVar("Word")


@dataclass(slots=True)
class Notes:
    """What is noted while one document is read."""

    lines: list[str]
    problems: list[Problem] = field(default_factory=list[Problem])
    warnings: list[Problem] = field(default_factory=list[Problem])
    leaves: list[tuple[Leaf, At]] = field(default_factory=list["tuple[Leaf, At]"])
    """Expressions, and where they are."""
    told: set[tuple[str, str]] = field(default_factory=set["tuple[str, str]"])
    """Places, and what was said of them already."""
    documents: list[At] = field(default_factory=list["At"])
    """Documents of children, as texts or objects."""
    files: list[At] = field(default_factory=list["At"])
    """Names of documents of children, as texts."""
    may_wait: bool = False
    """Whether some directive is ``wait``, or comes from an expression."""
    loose: bool = False
    """Whether ordinary texts may be expressions too."""

    def note(
        self, mark: Mark, pointer: str, message: str, suggestion: str | None = None, *, warning: bool = False
    ) -> None:
        """Add one."""
        text = self.lines[mark.line - 1] if 0 < mark.line <= len(self.lines) else ""
        found = self.warnings if warning else self.problems
        if (pointer, message) in self.told:
            return
        self.told.add((pointer, message))
        found.append(Problem(mark.line, mark.column, pointer, message, suggestion, text))


class At:
    """A value and where it is."""

    __slots__ = ("key", "node", "notes", "pointer")

    def __init__(self, node: Node, pointer: str, notes: Notes, key: Mark | None = None) -> None:
        self.node = node
        self.pointer = pointer
        self.notes = notes
        self.key = node.mark if key is None else key
        """Where its key is, if it is a member of an object."""

    @property
    def value(self) -> Any:
        """Return what is here, as JSON has it."""
        return self.node.plain

    @property
    def origin(self) -> Origin:
        """Return where this is, for the model: where its name is."""
        return Origin(self.pointer, self.key.line, self.key.column)

    @property
    def is_object(self) -> bool:
        """Tell whether this is an object."""
        return self.node.members is not None

    @property
    def is_array(self) -> bool:
        """Tell whether this is an array."""
        return self.node.items is not None

    @property
    def is_expression(self) -> bool:
        """Tell whether this is text in ``${...}`` or ``$${...}``."""
        return isinstance(self.value, str) and enclosed(self.value) is not None

    def wrong(self, message: str, suggestion: str | None = None) -> None:
        """Note a problem with this value."""
        self.notes.note(self.node.mark, self.pointer, message, suggestion)

    def misnamed(self, message: str, suggestion: str | None = None) -> None:
        """Note a problem with the name of this value."""
        self.notes.note(self.key, self.pointer, message, suggestion)

    def warn(self, message: str, suggestion: str | None = None) -> None:
        """Note a warning about this value."""
        self.notes.note(self.key, self.pointer, message, suggestion, warning=True)

    def find(self, path: str) -> At:
        """Return the place at a relative JSON pointer, or the nearest around it."""
        at = self
        for part in path.split("/")[1:]:
            key = unescaped(part)
            inner = mark = None
            if at.node.members is not None:
                inner, mark = at.node.members.get(key), at.node.keys.get(key)
            elif at.node.items is not None and key.isdecimal() and int(key) < len(at.node.items):
                inner = at.node.items[int(key)]
            if inner is None:
                return at
            at = At(inner, f"{at.pointer}/{part}", self.notes, mark)
        return at

    def must_be(self, wanted: str, suggestion: str | None = None) -> None:
        """Note that this is of another type."""
        self.wrong(f"{last(self.pointer)} must be {wanted}, not {described(self.value)}", suggestion)

    def string(self, *, empty: bool = False) -> str:
        """Return text."""
        if not isinstance(self.value, str):
            hint = "put it in quotes" if isinstance(self.value, int | float) else None
            self.wrong(f"{last(self.pointer)} must be text, not {described(self.value)}", hint)
            return ""
        if not empty and not self.value.strip():
            self.wrong(f"{last(self.pointer)} is empty")
        return self.value

    def boolean(self) -> bool:
        """Return true or false."""
        if not isinstance(self.value, bool):
            self.must_be("true or false")
            return False
        return self.value

    def integer(self, lowest: int = 0, highest: int = 2**53) -> int:
        """Return a whole number within bounds."""
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            self.must_be("a whole number")
            return lowest
        if not lowest <= self.value <= highest:
            self.wrong(f"{last(self.pointer)} must be between {lowest} and {highest}, not {self.value}")
        return self.value

    def word(self, known: Mapping[str, Word], choices: Collection[str] = ()) -> Word:
        """Return one of some words, whatever its case.

        Args:
            known: the words in lower case, and what they mean.
            choices: what to offer where it is none of them; empty is what the words mean.
        """
        some = next(iter(known.values()))
        offered = ", ".join(choices or map(str, dict.fromkeys(known.values())))
        if not isinstance(self.value, str):
            self.must_be(f"one of {offered}")
            return some
        found = known.get(self.value.strip().lower())
        if found is None:
            self.wrong(
                f"{last(self.pointer)} must be one of {offered}, not '{self.value}'", did_you_mean(self.value, known)
            )
            return some
        return found

    def template(self, place: Place = Place.TEXT) -> Template:
        """Return a value with its expressions compiled."""
        if place is Place.TEXT and self.notes.loose:
            place = Place.LOOSE
        try:
            found = compile_template(self.value, place)
        except ExpressionSyntaxError as error:
            inner = self.find(error.path)
            where = f" (line {error.line} of the text)" if error.line and error.line > 1 else ""
            inner.wrong(f"the expression is wrong{where}: {error.reason}", explanation(error))
            return compile_template(None, Place.TEXT)
        for leaf in found.leaves:
            for message, remedy in of_expression(leaf.text, leaf.program, place):
                self.find(leaf.path).warn(message, remedy)
        if place is not Place.LOOSE:
            self._warn_of_literals({leaf.path for leaf in found.leaves}, "")
        self.notes.leaves += [(leaf, self.find(leaf.path)) for leaf in found.leaves]
        return found

    def _warn_of_literals(self, expressions: Collection[str], path: str) -> None:
        """Warn of texts that look as if they were expressions."""
        if isinstance(self.value, str):
            if path not in expressions and (remark := of_literal(self.value)) is not None:
                self.warn(*remark)
            return
        for key, inner in self.members() if self.is_object else enumerate(self.items()) if self.is_array else ():
            if isinstance(key, str) and enclosed(key) is not None:
                inner.warn("names of members are no expressions", "build the object in one: ${ {(.name): .value} }")
            inner._warn_of_literals(expressions, f"{path}/{escaped(str(key))}")

    def text_template(self, place: Place = Place.TEXT) -> Template:
        """Return a template of text: literal, or an expression."""
        if not isinstance(self.value, str):
            self.must_be("text")
        elif not self.value.strip():
            self.wrong(f"{last(self.pointer)} is empty")
        return self.template(place)

    def condition(self) -> Template:
        """Return the template of a condition; true and false may stand without quotes."""
        if isinstance(self.value, bool):
            return compile_template("true" if self.value else "false", Place.CONDITION)
        return self.text_template(Place.CONDITION)

    def object_template(self) -> Template:
        """Return a template that gives an object."""
        if not (self.is_object or self.is_expression):
            self.must_be("an object or an expression in ${...}")
        return self.template()

    def transform(self) -> Template:
        """Return the template of ``from`` or ``as``."""
        if not (isinstance(self.value, str) or self.is_object):
            self.must_be("an expression or an object")
        # In loose mode texts among data are expressions as everywhere else.
        return self.template(Place.TEXT if self.notes.loose and self.is_object else Place.TRANSFORM)

    def duration(self) -> Duration:
        """Return a duration, or the template of one."""
        return self.template() if self.is_expression else self.milliseconds()

    def milliseconds(self) -> int:
        """Return a duration where nothing could be evaluated."""
        if self.is_expression:
            self.wrong(f"{last(self.pointer)} cannot be an expression", "write a duration such as PT5S")
            return 0
        if not (isinstance(self.value, str) or self.is_object):
            self.must_be("a duration: an object such as {seconds: 5}, or ISO 8601 text such as PT5S")
            return 0
        if self.is_object:
            before = len(self.notes.problems)
            self.fields(tuple(UNITS))
            if len(self.notes.problems) > before:
                return 0
        try:
            return milliseconds(self.value)
        except ValueError as error:
            self.wrong(str(error), "write PT5S, or {seconds: 5}" if isinstance(self.value, str) else None)
            return 0

    def items(self, *, least: int = 0) -> list[At]:
        """Return the items of an array."""
        if self.node.items is None:
            self.must_be("an array", "begin each item with '- '" if self.is_object else None)
            return []
        if len(self.node.items) < least:
            self.wrong(f"{last(self.pointer)} is empty: it needs at least {least} item{'s' if least > 1 else ''}")
        return [At(item, f"{self.pointer}/{n}", self.notes) for n, item in enumerate(self.node.items)]

    def members(self) -> Iterator[tuple[str, At]]:
        """Yield the members of an object, whatever their names."""
        if self.node.members is None:
            self.must_be("an object")
            return
        for key, node in self.node.members.items():
            yield key, At(node, f"{self.pointer}/{escaped(key)}", self.notes, self.node.keys.get(key))

    def single(self, what: str, inside: Collection[str] = ()) -> tuple[str, At] | None:
        """Return the one member of an object, as lists of named things have them.

        Args:
            what: what is named.
            inside: members that it may have itself: with too little indentation they stand beside its name.
        """
        members = list(self.members())
        if self.node.members is None:
            return None
        if len(members) != 1:
            if members and self._is_outdented(inside):
                (name, _), *others = members
                beside = ", ".join(f"'{key}'" for key, _ in others)
                self.wrong(f"'{name}' has nothing in it: {beside} is beside it", f"indent {beside} below '{name}'")
                return None
            names = ", ".join(f"'{key}'" for key, _ in members)
            found = f"this one has {len(members)}: {names}" if members else "this one is empty"
            self.wrong(f"an item must have one key, the name of its {what}; {found}", "begin each name with '- '")
            return None
        return members[0]

    def _is_outdented(self, inside: Collection[str]) -> bool:
        (_, first), *others = self.members()
        return first.value is None and bool(others) and all(key in inside for key, _ in others)

    def fields(
        self, known: Collection[str], required: Collection[str] = (), *, hints: Mapping[str, str] | None = None
    ) -> Fields:
        """Return an object whose members are known.

        Args:
            known: names that are allowed beside the required ones.
            required: names that must be there.
            hints: what to say about names that are often meant for another place.
        """
        if self.node.members is None:
            self.must_be("an object")
            return Fields(self, {})
        names = {*known, *required}
        for key in self.node.members:
            if key not in names:
                self.unknown_key(key, names, (hints or {}).get(key))
        for key in required:
            if key not in self.node.members:
                self.lacks(key, names)
        return Fields(self, {key: at for key, at in self.members() if key in names})

    def lacks(self, key: str, known: Collection[str]) -> None:
        """Note that a member is missing, which may be there by another name."""
        other = next((each for each, _ in self.members() if each not in known and did_you_mean(each, (key,))), None)
        self.wrong(f"{last(self.pointer)} lacks '{key}'", f"rename '{other}' to it" if other else f"add '{key}'")

    def unknown_key(self, key: str, known: Collection[str], hint: str | None = None, *, warning: bool = False) -> None:
        """Note a key that means nothing here."""
        close = hint or did_you_mean(key, known) or (f"known here: {', '.join(sorted(known))}" if known else None)
        mark = self.node.keys.get(key, Mark())
        self.notes.note(mark, f"{self.pointer}/{escaped(key)}", f"unknown key '{key}'", close, warning=warning)


class Fields:
    """Members of an object."""

    def __init__(self, at: At, members: Mapping[str, At]) -> None:
        self.at = at
        self._members = members

    def __contains__(self, key: str) -> bool:
        return key in self._members

    @property
    def names(self) -> list[str]:
        """Return the names that are there."""
        return list(self._members)

    def of(self, key: str) -> At | None:
        """Return a member."""
        return self._members.get(key)

    @overload
    def get(self, key: str, read: Callable[[At], T]) -> T | None: ...
    @overload
    def get(self, key: str, read: Callable[[At], T], default: T) -> T: ...
    def get(self, key: str, read: Callable[[At], Any], default: Any = None) -> Any:
        """Return a member as ``read`` reads it, or the default where it is not there."""
        found = self._members.get(key)
        return default if found is None else read(found)

    def need(self, key: str, read: Callable[[At], T]) -> T:
        """Return a member that is required; that it is missing was noted."""
        return read(self._members.get(key) or At(Node(None, Mark()), "", Notes([])))

    def word(self, key: str, known: Mapping[str, Word], default: Word) -> Word:
        """Return a member that is one of some words, or the default."""
        found = self._members.get(key)
        return default if found is None else found.word(known)

    def one_of(self, keys: Collection[str], what: str) -> str | None:
        """Return which one of several keys is there; anything but one is noted."""
        found = [key for key in keys if key in self]
        if len(found) == 1:
            return found[0]
        if found:
            names = " and ".join(f"'{key}'" for key in found)
            self.at.wrong(f"{what} has {names}: give one of them only")
        elif self.at.node.members is not None:
            self.at.wrong(f"{what} needs one of {', '.join(keys)}")
        return None
