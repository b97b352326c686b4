from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

Place = tuple[str | int, ...]


class PolicyError(NamedTuple):
    """One fault of a policy; `place` has names, so that a form can show it beside its field."""

    place: Place
    message: str

    def __str__(self) -> str:
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.place)
        return f"{where.lstrip('.')}: {self.message}" if where else self.message


class PolicyInvalid(ValueError):
    """Everything that is wrong with a policy, not only the first fault."""

    def __init__(self, errors: Iterable[PolicyError]) -> None:
        self.errors: Sequence[PolicyError] = list(errors)
        super().__init__("\n".join(map(str, self.errors)))
