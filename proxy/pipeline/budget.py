"""Memory that one worker lends to its clients: so much in all, and of it a part for each of them."""

from __future__ import annotations

from collections import Counter
from types import TracebackType

from authgate.ratelimit import client_key


class BudgetSpent(Exception):
    """All of it is lent, or this client has its part: answer 503."""


class Budget:
    def __init__(self, total: int, share: int, free: int) -> None:
        """`share`: of one client. `free`: of each loan, so that nobody who asks for little is ever refused."""
        self.total = total
        self.share = share
        self.free = free
        self.lent = 0
        self.lent_to: Counter[str] = Counter()


class Loan:
    """What one request has of a budget, until it ends."""

    def __init__(self, budget: Budget, address: str) -> None:
        self._budget = budget
        self._client = client_key(address)
        self._size = 0
        self._lent = 0

    def __enter__(self) -> Loan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.give_back()

    def give_back(self) -> None:
        budget = self._budget
        budget.lent -= self._lent
        budget.lent_to[self._client] -= self._lent
        if not budget.lent_to[self._client]:
            del budget.lent_to[self._client]

    def grow(self, size: int) -> None:
        """Raises BudgetSpent."""
        budget = self._budget
        self._size += size
        more = max(0, self._size - budget.free) - self._lent
        if budget.lent + more > budget.total or budget.lent_to[self._client] + more > budget.share:
            raise BudgetSpent
        self._lent += more
        budget.lent += more
        budget.lent_to[self._client] += more
