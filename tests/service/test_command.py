"""COMMAND, from a request on the wire to the bytes of its result."""

from __future__ import annotations

from typing import Any

from jobworkerp_standalone.runners.process import memory
from tests.support.house import COMMAND, STATUS, House, open_house
from tests.support.patience import longer_and_longer
from tests.support.wire_client import build

CLOSING = "__command_exit_error"


async def run(house: House, *, using: str | None = None, **args: Any) -> Any:
    """Run a command and return its result data."""
    data = build("jobworkerp.runner.CommandArgs", **args).SerializeToString()
    chosen: dict[str, Any] = {"using": using} if using else {}
    reply = await house.enqueue(data, "sh", overrides={"response_type": 1}, **chosen)
    return reply.result.data


def output(data: Any) -> Any:
    assert data.status == STATUS["SUCCESS"], data.output.items
    result = build("jobworkerp.runner.CommandResult")
    result.ParseFromString(data.output.items)
    return result


async def test_arguments_reach_the_program_as_they_are(house: House) -> None:
    await house.worker("sh", runner=COMMAND)
    result = output(await run(house, command="printf", args=["%s|%s", "a b", "$HOME;*"]))
    assert (result.exit_code, result.stdout, result.stderr) == (0, "a b|$HOME;*", "")
    assert result.started_at > 0


async def test_the_exit_code_is_a_result_unless_it_is_to_be_an_error(house: House) -> None:
    await house.worker("sh", runner=COMMAND)
    exit_three: dict[str, Any] = {"command": "sh", "args": ["-c", "echo out; echo oops >&2; exit 3"]}
    assert output(await run(house, **exit_three)).exit_code == 3
    failed = await run(house, **exit_three, treat_nonzero_as_error=True)
    assert failed.status == STATUS["MAX_RETRY"]
    assert b"3" in failed.output.items
    assert b"oops" in failed.output.items
    assert b"out" in failed.output.items
    assert output(await run(house, **exit_three, treat_nonzero_as_error=True, success_exit_codes=[0, 3])).exit_code == 3


async def test_a_program_that_is_not_there_fails_with_its_name(house: House) -> None:
    await house.worker("sh", runner=COMMAND)
    failed = await run(house, command="/no/such/program")
    assert failed.status != STATUS["SUCCESS"]
    assert b"/no/such/program" in failed.output.items


async def test_args_that_do_not_decode_are_a_result_that_names_the_message(house: House) -> None:
    await house.worker("sh", runner=COMMAND, response_type=1)
    data = (await house.enqueue(b"\xff\xff", worker="sh")).result.data
    assert data.status == STATUS["OTHER_ERROR"]
    assert b"jobworkerp.runner.CommandArgs" in data.output.items


async def test_any_using_means_run(house: House) -> None:
    await house.worker("sh", runner=COMMAND)
    assert output(await run(house, using="whatever", command="true")).exit_code == 0


async def test_input_directory_and_environment(house: House, tmp_path: Any) -> None:
    await house.worker("sh", runner=COMMAND)
    result = output(
        await run(
            house,
            command="sh",
            args=["-c", "pwd; cat; echo $MINE"],
            stdin="fed\n",
            working_dir=str(tmp_path),
            environment={"MINE": "yes"},
        )
    )
    assert result.stdout == f"{tmp_path}\nfed\nyes"


async def test_children_do_not_see_the_daemons_secrets(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("AUTH_TOKEN", "s3cret")
    monkeypatch.setenv("DB_PASSWORD", "s3cret")
    monkeypatch.setenv("HARMLESS", "seen")
    async with open_house(tmp_path) as house:
        await house.worker("sh", runner=COMMAND)
        shown = output(await run(house, command="env")).stdout
    assert "s3cret" not in shown
    assert "HARMLESS=seen" in shown


async def test_output_over_the_limit_fails_and_names_the_setting(tmp_path: Any) -> None:
    async with open_house(tmp_path, COMMAND_OUTPUT_MAX_BYTES="2048") as house:
        await house.worker("sh", runner=COMMAND)
        failed = await run(house, command="head", args=["-c", "100000", "/dev/zero"])
        assert failed.status == STATUS["OTHER_ERROR"]
        assert b"COMMAND_OUTPUT_MAX_BYTES" in failed.output.items
        assert output(await run(house, command="echo", args=["fits"])).stdout == "fits"


async def test_bytes_that_are_not_text_are_not_lost(house: House) -> None:
    await house.worker("sh", runner=COMMAND)
    result = output(await run(house, command="printf", args=["a\\377\\n\\n"]))
    assert result.stdout == "a\ufffd\n"
    assert result.stdout_bytes == b"a\xff\n"


async def test_a_time_out_keeps_what_was_said_so_far(house: House) -> None:
    await house.worker("sh", runner=COMMAND, response_type=1)
    data = build("jobworkerp.runner.CommandArgs", command="sh", args=["-c", "echo begun; sleep 600"])
    for limit in longer_and_longer(200):
        failed = (await house.enqueue(data.SerializeToString(), worker="sh", timeout=limit)).result.data
        assert failed.status == STATUS["MAX_RETRY"]
        assert b"%d ms" % limit in failed.output.items
        if b"begun" in failed.output.items:
            break


async def test_a_stream_shows_lines_while_they_are_printed(house: House, tmp_path: Any) -> None:
    await house.worker("sh", runner=COMMAND, response_type=1)
    gate = tmp_path / "gate"
    script = f"echo one; echo; while ! test -e {gate}; do sleep 0.01; done; printf 'two\\n\\n'; exit 4"
    args = build("jobworkerp.runner.CommandArgs", command="sh", args=["-c", script]).SerializeToString()
    chunks: list[Any] = []
    async with house.client.open("JobService.EnqueueForStream") as stream:
        request = build("jobworkerp.service.JobRequest", worker_name="sh", args=args)
        await stream.send_message(request.SerializeToString(), end=True)
        while (data := await stream.recv_message()) is not None:
            item = house.client.reply("JobService.EnqueueForStream", data)
            if item.HasField("data"):
                chunk = build("jobworkerp.runner.CommandResult")
                chunk.ParseFromString(item.data)
                chunks.append(chunk)
            if "".join(each.stdout for each in chunks) == "one\n\n":
                gate.touch()
    assert "".join(each.stdout for each in chunks) == "one\n\ntwo\n\n"
    assert [each.exit_code for each in chunks if each.HasField("exit_code")] == [4]


async def test_memory_is_measured_when_asked_for(house: House, tmp_path: Any, monkeypatch: Any) -> None:
    """From time to time: as soon as that has been done while the memory was held, the program ends."""
    held, done = tmp_path / "held", tmp_path / "done"
    measure = memory.tree_kb

    def measured(pid: int) -> int:
        late = held.exists()
        try:
            return measure(pid)
        finally:
            if late:
                done.touch()

    monkeypatch.setattr(memory, "tree_kb", measured)
    await house.worker("sh", runner=COMMAND)
    code = (
        f"import os, time; x = bytearray(40_000_000); open({str(held)!r}, 'w').close()\n"
        f"while not os.path.exists({str(done)!r}): time.sleep(0.01)"
    )
    result = output(await run(house, command="python3", args=["-c", code], with_memory_monitoring=True))
    assert result.max_memory_usage_kb > 40_000
