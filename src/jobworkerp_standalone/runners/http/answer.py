"""The messages an answer is told in, and what folds a stream of them into one."""

from __future__ import annotations

from typing import Any, Final

import httpx

from jobworkerp_standalone.runners.http.body import Piece, text_codec
from jobworkerp_standalone.schema.messages import message_class

_RESULT: Final[Any] = message_class("jobworkerp.runner.HttpResponseResult")


def codec_of_answer(response: httpx.Response) -> str | None:
    """Return the codec of its text; None: its body is not text."""
    return text_codec(response.headers.get("content-type", ""))


def head(response: httpx.Response) -> bytes:
    """Return status and headers as a result."""
    return _head(response).SerializeToString()


def full(response: httpx.Response, body: Piece) -> bytes:
    """Return the whole answer as a result."""
    result = _head(response)
    setattr(result, *body)
    return result.SerializeToString()


def piece(body: Piece) -> bytes:
    """Return a piece of the body as a result."""
    return _RESULT(**dict((body,))).SerializeToString()


class AnswerCollector:
    """Puts the items of a stream together: the result is what a run without streaming returns."""

    def __init__(self) -> None:
        self._result = _RESULT()
        self._pieces: list[Piece] = []

    def add(self, item: bytes) -> None:
        """Take the next item."""
        message = _RESULT.FromString(item)
        field = message.WhichOneof("response_data")
        if field:
            self._pieces.append((field, getattr(message, field)))
        if message.status_code:
            self._result.status_code = message.status_code
        if message.headers:
            del self._result.headers[:]
            self._result.headers.extend(message.headers)

    def result(self) -> bytes:
        """Return all of it as one ``HttpResponseResult``."""
        codec = self._codec()
        if codec is not None and all(field == "content" for field, _ in self._pieces):
            self._result.content = "".join(str(value) for _, value in self._pieces)
        else:
            self._result.chunk = b"".join(
                value if isinstance(value, bytes) else value.encode(codec or "utf-8") for _, value in self._pieces
            )
        return self._result.SerializeToString()

    def _codec(self) -> str | None:
        types = [each.value for each in self._result.headers if each.key == "content-type"]
        return text_codec(types[0] if types else "")


def _head(response: httpx.Response) -> Any:
    headers = [{"key": _text(name).lower(), "value": _text(value)} for name, value in response.headers.raw]
    return _RESULT(status_code=response.status_code, headers=headers)


def _text(raw: bytes) -> str:
    """Return a header as text: UTF-8, else Latin-1, which has every byte."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
