"""A web server that always says the same: nginx where it is installed, else a small one. A process of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, Self

ANSWER: Final = "hello from the web server\n"
_CONFIG: Final = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/nginx; proxy_temp_path {folder}/nginx; fastcgi_temp_path {folder}/nginx;
  uwsgi_temp_path {folder}/nginx; scgi_temp_path {folder}/nginx;
  server {{
    listen 127.0.0.1:{port};
    location / {{ default_type text/plain; return 200 "{answer}"; }}
  }}
}}
"""
_PATIENCE_SEC: Final = 20.0
_TRY_AGAIN_SEC: Final = 0.01


class Web:
    """The running server."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        self.name = "nginx" if nginx else "a small server in Python"
        if nginx:
            config = folder / "nginx.conf"
            (folder / "nginx").mkdir()
            config.write_text(_CONFIG.format(folder=folder, port=self.port, answer=ANSWER.replace("\n", "\\n")))
            command = [nginx, "-p", str(folder), "-e", f"{folder}/nginx.log", "-c", str(config)]
        else:
            command = [sys.executable, "-m", "benchmarks.small_web", str(self.port)]
        self._process = subprocess.Popen(command, cwd=Path(__file__).parent.parent)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> Self:
        until = time.monotonic() + _PATIENCE_SEC
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                if time.monotonic() > until or self._process.poll() is not None:
                    self.__exit__()
                    raise
                time.sleep(_TRY_AGAIN_SEC)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(_PATIENCE_SEC)
