"""The examples of the page about embedding run as printed."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs" / "embedding.md").read_text()
FILES = {name: text for text, name in re.findall(r"```(?:python|yaml)\n(# ([\w.]+)\n.*?)```", PAGE, re.DOTALL)}
PRINTED = {
    "hello.py": "hello\n",
    "jobs.py": "{'stdout': 'one\\n'}\n{'exitCode': 3, ",
    "plain.py": "plain\n",
    "flow.py": "deploy main?\n{'deployed': True}\n",
}
INSTALLED = any(each.name == "jobworkerp" for each in entry_points(group="pytest11"))
PLUGIN = "jobworkerp" if INSTALLED else "jobworkerp_standalone.pytest_plugin"


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    for name, text in FILES.items():
        (folder / name).write_text(text)
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def pytest_says(folder: Path, *arguments: str, asyncio: bool = False) -> str:
    """Run pytest with the fixture's plugin, as where the package is installed, and return what it says."""
    other = ("-o", "asyncio_default_fixture_loop_scope=function") if asyncio else ("-p", "no:asyncio")
    done = python(folder, "-m", "pytest", "-q", "-p", PLUGIN, "-p", "no:cacheprovider", *other, *arguments)
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".py") and name[:4] not in {"test", "conf"}])
def test_a_program_prints_what_it_should(name: str, tmp_path: Path) -> None:
    done = python(tmp_path, name)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.startswith(PRINTED[name])


def test_the_tests_pass(tmp_path: Path) -> None:
    assert "3 passed" in pytest_says(tmp_path, "test_greet.py")


def test_the_fixture_works_with_both_plugins_for_async_tests(tmp_path: Path) -> None:
    pytest.importorskip("pytest_asyncio")
    body = "async def test_it(jobworkerp):\n    await jobworkerp.run('COMMAND', {'command': 'true'})\n"
    backend = "@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    for name in ("anyio", "asyncio"):
        text = f"import pytest\npytestmark = pytest.mark.{name}\n{backend}\n{body}"
        (tmp_path / f"test_{name}.py").write_text(text)
    assert "2 passed" in pytest_says(tmp_path, "test_anyio.py", "test_asyncio.py", asyncio=True)


def test_the_settings_of_the_fixture_can_be_changed(tmp_path: Path) -> None:
    (tmp_path / "test_settings.py").write_text(
        "import pytest\n\n"
        "@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n\n"
        "@pytest.fixture(scope='session')\ndef jobworkerp_settings():\n"
        "    return {'WORKFLOW_TASK_DEFAULT_TIMEOUT_SEC': 1}\n\n"
        "@pytest.mark.anyio\nasync def test_it(jobworkerp):\n"
        "    from jobworkerp_standalone.client import WorkflowFaulted\n"
        "    with pytest.raises(WorkflowFaulted, match='1000 ms'):\n"
        "        await jobworkerp.run_workflow({'do': [{'a': {'run': {'shell': 'sleep 3600'}}}]})\n"
    )
    assert "1 passed" in pytest_says(tmp_path, "--noconftest", "test_settings.py")


def test_a_test_that_is_not_async_is_told(tmp_path: Path) -> None:
    (tmp_path / "test_plain.py").write_text("def test_it(jobworkerp):\n    pass\n")
    assert "the fixture jobworkerp is for async tests" in pytest_says(tmp_path, "test_plain.py")


def test_runs_of_pytest_that_do_not_use_it_do_not_load_it(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\n\ndef test_it() -> None:\n"
        "    assert 'jobworkerp_standalone.pytest_plugin' in sys.modules\n"
        "    assert not {'jobworkerp_standalone.embedded', 'grpclib', 'sqlalchemy'} & set(sys.modules)\n"
    )
    assert "1 passed" in pytest_says(tmp_path, "--noconftest", "test_other.py")
