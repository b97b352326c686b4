"""What is known of a target's health: what its requests have shown, and what its checks have found."""

from __future__ import annotations

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 60.0
BAD_ANSWERS = 3  # in a row


class Health:
    """Times are those of one clock, which the caller reads.

    A target without a connection, or with several bad answers in a row, is left out for a while that doubles each time.
    Then one request tries it, and the others go on without it until that has an answer.
    """

    __slots__ = ("_bad", "_failures", "_left_out_at", "_on_trial", "_passed", "is_down", "left_out_until")

    def __init__(self) -> None:
        self.is_down = False  # by its checks
        self.left_out_until = 0.0  # 0: it is not
        self._left_out_at = 0.0
        self._failures = 0  # of which it has not recovered
        self._on_trial = False
        self._bad = 0
        self._passed = 0  # checks in a row; below 0: failed ones

    @property
    def is_clean(self) -> bool:
        """Nothing speaks against it that an answer could take back."""
        return not (self._bad or self._failures)

    @property
    def is_failing(self) -> bool:
        """It was left out, and has not answered since."""
        return bool(self._failures)

    def may_serve(self, now: float) -> bool:
        return not self.is_down and now >= self.left_out_until

    def begin_trial(self, now: float) -> None:
        """A new connection is tried."""
        if self._failures and now >= self.left_out_until:
            self._on_trial = True
            self._leave_out(now)

    def failed(self, now: float, *, at_once: bool) -> bool:
        """Whether it is left out by this. `at_once`: it could not be connected to."""
        self._bad += 1
        if not (at_once or self._bad >= BAD_ANSWERS):
            return False
        if self._failures and not self._on_trial and now < self.left_out_until:
            return False  # it began before it was left out
        self._failures += 1
        self._left_out_at = now
        self._on_trial = False
        self._leave_out(now)
        return True

    def answered(self, made_at: float) -> bool:
        """Whether it has recovered by this answer. `made_at`: when its connection was made."""
        self._bad = 0
        # A service that takes no new connections may well answer on old ones.
        if not self._failures or made_at < self._left_out_at:
            return False
        self._recover()
        return True

    def checked(self, *, good: bool, healthy_after: int, unhealthy_after: int) -> bool:
        """Whether this changes what requests get."""
        self._passed = max(self._passed, 0) + 1 if good else min(self._passed, 0) - 1
        if self._passed >= healthy_after and (self.is_down or self._failures):
            self.is_down = False
            self._recover()
            return True
        if -self._passed >= unhealthy_after and not self.is_down:
            self.is_down = True
            return True
        return False

    def forget_checks(self) -> None:
        self.is_down, self._passed = False, 0

    def _recover(self) -> None:
        self._bad = self._failures = 0
        self._on_trial = False
        self.left_out_until = 0.0

    def _leave_out(self, now: float) -> None:
        self.left_out_until = now + min(FIRST_SECONDS * 2 ** min(self._failures - 1, 10), LONGEST_SECONDS)
