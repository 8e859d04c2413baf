"""Logging: standard error always, a file per day if a directory is set. Nothing goes to standard output."""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
import time
from pathlib import Path
from typing import Final

from jobworkerp_standalone.jobs.errors import SettingsError
from jobworkerp_standalone.settings import LOG_FILE, Settings

_LEVELS: Final = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_PLAIN: Final = "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s"


def set_up_logging(settings: Settings) -> None:
    """Configure the root logger.

    Raises:
        SettingsError: the log directory cannot be used.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if settings.log_file_dir:
        handlers.append(_daily_file(Path(settings.log_file_dir)))
    formatter = _JsonLines() if settings.log_use_json else logging.Formatter(_PLAIN, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(level=_LEVELS[settings.log_level], handlers=handlers, force=True)
    # some of these would log what is nobody's business: headers and bodies of requests
    for noisy in ("hpack", "h2", "httpcore", "httpx", "slack_sdk", "urllib3", "aiosqlite", "asyncio", "sqlalchemy"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for talkative in ("mcp", "client", "httpx2", "httpcore2"):  # the MCP library logs what is sent; we tell failures
        logging.getLogger(talkative).setLevel(logging.CRITICAL)


def _daily_file(folder: Path) -> logging.Handler:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return logging.handlers.TimedRotatingFileHandler(folder / LOG_FILE, when="midnight", utc=True, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"LOG_FILE_DIR={str(folder)!r}: {error.strerror or error}") from error


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "timestamp": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "target": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
