"""Structured logs: one JSON object a line on standard error, never anything of a picture."""

import datetime
import json
import logging
import secrets
import sys


def request_id(given: str) -> str:
    """Return the id that a caller gave its request, or a new one where that is none to write into a log."""
    return given if 0 < len(given) <= 64 and given.isascii() and given.isprintable() else secrets.token_hex(16)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds")
        line = {
            "time": time,
            "level": record.levelname.lower(),
            "server": "embedded",
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up(level: str) -> None:
    """Send the package's logs to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json())
    logger = logging.getLogger("serving")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
