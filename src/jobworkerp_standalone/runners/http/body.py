"""The body of an answer: text where it is text, bytes where it is not."""

from __future__ import annotations

import codecs
import re
from typing import Final, Literal

from jobworkerp_standalone.net.charsets import codec_of

Field = Literal["content", "chunk"]
Piece = tuple[Field, str | bytes]
"""The field of ``HttpResponseResult`` and what it holds."""
_TEXT: Final = re.compile(
    r"text/.*|application/(.*\+)?(json|xml|yaml|x-yaml|json5|jsonl|ndjson|x-ndjson|json-seq|xml-dtd|toml|javascript|x-javascript"
    r"|ecmascript|graphql|sql|x-sh|x-www-form-urlencoded|problem\+json)|image/svg\+xml|message/.*"
)
_CHARSET: Final = re.compile(r""";\s*charset\s*=\s*(?:"([^"]*)"|([^\s;"]+))""", re.IGNORECASE)


def text_codec(content_type: str) -> str | None:
    """Return the codec of a text by its content type; None: it is not text. Without a type, it may be."""
    named, _, parameters = content_type.partition(";")
    if named.strip() and not _TEXT.fullmatch(named.strip().lower()):
        return None
    charset = _CHARSET.search(f";{parameters}")
    return codec_of(charset[1] or charset[2]) if charset else "utf-8"


def whole(data: bytes, codec: str | None) -> Piece:
    """Return a whole body: text if all of it is."""
    if codec is not None:
        try:
            return "content", data.decode(codec)
        except UnicodeDecodeError:
            pass
    return "chunk", data


class Pieces:
    """A body as it arrives. Characters split over two pieces are joined.

    From the first bytes on that are no text the rest comes as bytes; nothing is lost in between.
    """

    def __init__(self, codec: str | None) -> None:
        self._decoder = codecs.getincrementaldecoder(codec)() if codec is not None else None
        self._held = b""
        """Bytes the decoder took and has not given back as text."""

    def next(self, data: bytes, *, final: bool = False) -> Piece | None:
        """Take the next bytes; return what can be handed on."""
        if self._decoder is None:
            return ("chunk", data) if data else None
        before = self._held
        try:
            text = self._decoder.decode(data, final)
        except UnicodeDecodeError:
            self._decoder = None
            return "chunk", before + data
        self._held = self._decoder.getstate()[0]
        return ("content", text) if text else None
