"""`run.script`, in both languages."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.house import eventually
from tests.support.patience import longer_and_longer
from tests.support.python_jobs import content
from tests.support.wire_client import build
from tests.workflow.stage import Stage, open_stage

NODE = pytest.param("js", marks=pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"))
LANGUAGES = ["python", NODE]


def script(language: str, code: str, metadata: Any = None, **fields: Any) -> dict[str, Any]:
    returned = {"return": fields.pop("returned")} if "returned" in fields else {}
    task = {"run": {**returned, "script": {"language": language, "code": code, **fields}}}
    return {"do": [{"a": {**task, "metadata": metadata} if metadata else task}]}


async def ran(stage: Stage, document: dict[str, Any], given: Any = None) -> Any:
    end = await stage.run(document, given)
    assert end.status == "Completed", end
    return end.output


def says(language: str, python: str, javascript: str) -> str:
    """Return the code of one language."""
    return python if language == "python" else javascript


async def test_c88_script_arguments(stage: Stage) -> None:
    assert await ran(stage, script("python", "print(n + 1)", arguments={"n": "${ .n }"}), {"n": 2}) == "3\n"


@pytest.mark.parametrize("language", LANGUAGES)
async def test_c89_names_of_script_arguments(stage: Stage, language: str) -> None:
    end = await stage.run(script(language, "1", arguments={"payload": {"class": 1}}), {})
    assert (end.error["status"], end.error["instance"]) == (400, "/do/0/a/run/script")


@pytest.mark.parametrize(
    "arguments",
    [
        {"a-b": 1},
        {"__n__": 1},
        {"n": [{"deep": {"1st": 1}}]},
        {"ä": 1},
        {"n": json.loads('{"n":' * 22 + "1" + "}" * 22)},
    ],
    ids=["a dash", "two underscores", "in an array", "not ASCII", "too deep"],
)
async def test_c89_what_cannot_be_a_variable(stage: Stage, arguments: Any) -> None:
    end = await stage.run(script("python", "1", arguments="${ . }"), arguments)
    assert (end.error["type"].rpartition("/")[2], end.error["instance"]) == ("validation", "/do/0/a/run/script")


async def test_names_and_depths_that_variables_can_have(stage: Stage) -> None:
    arguments = {"_n": 1, "__n": 2, "N1": json.loads('{"n":' * 20 + "1" + "}" * 20)}
    code = "value = N1\nwhile isinstance(value, dict): value = value['n']\nprint(_n, globals()['__n'], value)"
    assert await ran(stage, script("python", code, arguments="${ . }"), arguments) == "1 2 1\n"


@pytest.mark.parametrize(
    ("metadata", "settings"),
    [
        ({"python.packages": " six==1.17.0, attrs ,"}, {"packages": {"list": ["six==1.17.0", "attrs"]}}),
        ({"python.requirements_url": "http://127.0.0.1:9/r.txt"}, {"requirements_url": "http://127.0.0.1:9/r.txt"}),
        ({"python.version": "3.99"}, {"python_version": "3.99"}),
        ({"script.use_static": "true"}, {}),
    ],
)
async def test_metadata_are_the_settings_of_python(stage: Stage, metadata: Any, settings: Any) -> None:
    job_id = await stage.start(script("python", "import time; time.sleep(3600)", metadata), {})
    engine = stage.house.daemon.engine
    found: list[Any] = []

    def seen() -> bool:
        children = [live.job.worker_id for live in engine.live.all() if live.job.id != job_id]
        found.extend(entry.worker for each in children if (entry := engine.catalog.find(each)) is not None)
        return bool(found)

    await eventually(seen)
    assert await stage.house.delete(job_id)
    await stage.result(job_id)
    wanted = build("jobworkerp.runner.PythonCommandRunnerSettings", **settings)
    assert found[0].runner_settings == wanted.SerializeToString()
    assert found[0].use_static == ("script.use_static" in metadata)


@pytest.mark.parametrize("language", LANGUAGES)
async def test_c90_both_languages_take_a_map_as_variables(stage: Stage, language: str) -> None:
    code = says(language, "import json; print(json.dumps([n, m]))", "console.log(JSON.stringify([n, m]))")
    output = await ran(stage, script(language, code, arguments={"n": "${ . }", "m": {"k": [1, None, "ü"]}}), 1)
    assert json.loads(output) == [1, {"k": [1, None, "ü"]}]


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_list_stdin_and_the_environment(stage: Stage, language: str) -> None:
    code = says(
        language,
        "import json, os, sys; print(json.dumps([sys.argv[1:], sys.stdin.read(), os.environ['WHO']]))",
        "const given = require('fs').readFileSync(0, 'utf8');"
        "console.log(JSON.stringify([process.argv.slice(2), given, process.env.WHO]))",
    )
    document = script(language, code, arguments=["a b", 1], stdin="${ .in }", environment={"WHO": "${ .w }"})
    output = await ran(stage, document, {"w": "me", "in": "one\nü"})
    assert json.loads(output) == [["a b", "1"], "one\nü", "me"]


async def test_stdin_of_python_is_a_real_one(stage: Stage) -> None:
    """Bytes can be read from it, and children have it too."""
    code = "import subprocess, sys; print(sys.stdin.fileno()); subprocess.run(['cat'])"
    assert await ran(stage, script("python", code, stdin="for the child")) in {"0\nfor the child", "for the child0\n"}


async def test_a_warm_python_has_its_own_stdin_each_time(stage: Stage) -> None:
    for given in ("one", "two"):
        document = script("python", "print(input())", {"script.use_static": "true"}, stdin=given)
        assert await ran(stage, document) == f"{given}\n"


@pytest.mark.parametrize("language", LANGUAGES)
async def test_arguments_may_be_larger_than_those_of_a_program(stage: Stage, language: str) -> None:
    code = says(language, "print(len(rows))", "console.log(rows.length)")
    output = await ran(stage, script(language, code, arguments={"rows": "${ . }"}), ["x" * 1_000] * 1_000)
    assert output.strip() == "1000"


@pytest.mark.parametrize("language", LANGUAGES)
async def test_what_a_script_is_given_is_never_code(stage: Stage, language: str) -> None:
    hostile = '\');import os;os._exit(3)#"""\\`${process.exit(3)}\u2028'
    code = says(language, "print(text)", "console.log(text)")
    output = await ran(stage, script(language, code, arguments={"text": hostile}))
    assert output.removesuffix("\n") == hostile


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_failure_tells_lines_of_the_script(stage: Stage, language: str) -> None:
    code = says(language, "def f():\n    raise ValueError('bad')\nf()", "function f() {\n  throw Error('bad')\n}\nf()")
    end = await stage.run(script(language, code, arguments={"n": 1}))
    assert (end.error["status"], end.error["instance"]) == (500, "/do/0/a/run/script")
    lines = says(language, '"<script>", line 2, in f', "[eval]:2:9")
    assert lines in end.error["detail"]
    assert "bad" in end.error["detail"]


async def test_what_python_wants_first_may_come_first(stage: Stage) -> None:
    code = '"""What it does."""\nfrom __future__ import (\n    annotations,\n)\nprint(__doc__, __name__)'
    assert await ran(stage, script("python", code, arguments={"n": 1})) == "What it does. __main__\n"


async def test_a_script_finds_nothing_in_its_way(stage: Stage) -> None:
    code = "print([name for name in globals() if not name.startswith('__')])"
    assert await ran(stage, script("python", code, arguments={"n": 1})) == "['n']\n"


@pytest.mark.parametrize("code", ["import fs from 'node:fs'; console.log(await n)", "-1; console.log(n)"])
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
async def test_javascript_may_be_a_module_or_begin_with_anything(stage: Stage, code: str) -> None:
    if "await" in code and not await _detects_modules():
        pytest.skip("this node takes what is handed to it for no module")
    assert await ran(stage, script("javascript", code, arguments={"n": 7})) == "7"


async def _detects_modules() -> bool:
    return (await anyio.run_process(["node", "-e", "await 0"], check=False)).returncode == 0


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("returned", "expected"),
    [("stdout", "o"), ("stderr", "e"), ("code", 0), ("all", {"code": 0, "stdout": "o", "stderr": "e"}), ("none", 5)],
)
async def test_what_is_returned(stage: Stage, language: str, returned: str, expected: Any) -> None:
    code = says(
        language,
        "import sys; sys.stdout.write('o'); sys.stderr.write('e')",
        "process.stdout.write('o'); process.stderr.write('e')",
    )
    assert await ran(stage, script(language, code, returned=returned), 5) == expected


@pytest.mark.parametrize("language", LANGUAGES)
async def test_c91_a_failing_script(stage: Stage, language: str) -> None:
    code = says(language, "raise SystemExit(4)", "process.exit(4)")
    end = await stage.run(script(language, code, returned="all"))
    assert (end.error["status"], end.error["type"].rpartition("/")[2]) == (500, "runtime")
    assert "exit code 4" in end.error["detail"]


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_script_that_is_killed(stage: Stage, language: str) -> None:
    code = says(language, "import os; os.kill(os.getpid(), 9)", "process.kill(process.pid, 'SIGKILL')")
    end = await stage.run(script(language, code, returned="code"))
    assert "killed by a signal" in end.error["detail"]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("way", ["cancelled", "out of time"])
async def test_a_script_ends_with_all_that_it_started(stage: Stage, tmp_path: Path, language: str, way: str) -> None:
    file = tmp_path / "pids"
    code = says(
        language,
        f"import os, subprocess, time\nchild = subprocess.Popen(['sleep', '3600'])\n"
        f"open({str(file)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}} ')\ntime.sleep(3600)",
        f"const child = require('child_process').spawn('sleep', ['60']);\n"
        f"require('fs').writeFileSync({json.dumps(str(file))}, `${{process.pid}} ${{child.pid}} `);\n"
        f"setTimeout(() => 0, 3600000)",
    )
    document = script(language, code)
    if way == "cancelled":
        job_id = await stage.start(document)
        await eventually(lambda: len(content(file).split()) == 2)
        assert await stage.house.delete(job_id)
        assert (await stage.result(job_id)).job_status == "CANCELLED"
    else:
        for limit in longer_and_longer(500):
            document["do"][0]["a"]["timeout"] = {"after": {"milliseconds": limit}}
            assert (await stage.run(document)).error["status"] == 408
            if len(content(file).split()) == 2:
                break
    await eventually(lambda: not any(_runs(int(pid)) for pid in file.read_text().split()))


def _runs(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


async def test_without_node_there_is_no_javascript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    async with open_stage(tmp_path) as stage:
        end = await stage.run(script("js", "1"))
    assert (end.error["status"], "install Node.js" in end.error["detail"]) == (501, True)


async def test_a_script_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.py").write_text("print(n)")
    source = {"language": "python", "source": {"endpoint": "s.py"}, "arguments": {"n": 3}}
    async with open_stage(tmp_path) as stage:
        assert await ran(stage, {"do": [{"a": {"run": {"script": source}}}]}) == "3\n"
        missing = {"language": "python", "source": {"endpoint": "none.py"}}
        end = await stage.run({"do": [{"a": {"run": {"script": missing}}}]})
    assert "none.py" in end.error["detail"]
