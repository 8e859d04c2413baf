"""Examples of settings and arguments for runners that come along: small ones, which do something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "HTTP_REQUEST": {"base_url": "https://example.com"},
    "DOCKER": {"from_image": "busybox:latest"},
    "SLACK_POST_MESSAGE": {"bot_token": "xoxb-..."},
    "PYTHON_COMMAND": {"packages": {"list": ["requests"]}},
}
ARGS: Final[Mapping[tuple[str, str], Mapping[str, Any]]] = {
    ("COMMAND", "run"): {"command": "echo", "args": ["Hello", "World!"]},
    ("HTTP_REQUEST", "run"): {"method": "GET", "path": "/", "headers": [{"key": "accept", "value": "text/html"}]},
    ("DOCKER", "run"): {"image": "busybox:latest", "cmd": ["echo", "Hello"]},
    ("SLACK_POST_MESSAGE", "run"): {"channel": "#general", "text": "Hello"},
    ("PYTHON_COMMAND", "run"): {"script_content": "print('Hello')"},
}
"""By runner and method. A test encodes each by the schema of its runner."""
