"""What is often meant otherwise in expressions: why one does not compile, and what is odd about one that does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from jobworkerp_standalone.workflow.expressions.errors import ExpressionSyntaxError
from jobworkerp_standalone.workflow.expressions.jq_program import JqProgram
from jobworkerp_standalone.workflow.expressions.jq_tokens import Kind, tokens_of
from jobworkerp_standalone.workflow.expressions.liquid_program import LiquidProgram
from jobworkerp_standalone.workflow.expressions.places import Language, Place, enclosed, is_clearly_jq
from jobworkerp_standalone.workflow.expressions.template import Program, compile_template

Remark = tuple[str, str]
"""What is odd, and what to do."""
PART: Final = "'${' in the middle of a text is no expression"
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_UNDEFINED: Final = re.compile(r"(\w+)/(\d+) is not defined")
_IN_PART: Final = re.compile(
    r"\$\{\s*(?:\.[A-Za-z_\[\"]|\$(?:input|context|workflow|task|runtime|item|index)\b)|\$\$\{"
)
_ENGINE_PATH: Final = re.compile(r"\s*\$(?:input|context|workflow|task|runtime)(?:\.[A-Za-z_]\w*)+\s*\Z")
_PATH: Final = re.compile(r"\s*(?:\.[A-Za-z_]\w*)*\.([A-Za-z_]\w*)\s*\Z")
_CALCULATION: Final = re.compile(
    r"\s*(?:\.[A-Za-z_\[\"]|\$[A-Za-z_]|\. ).*\s(?:[=!<>]=|[-<>+*/|]|//|and|or)\s", re.DOTALL
)
_NUMBERS: Final = frozenset({"now", "infinite", "nan"})
"""Words from which it makes sense to take something away, or that are taken away."""
_IF: Final = "jq writes it as: if .a then .b else .c end"
_SIGNS: Final = (
    (r"\{\{|\{%", "this looks like Liquid, which stands in $${...}"),
    (r"\}.*\$\{", 'make one expression of several, as ${ "\\(.a) and \\(.b)" }'),
    (r"&&", "jq writes it as: and"),
    (r"\|\|", "jq writes it as: or"),
    (r"['`]", 'a text stands in double quotes: "text"'),
    (r"[=!]==", "jq compares with == and !="),
    (r"!(?!=)", "jq writes it as: (.a | not)"),
    (r"\bnot\s*\(", "jq writes it as: (.a | not)"),
    (r"\?\?", "jq writes it as: .a // .b"),
    (r"\$\.", "a member of the input is .name, without $"),
    (r"\s\?\s.*\s:\s", _IF),
    (r"\bif\b(?!.*\bthen\b)", _IF),
    (r"\.\w+\(", 'jq has no methods: write .a | length, or .a | contains("b")'),
    (r"\.\w+\.\d", "an item of an array is .items[0]"),
    (r"\.[A-Za-z_]\w*-[A-Za-z_]", 'a name with a dash stands in quotes: ."a-b"'),
    (r"\$[A-Za-z_]\w*-[A-Za-z_]", "names of variables have no dashes"),
)  # fmt: skip
_LONGEST: Final = 1_000
"""Characters of an expression that is looked at: signs are searched from each place to the end of the text."""
_OTHER_NAMES: Final = {"len": "length", "size": "length", "upper": "ascii_upcase", "lower": "ascii_downcase"}


def explanation(error: ExpressionSyntaxError) -> str | None:
    """Return what was probably meant by an expression that does not compile."""
    if len(error.text) > _LONGEST:
        return None
    body = enclosed(error.text)
    text = body.text if body is not None else error.text
    if body is not None and body.language is Language.LIQUID:
        dotted = re.search(r"\{[{%][^}]*?(?<![\w\])\"'])[.$][A-Za-z_]", text)
        return "names stand in Liquid without a dot or $: {{ name }}" if dotted else None
    bare = _STRING.sub('""', text)
    for sign, meant in _SIGNS:
        if re.search(sign, bare, re.DOTALL):
            return meant
    undefined = _UNDEFINED.search(error.reason)
    if undefined is None:
        return None
    name = undefined[1]
    if name in _OTHER_NAMES:
        return f"jq has {_OTHER_NAMES[name]}"
    return f'a member of the input is .{name}, a variable ${name}, a text "{name}"' if undefined[2] == "0" else None


def of_expression(text: str, program: Program, place: Place) -> Iterator[Remark]:
    """Yield what is odd about an expression that compiles."""
    if isinstance(program, LiquidProgram):
        if is_clearly_jq(program.body) and "{{" not in program.body and "{%" not in program.body:
            yield "this begins as jq does, but $${...} is Liquid", "write ${...}"
    elif isinstance(program, JqProgram):
        body = enclosed(text)
        yield from _of_jq(body.text if body is not None else text, place)


def _of_jq(body: str, place: Place) -> Iterator[Remark]:
    tokens = tokens_of(body)
    if place is Place.CONDITION and any(each.kind is Kind.SYMBOL and each.text == "=" for each in tokens):
        yield "'=' sets a member, and is nearly always true", "compare with =="
    for first, second in pairwise(tokens):
        if first.kind is Kind.NAME and first.text == "not" and second.kind is Kind.FIELD:
            yield f"this is the member '{second.text[1:]}' of what 'not' gives", f"write ({second.text} | not)"
    for first, sign, last in zip(tokens, tokens[1:], tokens[2:], strict=False):
        dashed = first.kind is Kind.FIELD and sign.text == "-" and last.kind is Kind.NAME
        if dashed and first.end == sign.start and sign.end == last.start and last.text not in _NUMBERS:
            yield (
                f"this takes what jq calls {last.text} from {first.text}",
                f'write ."{first.text[1:]}-{last.text}" if it is one name, else put blanks around the -',
            )


def of_member(key: str, text: str) -> Remark | None:
    """Return what is odd about a text that stands by itself in ``set``: a member of the input, or a calculation."""
    path = _PATH.match(text)
    if (path is None or path[1] != key) and not (_CALCULATION.match(text) and _compiles(text)):
        return None
    return f"{text.strip()} is a text here", f"write ${{ {text.strip()} }}"


def _compiles(text: str) -> bool:
    try:
        compile_template(text, Place.CONDITION)
    except ExpressionSyntaxError:
        return False
    return True


def of_literal(text: str) -> Remark | None:
    """Return what is odd about a text that stands where expressions may, and is none."""
    if _ENGINE_PATH.match(text):
        return f"{text.strip()} is a text here", f"write ${{ {text.strip()} }}"
    if _IN_PART.search(text) is None:
        return None
    if text.lstrip().startswith(("${", "$${")) and not text.rstrip().endswith("}"):
        return "the expression is not closed, so it is a text", "add the } at its end"
    return PART, 'make the whole text one, as ${ "hello \\(.name)" }'
