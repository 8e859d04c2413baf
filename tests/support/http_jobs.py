"""Jobs of HTTP_REQUEST, as a test sends them and reads what they return."""

from __future__ import annotations

from typing import Any

from tests.support.house import STATUS, House
from tests.support.web import Reply, Seen
from tests.support.wire_client import build

HTTP = 2


def pairs(*given: tuple[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in given]


async def worker(house: House, base_url: str, name: str = "web", settings: Any = None, **fields: Any) -> None:
    data = build("jobworkerp.runner.HttpRequestRunnerSettings", base_url=base_url, **(settings or {}))
    await house.worker(name, runner=HTTP, runner_settings=data.SerializeToString(), response_type=1, **fields)


async def ask(house: House, path: str = "", *, name: str = "web", timeout: int = 0, **args: Any) -> Any:
    """Send a request by a job and return its result data."""
    data = build("jobworkerp.runner.HttpRequestArgs", **{"method": "GET", "path": path, **args}).SerializeToString()
    return (await house.enqueue(data, name, timeout=timeout)).result.data


def answer(data: Any) -> Any:
    assert data.status == STATUS["SUCCESS"], data.output.items
    result = build("jobworkerp.runner.HttpResponseResult")
    result.ParseFromString(data.output.items)
    return result


async def got(house: House, path: str = "", **args: Any) -> Any:
    return answer(await ask(house, path, **args))


async def failed(house: House, path: str = "", status: str = "MAX_RETRY", **args: Any) -> str:
    data = await ask(house, path, **args)
    assert data.status == STATUS[status], (data.status, data.output.items)
    return data.output.items.decode()


async def stream(house: House, path: str, seen: Any = None, *, name: str = "web", **args: Any) -> list[Any]:
    """Stream a job; call ``seen`` after each item."""
    data = build("jobworkerp.runner.HttpRequestArgs", **{"method": "GET", "path": path, **args}).SerializeToString()
    items: list[Any] = []
    async with house.client.open("JobService.EnqueueForStream") as call:
        request = build("jobworkerp.service.JobRequest", worker_name=name, args=data)
        await call.send_message(request.SerializeToString(), end=True)
        while (message := await call.recv_message()) is not None:
            item = house.client.reply("JobService.EnqueueForStream", message)
            if item.HasField("data"):
                piece = build("jobworkerp.runner.HttpResponseResult")
                piece.ParseFromString(item.data)
                items.append(piece)
                if seen:
                    seen(items)
    return items


async def silent(_seen: Seen, reply: Reply) -> None:
    await reply.gone()
