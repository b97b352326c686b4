"""A circuit breaker: while an endpoint gives no answer, nobody waits for it to find that out again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

FAILURES = 5  # one after the other
PAUSE_SECONDS = 5.0


class BreakerOpen(Exception):
    """Nothing was asked: the endpoint gave no answer lately."""


class Breaker:
    """Of one event loop. After the pause one call goes ahead, and the others wait for what becomes of it."""

    def __init__(self) -> None:
        self._failures = 0
        self._open_until = 0.0
        self._is_trying = False

    def check(self) -> None:
        """Raises BreakerOpen."""
        if self._failures >= FAILURES and (self._is_trying or time.monotonic() < self._open_until):
            raise BreakerOpen

    @contextmanager
    def call(self, failure: type[Exception]) -> Iterator[None]:
        """Around a call, which fails by `failure` alone. Raises BreakerOpen."""
        self.check()
        is_trial = self._is_trying = self._failures >= FAILURES
        try:
            yield
        except failure:
            self._failures += 1
            self._open_until = time.monotonic() + PAUSE_SECONDS
            raise
        except Exception:
            self._failures = 0  # an answer, whatever it was worth
            raise
        else:
            self._failures = 0
        finally:
            if is_trial:
                self._is_trying = False
