"""Program output as text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobworkerp_standalone.runners.process import Utf8Pieces, decode, without_final_line_ending


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (b"", b""),
        (b"x", b"x"),
        (b"x\n", b"x"),
        (b"x\r\n", b"x"),
        (b"x\n\n", b"x\n"),
        (b"x\r\n\r\n", b"x\r\n"),
        (b"\n", b""),
        (b"x\r", b"x\r"),
        (b"x\n\r", b"x\n\r"),
        (b"a\n\nb \n", b"a\n\nb "),
    ],
)
def test_one_final_line_ending_is_left_out(written: bytes, kept: bytes) -> None:
    assert without_final_line_ending(written) == kept
    assert without_final_line_ending(bytearray(written)) == kept


def test_text_that_is_not_utf8_comes_with_its_bytes() -> None:
    assert decode("grün".encode()) == ("grün", None)
    assert decode(b"a\xffb") == ("a\ufffdb", b"a\xffb")


def test_a_sequence_split_over_two_reads_is_joined() -> None:
    pieces = Utf8Pieces()
    first, second = "€uro".encode()[:2], "€uro".encode()[2:]
    assert pieces.decode(first) == ("", None)
    assert pieces.decode(second) == ("€uro", None)
    assert pieces.decode(b"", final=True) == ("", None)


def test_a_sequence_that_never_ends_is_replaced_at_the_end() -> None:
    pieces = Utf8Pieces()
    assert pieces.decode(b"a\xe2\x82") == ("a", None)
    assert pieces.decode(b"", final=True) == ("\ufffd", b"\xe2\x82")


def _bytes_near_utf8() -> st.SearchStrategy[bytes]:
    return st.lists(st.one_of(st.text(max_size=4).map(str.encode), st.binary(max_size=3))).map(b"".join)


@given(data=_bytes_near_utf8(), cuts=st.lists(st.integers(0, 64)))
@example(data="𝄞".encode(), cuts=[1, 2, 3])
@example(data=b"\xe2\x82A\xf0\x9d", cuts=[1, 2, 3, 4])
def test_cutting_makes_no_difference(data: bytes, cuts: list[int]) -> None:
    pieces = Utf8Pieces()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    got = [pieces.decode(data[a:b]) for a, b in pairwise(edges)]
    got.append(pieces.decode(b"", final=True))
    assert "".join(text for text, _raw in got) == data.decode(errors="replace")
    assert b"".join(text.encode() if raw is None else raw for text, raw in got) == data
