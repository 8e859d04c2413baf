from __future__ import annotations

import asyncio

import pytest

from jobworkerp_standalone.jobs.errors import InvalidRequest
from jobworkerp_standalone.rpc.inbox import Inbox


class Sender:
    """Counts the room it is given."""

    def __init__(self) -> None:
        self.room = 0
        self.inbox = Inbox(self.take)

    def take(self, size: int) -> None:
        self.room += size


async def test_reads_over_the_borders_of_frames() -> None:
    inbox = Sender().inbox
    for part in (b"ab", b"c", b"defg"):
        inbox.add(part, len(part))
    assert [await inbox.read(3), await inbox.read(0), await inbox.read(4)] == [b"abc", b"", b"defg"]
    inbox.eof()
    assert not await inbox.more()


async def test_waits_for_what_is_missing() -> None:
    inbox = Sender().inbox
    reading = asyncio.ensure_future(inbox.read(3))
    await asyncio.sleep(0)
    inbox.add(b"ab", 2)
    await asyncio.sleep(0)
    assert not reading.done()
    inbox.add(b"cd", 2)
    assert await reading == b"abc"
    assert await inbox.more()


async def test_end_in_the_middle() -> None:
    inbox = Sender().inbox
    inbox.add(b"ab", 2)
    inbox.eof()
    with pytest.raises(InvalidRequest, match="cut short: 3 more bytes expected, 2 came"):
        await inbox.read(3)


async def test_nobody_reads_nobody_gets_room() -> None:
    sender = Sender()
    for _ in range(100):
        sender.inbox.add(bytes(10_000), 10_000)
    await sender.inbox.read(5)
    assert sender.room == 0
    await sender.inbox.read(200_000)
    assert sender.room == 200_005
    assert sender.inbox.unacked_size() == 1_000_000 - 200_005
    assert sender.inbox.unacked_size() == 0


async def test_a_waiting_reader_gives_all_room_back() -> None:
    sender = Sender()
    sender.inbox.add(b"abc", 5)
    reading = asyncio.ensure_future(sender.inbox.read(10))
    await asyncio.sleep(0)
    assert sender.room == 5
    sender.inbox.add(bytes(7), 7)
    await reading
    assert sender.room + sender.inbox.unacked_size() == 12
