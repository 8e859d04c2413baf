"""A Docker daemon and a registry of the tests' own: Debian's dockerd with the vfs driver and no network, on loopback.

Where dockerd cannot run the tests that need it are skipped, and say so.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from docker.constants import DEFAULT_DOCKER_API_VERSION

import docker
from tests.support.patience import PATIENCE_SEC
from tests.support.ports import held_port

IMAGE = "busybox:test"
_WHAT_IS_MISSING = (
    "DOCKER IS NOT TESTED: {} (Debian: apt-get install docker.io docker-registry busybox-static, as root)"
)


@dataclass(frozen=True)
class Docker:
    """A running daemon with the image ``busybox:test``."""

    url: str
    registry: str
    pid: int

    def client(self) -> Any:
        return docker.APIClient(base_url=self.url, version="auto", timeout=round(PATIENCE_SEC))

    def containers(self) -> list[Any]:
        client = self.client()
        try:
            return client.containers(all=True)
        finally:
            client.close()

    def forget_image(self, name: str) -> None:
        client = self.client()
        try:
            client.remove_image(name, force=True)
        finally:
            client.close()


@contextmanager
def run_docker(folder: Path) -> Iterator[Docker]:
    """Start both, with an image made on the spot; skip where that is not possible."""
    missing = [name for name in ("dockerd", "docker-registry", "busybox") if shutil.which(name) is None]
    if os.geteuid() != 0 or missing:
        pytest.skip(_WHAT_IS_MISSING.format(f"{', '.join(missing)} is missing" if missing else "dockerd needs root"))
    url = f"unix://{folder}/docker.sock"
    log = folder / "dockerd.log"
    with log.open("wb") as output, held_port() as registry_port:
        registry = _start(_registry_command(folder, registry_port), output)
        daemon = _start(_daemon_command(folder), output)
        try:
            if not _answers(url, daemon):
                pytest.skip(
                    _WHAT_IS_MISSING.format(f"dockerd does not start: {log.read_text(errors='replace')[-400:]}")
                )
            made = Docker(url, f"127.0.0.1:{registry_port}", daemon.pid)
            _make_image(made)
            yield made
        finally:
            for process in (daemon, registry):
                process.terminate()
            for process in (daemon, registry):
                process.wait(PATIENCE_SEC)
            _unmount(folder)


@pytest.fixture(scope="module")
def docker_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """A daemon for the tests of a module."""
    with run_docker(tmp_path_factory.mktemp("docker")) as running:
        yield running


@pytest.fixture
def docker_reached(docker_daemon: Docker, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Jobs go to that daemon; a container that a test leaves behind fails it."""
    monkeypatch.setenv("DOCKER_HOST", docker_daemon.url)
    yield
    assert docker_daemon.containers() == [], "a container was left behind"


def _daemon_command(folder: Path) -> list[str]:
    return [
        "dockerd",
        "--storage-driver=vfs",
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        f"--data-root={folder}/data",
        f"--exec-root={folder}/exec",
        f"--pidfile={folder}/docker.pid",
        f"--host=unix://{folder}/docker.sock",
    ]


def _registry_command(folder: Path, port: int) -> list[str]:
    config = folder / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    return ["docker-registry", "serve", str(config)]


def _start(command: list[str], output: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def _answers(url: str, daemon: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + PATIENCE_SEC
    while time.monotonic() < deadline and daemon.poll() is None:
        if not Path(url.removeprefix("unix://")).exists():
            time.sleep(0.05)
            continue
        client = docker.APIClient(base_url=url, version=DEFAULT_DOCKER_API_VERSION, timeout=5)
        try:
            client.version(api_version=False)
        except Exception:
            time.sleep(0.1)
        else:
            return True
        finally:
            client.close()
    return False


def _make_image(made: Docker) -> None:
    """Import a root file system that is busybox and nothing else, and push it under another name."""
    archive = io.BytesIO()
    busybox = shutil.which("busybox")
    assert busybox is not None
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in ("bin", "etc"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        tar.add(busybox, "bin/busybox")
        for name in (
            "sh",
            "echo",
            "cat",
            "sleep",
            "env",
            "pwd",
            "id",
            "seq",
            "true",
            "false",
            "kill",
            "ls",
            "printf",
            "yes",
        ):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname, link.mode = tarfile.SYMTYPE, "busybox", 0o777
            tar.addfile(link)
        for name, text in (
            ("etc/passwd", "root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n"),
            ("etc/group", "root:x:0:\n"),
        ):
            file = tarfile.TarInfo(name)
            file.size, file.mode = len(text), 0o644
            tar.addfile(file, io.BytesIO(text.encode()))
    client = made.client()
    try:
        client.import_image_from_data(archive.getvalue(), repository="busybox", tag="test")
        client.tag(IMAGE, f"{made.registry}/shelf/busybox", "1", force=True)
        client.push(f"{made.registry}/shelf/busybox", "1")
        client.remove_image(f"{made.registry}/shelf/busybox:1")
    finally:
        client.close()


def _unmount(folder: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if f" {folder}/" in line]
    for mount in reversed(mounts):
        subprocess.run(["umount", "-l", mount], check=False)
