"""However a body is cut into pieces, they are the whole of it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobworkerp_standalone.runners.http.body import Pieces, text_codec, whole


@given(st.lists(st.binary(max_size=6)))
@example(["ö".encode()[:1], b"\xff"])
@example(["ö".encode()[:1]])
def test_pieces_lose_nothing(pieces: list[bytes]) -> None:
    decoder = Pieces("utf-8")
    found = [piece for data in pieces if (piece := decoder.next(data))]
    if last := decoder.next(b"", final=True):
        found.append(last)
    data = b"".join(pieces)
    assert b"".join(value if isinstance(value, bytes) else value.encode() for _, value in found) == data
    if whole(data, "utf-8")[0] == "content":
        assert all(field == "content" for field, _ in found)


@given(st.text(), st.sampled_from(["utf-8", "utf-16", "utf-16-le", "shift_jis", "gb18030", "iso8859-1"]), st.data())
def test_text_of_any_charset_comes_out_as_it_was(text: str, codec: str, draw: st.DataObject) -> None:
    try:
        data = text.encode(codec)
        if data.decode(codec) != text:
            return
    except UnicodeError:
        return
    at = draw.draw(st.integers(0, len(data)))
    decoder = Pieces(codec)
    found = [decoder.next(data[:at]), decoder.next(data[at:]), decoder.next(b"", final=True)]
    assert "".join(str(piece[1]) for piece in found if piece) == text


@pytest.mark.parametrize(
    ("content_type", "codec"),
    [
        ("", "utf-8"),
        ("text/html", "utf-8"),
        ('TEXT/html; a=b; Charset="ISO-8859-1"', "iso8859-1"),
        ("application/vnd.api+json", "utf-8"),
        ("application/json; charset=utf-16", "utf-16"),
        ("application/octet-stream", None),
        ("image/png", None),
        ("text/plain; charset=rot13", None),
        ("text/plain; charset=\0", None),
    ],
)
def test_what_counts_as_text(content_type: str, codec: str | None) -> None:
    assert text_codec(content_type) == codec
