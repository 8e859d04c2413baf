"""Server-sent events, in whatever pieces they arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from jobworkerp_standalone.net.events import event_data

STREAM = (
    b"\xef\xbb\xbfdata: first\r\n\r\n: a comment\nevent: x\nid: 1\n\ndata:second\ndata: line\n\n"
    b"data\r\rdata:  \xe2\x80\xa8 third\n\n\ndatas: none\n\nretry: 1\ndata: last"
)
EVENTS = [b"first", b"second\nline", b"", b" \xe2\x80\xa8 third", b"last"]


async def taken(*pieces: bytes) -> list[bytes]:
    async def arriving() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return [data async for data in event_data(arriving())]


async def test_events_are_taken_apart() -> None:
    assert await taken(STREAM) == EVENTS


async def test_where_a_stream_is_cut_does_not_matter() -> None:
    assert await taken(*(bytes([each]) for each in STREAM)) == EVENTS
    for at in range(len(STREAM)):
        assert await taken(STREAM[:at], b"", STREAM[at:]) == EVENTS, at


@pytest.mark.parametrize("stream", [b"", b"\n\n", b": beat\n\n: beat\n\n"])
async def test_a_stream_without_data_has_no_events(stream: bytes) -> None:
    assert await taken(stream) == []


async def test_an_event_is_there_with_its_blank_line() -> None:
    async def arriving() -> AsyncIterator[bytes]:
        yield b"data: now\r\n\r"
        raise AssertionError("nothing more is read for it")

    assert await anext(event_data(arriving())) == b"now"
