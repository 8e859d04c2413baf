"""An MCP server of the standard library alone, there in a tenth of a second: ``python -S -I plain_mcp.py FOLDER``.

What it is asked to do, it does on lines of JSON: for tests of processes that come, change, misbehave and go. It notes
what happened in ``events`` in the folder, as ``mcp_server.py`` does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1])
EVENTS = FOLDER / "events"
EXTRA = FOLDER / "extra-tool"
REFUSE = FOLDER / "refuse-lists"
TOOLS: dict[str, dict[str, Any]] = {
    "fail": {"why": {"type": "string"}},
    "slow": {"steps": {"type": "integer"}, "hang": {"type": "boolean"}},
    "env": {"name": {"type": "string"}},
    "pid": {},
    "crash": {},
    "grow": {},
    "babble": {"stderr": {"type": "boolean"}, "mebibytes": {"type": "integer"}},
    "refuse_lists": {},
    "link": {"size": {"type": "integer"}},
}
hanging: set[Any] = set()


def note(event: str) -> None:
    with EVENTS.open("a") as file:
        file.write(event + "\n")


def write(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def tell_change() -> None:
    write({"method": "notifications/tools/list_changed"})


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], **more}


def listed(request: Any) -> None:
    if REFUSE.exists():
        write({"id": request, "error": {"code": -32603, "message": "not now"}})
        return
    names = [*TOOLS, *(["extra"] if EXTRA.exists() else [])]
    schemas = {name: {"type": "object", "properties": TOOLS.get(name, {})} for name in names}
    write({"id": request, "result": {"tools": [{"name": name, "inputSchema": schemas[name]} for name in names]}})


def do_fail(arguments: dict[str, Any]) -> dict[str, Any]:
    return said(arguments.get("why", "no"), isError=True)


def do_env(arguments: dict[str, Any]) -> dict[str, Any]:
    return said(json.dumps(os.environ.get(arguments["name"])))


def do_pid(_arguments: dict[str, Any]) -> dict[str, Any]:
    child = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return said(json.dumps([os.getpid(), child.pid]))


def do_crash(_arguments: dict[str, Any]) -> dict[str, Any]:
    print("about to crash", file=sys.stderr, flush=True)
    os._exit(3)


def do_grow(_arguments: dict[str, Any]) -> dict[str, Any]:
    EXTRA.touch()
    tell_change()
    return said("grown")


def do_refuse_lists(_arguments: dict[str, Any]) -> dict[str, Any]:
    REFUSE.touch()
    tell_change()
    return said("refused from now on")


def do_babble(arguments: dict[str, Any]) -> dict[str, Any]:
    pipe = sys.stderr if arguments.get("stderr") else sys.stdout
    for _ in range(arguments["mebibytes"]):
        pipe.write("x" * 2**20)
        if pipe is sys.stdout:
            print("beside", file=sys.stderr, flush=True)
    pipe.flush()
    return said("done")


def do_link(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"content": [{"type": "resource_link", "name": "n", "uri": "a://b", "size": arguments["size"]}]}


def call(request: Any, name: str, arguments: dict[str, Any]) -> None:
    if name == "slow":  # until it is cancelled
        note("slow begins")
        hanging.add(request)
    else:
        write({"id": request, "result": globals()[f"do_{name}"](arguments)})


def take(message: dict[str, Any]) -> None:
    method, params, request = message.get("method"), message.get("params") or {}, message.get("id")
    if method == "initialize":
        (FOLDER / "greeting").write_text(json.dumps(params))
        about = {"protocolVersion": params["protocolVersion"], "serverInfo": {"name": "plain", "version": "1"}}
        write({"id": request, "result": {**about, "capabilities": {"tools": {"listChanged": True}}}})
    elif method == "tools/list":
        listed(request)
    elif method == "tools/call":
        call(request, params["name"], params.get("arguments") or {})
    elif method == "notifications/cancelled" and params.get("requestId") in hanging:
        hanging.discard(params["requestId"])
        note("slow cancelled")


def main() -> None:
    note(f"started {os.getpid()}")
    for line in sys.stdin:
        take(json.loads(line))


if __name__ == "__main__":
    main()
