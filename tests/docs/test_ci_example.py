"""The job for continuous integration: its shell steps run as printed, in a fresh directory, with the built wheel."""

from __future__ import annotations

import glob
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from packaging.specifiers import SpecifierSet

TOP = Path(__file__).parents[2]
JOB: dict[str, Any] = yaml.safe_load((TOP / "examples/ci/github-actions.yml").read_text())["jobs"]["workflows"]
STEPS: list[dict[str, Any]] = JOB["steps"]
SHELL = [step["run"] for step in STEPS if "run" in step]
INSTALL, CHECK, RUN, TEST = SHELL
PAGE = (TOP / "docs" / "embedding.md").read_text()
PRINTED = {name: text for text, name in re.findall(r"```\w+\n(# ([\w.]+)\n.*?)```", PAGE, re.DOTALL)}
HEAD = "document: {dsl: '1.0.0', namespace: d, name: n, version: '0.1.0'}\n"
FAULTS = HEAD + "do: [{a: {raise: {error: {type: 'https://example.com/errors/sad', status: 500}}}}]\n"
pytestmark = pytest.mark.timeout(400)  # a wheel and an environment are made first


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment after the step that installs: this package from its wheel, what it needs from here."""
    folder = tmp_path_factory.mktemp("machine")
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder / "dist"), str(TOP)]
    subprocess.run(build, check=True, capture_output=True, timeout=100)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True, capture_output=True, timeout=100)
    here = Path(sysconfig.get_path("purelib"))
    there = folder / "venv" / here.relative_to(sys.prefix)
    for each in here.iterdir():
        if not (each.name.startswith("jobworkerp") or each.suffix == ".pth" or (there / each.name).exists()):
            (there / each.name).symlink_to(each)
    script = folder / "venv" / "bin" / "pytest"
    script.write_text(f"#!{folder}/venv/bin/python\nimport pytest\nraise SystemExit(pytest.console_main())\n")
    script.chmod(0o755)
    done = shell(INSTALL, folder, folder, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(folder / "dist"))
    assert done.returncode == 0, done.stderr
    assert (folder / "venv" / "bin" / "jobworkerp").exists()
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the files that the steps name."""
    (tmp_path / "flows").mkdir()
    (tmp_path / "tests" / "workflows").mkdir(parents=True)
    for name in ("greet.yml", "flows/nightly.yml"):
        (tmp_path / name).write_text(PRINTED["greet.yml"])
    (tmp_path / "flows" / "nightly.json").write_text('{"name": "Ada"}')
    (tmp_path / "tests" / "workflows" / "test_greet.py").write_text(PRINTED["test_greet.py"])
    return tmp_path


def shell(step: str, machine: Path, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a step as the service does: by bash, which stops at the first command that fails."""
    environment = {"PATH": f"{machine}/venv/bin:{os.defpath}", "HOME": str(machine), "LANG": "C.UTF-8", **more}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )


def test_every_step_is_an_action_with_a_version_or_a_command() -> None:
    for step in STEPS:
        assert ("uses" in step) != ("run" in step), step
        assert "uses" not in step or re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]), step


def test_its_python_is_one_that_the_package_supports() -> None:
    (version,) = (step["with"]["python-version"] for step in STEPS if "setup-python" in step.get("uses", ""))
    assert version in SpecifierSet(tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["requires-python"])


def test_the_steps_pass_and_leave_their_reports(machine: Path, repository: Path) -> None:
    for step in (CHECK, RUN, TEST):
        done = shell(step, machine, repository)
        assert done.returncode == 0, done.stdout + done.stderr
    (kept,) = (step["with"]["path"] for step in STEPS if "upload-artifact" in step.get("uses", ""))
    reports = {name: ElementTree.parse(repository / name) for name in glob.glob(kept, root_dir=repository)}
    assert sorted(reports) == ["report.xml", "tests.xml"]
    assert {case.get("name") for case in reports["report.xml"].iter("testcase")} >= {"do/0/greet"}
    assert len([*reports["tests.xml"].iter("testcase")]) == 3


def test_a_mistake_in_a_file_fails_the_check(machine: Path, repository: Path) -> None:
    (repository / "flows" / "other.yml").write_text(FAULTS.replace("raise", "rise"))
    done = shell(CHECK, machine, repository)
    assert done.returncode == 2
    assert "other.yml:2:" in done.stdout + done.stderr


def test_a_workflow_that_fails_fails_its_step_and_leaves_its_report(machine: Path, repository: Path) -> None:
    (repository / "flows" / "nightly.yml").write_text(FAULTS)
    assert shell(RUN, machine, repository).returncode == 1
    assert ElementTree.parse(repository / "report.xml").find(".//failure") is not None
