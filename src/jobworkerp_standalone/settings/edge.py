"""What the server listens on and whom it answers, and what it logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jobworkerp_standalone.settings.parsing import Address, addresses, choice, flag, number, setting, text

LOG_FILE: Final = "jobworkerp.log"
"""Name of the log of today; those of other days have theirs behind it."""


@dataclass(frozen=True, kw_only=True)
class EdgeSettings:
    """What the server listens on and whom it answers, and what it logs."""

    grpc_addresses: tuple[Address, ...] = setting(
        "GRPC_ADDR",
        addresses,
        (Address("127.0.0.1", 9000), Address("::1", 9000)),
        "Addresses to listen on, separated by commas. Port 0 takes a free port.",
    )
    auth_token: str | None = setting(
        "AUTH_TOKEN", text, None, "Token that clients send as metadata jobworkerp-auth. Unset: open to this machine."
    )
    auth_scope: str = setting(
        "AUTH_SCOPE",
        choice("all", "reference"),
        "all",
        "What needs the token: all (but health and reflection), or only the calls that the reference protects.",
    )
    grpc_max_message_size: int = setting(
        "GRPC_MAX_MESSAGE_SIZE", number(1024, 2**31 - 1), 64 * 1024 * 1024, "Largest request in bytes."
    )
    max_frame_size: int = setting(
        "MAX_FRAME_SIZE", number(16_384, 16_777_215), 16_384, "HTTP/2 frame size in bytes that clients may use."
    )
    log_level: str = setting(
        "LOG_LEVEL", choice("trace", "debug", "info", "warn", "error"), "info", "Least level that is logged."
    )
    log_file_dir: str | None = setting("LOG_FILE_DIR", text, None, "Also write a log file per day into this directory.")
    log_use_json: bool = setting("LOG_USE_JSON", flag, False, "Log one JSON object per line.")
