from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

Place = tuple[str | int, ...]

MAX_LINE = 500


class PolicyError(NamedTuple):
    """One fault of a policy; `place` has names, so that a form can show it beside its field."""

    place: Place
    message: str

    def __str__(self) -> str:
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.place)
        line = f"{where.lstrip('.')}: {self.message}" if where else self.message
        # Names come from files and forms: one line, without anything that a terminal would act on.
        line = "".join(character if character.isprintable() else "?" for character in line)
        return line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}…"


class PolicyInvalid(ValueError):
    """Everything that is wrong with a policy, not only the first fault."""

    def __init__(self, errors: Iterable[PolicyError]) -> None:
        self.errors: Sequence[PolicyError] = list(errors)
        super().__init__("\n".join(map(str, self.errors)))
