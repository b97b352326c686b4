"""How many requests are sent again: so many that a failing service is not asked twice as much as a sound one."""

from __future__ import annotations

ALWAYS = 10
SHARE = 0.2  # of the requests
WINDOW_SECONDS = 10.0


class RetryBudget:
    """Counts over the present window and the one before it."""

    def __init__(self) -> None:
        self._begun_at = 0.0
        self._first = self._first_before = 0  # requests by the beginning of the windows
        self._spent = self._spent_before = 0

    def take(self, requests: int, now: float) -> bool:
        """`requests`: all that there were."""
        if now - self._begun_at >= WINDOW_SECONDS:
            follows = now - self._begun_at < 2 * WINDOW_SECONDS
            self._spent_before = self._spent if follows else 0
            self._first_before = self._first if follows else requests
            self._begun_at, self._first, self._spent = now, requests, 0
        if self._spent + self._spent_before >= ALWAYS + SHARE * (requests - self._first_before):
            return False
        self._spent += 1
        return True
