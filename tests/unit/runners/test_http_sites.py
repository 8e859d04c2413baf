"""Connections stay for the next job, and not for ever."""

from __future__ import annotations

import anyio
import pytest

from jobworkerp_standalone.jobs.errors import Fatal
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.http import sites as module
from jobworkerp_standalone.runners.http.sites import Sites
from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.settings import load_settings
from tests.support.patience import PATIENCE_SEC

SETTINGS = message_class("jobworkerp.runner.HttpRequestRunnerSettings")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def settings(number: int) -> bytes:
    return SETTINGS(base_url=f"http://host{number}/").SerializeToString()


async def test_the_same_settings_are_given_the_same_site() -> None:
    async with anyio.create_task_group() as tasks:
        sites = Sites(Host(load_settings({}), tasks))
        first = await sites.take(settings(1))
        assert await sites.take(settings(1)) is first
        assert await sites.take(settings(2)) is not first
        for number in (1, 1, 2):
            await sites.give_back(settings(number))
        assert await sites.take(settings(1)) is first
        tasks.cancel_scope.cancel()


async def test_only_so_many_idle_sites_are_kept_and_the_oldest_go_first() -> None:
    async with anyio.create_task_group() as tasks:
        sites = Sites(Host(load_settings({}), tasks))
        made = [await sites.take(settings(number)) for number in range(20)]
        for number in range(20):
            await sites.give_back(settings(number))
        assert await sites.take(settings(19)) is made[19]
        assert await sites.take(settings(4)) is made[4]
        assert await sites.take(settings(3)) is not made[3]
        tasks.cancel_scope.cancel()


async def test_what_is_idle_for_long_is_closed_and_nothing_keeps_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IDLE_SEC", 0.02)
    tasks = anyio.create_task_group()
    sites = Sites(Host(load_settings({}), tasks))
    async with tasks:
        tasks.cancel_scope.deadline = anyio.current_time() + PATIENCE_SEC
        await sites.take(settings(1))
        await sites.give_back(settings(1))
        # the group ends when the sweeping ends
    assert not tasks.cancel_scope.cancelled_caught
    assert not sites._open


async def test_settings_that_cannot_be_used_leave_nothing() -> None:
    async with anyio.create_task_group() as tasks:
        sites = Sites(Host(load_settings({}), tasks))
        for data in (b"\xff", SETTINGS(base_url="x").SerializeToString()):
            with pytest.raises(Fatal):
                await sites.take(data)
        assert not sites._open
