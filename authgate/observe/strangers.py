"""Limits on log lines that clients cause: per client and for all of them; the rest is counted.

The access log is not limited: it is the record of requests, one line for each.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from threading import RLock, Timer
from typing import NamedTuple

logger = logging.getLogger(__name__)

# Per process. Errors are counted separately, so that no flood of warnings hides them.
CLIENT_BURST, CLIENT_SECONDS = 10, 10.0  # lines at once, then one per interval
ALL_BURST, ALL_SECONDS = 100, 0.2
_TELL_SECONDS = 30.0
_MOST_CLIENTS = 10_000
_MOST_NAMED = 1000
# Loggers whose lines name no client, although a client causes most of them.
_SERVERS = frozenset(("asyncio", "uvicorn", "_granian", "django"))


class Cause(NamedTuple):
    """The client who caused a line, and the request in which; empty where none did."""

    client: str = ""
    request_id: str = ""
    trace_id: str = ""


_NOBODY = Cause()
# The request for which this task or thread works.
cause: ContextVar[Cause] = ContextVar("cause", default=_NOBODY)
# `extra` of a rare line for the operator, which counts for no client wherever it is logged.
NOBODY = {"cause": _NOBODY}


def cause_of(line: logging.LogRecord) -> Cause:
    given: Cause | None = getattr(line, "cause", None)
    return cause.get() if given is None else given


class Pace:
    """A rate per key: `burst` at once, then one in `seconds`."""

    def __init__(self, burst: int, seconds: float) -> None:
        self._ahead = (burst - 1) * seconds
        self._seconds = seconds
        self._used_up_to: dict[tuple[str, bool], float] = {}
        self._sweep_at = 0.0

    def take(self, key: tuple[str, bool], now: float) -> bool:
        used_up_to = max(self._used_up_to.get(key, now), now)
        if used_up_to > now + self._ahead:
            return False
        if self._has_room(key, now):
            self._used_up_to[key] = used_up_to + self._seconds
        return True

    def _has_room(self, key: tuple[str, bool], now: float) -> bool:
        """Whether this client is or can be remembered. Beyond the limit, clients only count towards the total."""
        if key in self._used_up_to or len(self._used_up_to) < _MOST_CLIENTS:
            return True
        if now >= self._sweep_at:
            self._sweep_at = now + self._seconds
            self._used_up_to = {key: at for key, at in self._used_up_to.items() if at > now}
        return len(self._used_up_to) < _MOST_CLIENTS


class ClientLines(logging.Filter):
    key_of: Callable[[str], str] = staticmethod(str)  # the client of an address

    def __init__(self) -> None:
        super().__init__()
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = RLock()
        self._client, self._all = Pace(CLIENT_BURST, CLIENT_SECONDS), Pace(ALL_BURST, ALL_SECONDS)
        self._left_out: Counter[str] = Counter()
        self._timer: Timer | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        who = self._who(record)
        if not who:
            return True
        if self._process != os.getpid():
            self._begin()  # a lock and a timer do not survive a fork
        is_error, now = record.levelno >= logging.ERROR, time.monotonic()
        with self._lock:
            if self._client.take((who, is_error), now) and self._all.take(("", is_error), now):
                return True
            self._leave_out(who)
        return False

    def tell(self) -> None:
        """Logs the number of lines left out since the last report."""
        if self._process != os.getpid():
            return
        with self._lock:
            left_out, self._left_out, self._timer = self._left_out, Counter(), None
        if left_out:
            [(who, most)] = left_out.most_common(1)
            logger.warning(
                "%d log lines that clients caused were left out, %d of them by %s",
                left_out.total(), most, who or "others", extra=NOBODY,
            )  # fmt: skip

    def _leave_out(self, who: str) -> None:
        self._left_out[who if who in self._left_out or len(self._left_out) < _MOST_NAMED else ""] += 1
        if self._timer is None:
            self._timer = Timer(_TELL_SECONDS, self.tell)
            self._timer.daemon = True
            self._timer.start()

    def _who(self, record: logging.LogRecord) -> str:
        if address := cause_of(record).client:
            return self.key_of(address)
        family = record.name.partition(".")[0]
        return family if not hasattr(record, "cause") and family in _SERVERS else ""


client_lines = ClientLines()
