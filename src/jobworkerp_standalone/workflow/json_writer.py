"""JSON values to text."""

from __future__ import annotations

import json

from jobworkerp_standalone.workflow.expressions.values import JSON


def json_text(value: JSON) -> str:
    """Return a value as JSON text, as short as it can be. Half a surrogate pair stays an escape: it has no UTF-8."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if text.isascii() or _is_encodable(text) else json.dumps(value, separators=(",", ":"))


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
