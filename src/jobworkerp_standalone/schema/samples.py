"""Examples of settings and arguments for runners that come along: small ones, which do something."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

_GREETING: Final = json.dumps(
    {
        "document": {"dsl": "1.0.0", "namespace": "examples", "name": "greet", "version": "1.0.0"},
        "do": [{"greet": {"set": {"greeting": '${ "Hello " + .name }'}}}],
    }
)
_WORLD: Final = '{"name":"World"}'
_RUNNERS: Final = "jobworkerp.service.RunnerService"
SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "HTTP_REQUEST": {"base_url": "https://example.com"},
    "DOCKER": {"from_image": "busybox:latest"},
    "SLACK_POST_MESSAGE": {"bot_token": "xoxb-..."},
    "PYTHON_COMMAND": {"packages": {"list": ["requests"]}},
    "GRPC": {"host": "127.0.0.1", "port": 9000, "use_reflection": True, "as_json": True},
    "GRPC_UNARY": {"host": "127.0.0.1", "port": 9000},
    "WORKFLOW": {"workflow_data": _GREETING},
    "REUSABLE_WORKFLOW": {"json_data": _GREETING},
}
ARGS: Final[Mapping[tuple[str, str], Mapping[str, Any]]] = {
    ("COMMAND", "run"): {"command": "echo", "args": ["Hello", "World!"]},
    ("HTTP_REQUEST", "run"): {"method": "GET", "path": "/", "headers": [{"key": "accept", "value": "text/html"}]},
    ("DOCKER", "run"): {"image": "busybox:latest", "cmd": ["echo", "Hello"]},
    ("SLACK_POST_MESSAGE", "run"): {"channel": "#general", "text": "Hello"},
    ("PYTHON_COMMAND", "run"): {"script_content": "print('Hello')"},
    ("GRPC", "unary"): {"method": f"{_RUNNERS}/FindByName", "json_body": '{"name":"COMMAND"}'},
    ("GRPC", "streaming"): {"method": f"{_RUNNERS}/FindList", "json_body": "{}"},
    ("GRPC_UNARY", "run"): {"method": f"{_RUNNERS}/Count", "request": ""},
    ("WORKFLOW", "run"): {"input": _WORLD},
    ("WORKFLOW", "create"): {"workflow_data": _GREETING, "name": "Greet"},
    ("INLINE_WORKFLOW", "run"): {"workflow_data": _GREETING, "input": _WORLD},
    ("REUSABLE_WORKFLOW", "run"): {"input": _WORLD},
}
"""By runner and method. A test encodes each by the schema of its runner."""
