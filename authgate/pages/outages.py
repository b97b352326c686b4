"""Pages that met something broken around the gateway: a page that says so, and one line of log, without a traceback."""

from __future__ import annotations

import logging
import threading
import time

from authgate.observe.strangers import NOBODY
from authgate.state.trouble import is_outage, trouble_of

logger = logging.getLogger(__name__)

# Everybody who asks meets the same outage: it is said so often, however many ask.
SAY_SECONDS = 10.0


class _Said:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next_at = 0.0
        self._unsaid = 0

    def say(self, error: Exception, request_id: str) -> None:
        now = time.monotonic()
        with self._lock:
            if now < self._next_at:
                self._unsaid += 1
                return
            unsaid, self._unsaid, self._next_at = self._unsaid, 0, now + SAY_SECONDS
        more = f", and {unsaid} more before it" if unsaid else ""
        logger.error("request %s%s met: %s", request_id, more, trouble_of(error).full, extra=NOBODY)


say_outage = _Said().say


class Unexpected(logging.Filter):
    """Of what Django says of requests only tracebacks: the access log has every status, and outages have their line."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return record.levelno >= logging.ERROR and error is not None and not is_outage(error)
