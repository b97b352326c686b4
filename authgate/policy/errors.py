from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from typing import NamedTuple

Place = tuple[str | int, ...]

MAX_LINE = 500
_MOST_COMPARED = 200
_LONGEST_COMPARED = 100


class PolicyError(NamedTuple):
    """One fault of a policy. `place` has names, so that a form can show it beside its field; `line` is the line in the
    file, if there is one.
    """

    place: Place
    message: str
    line: int = 0

    def __str__(self) -> str:
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.place)
        line = f"{where.lstrip('.')}: {self.message}" if where else self.message
        line = f"line {self.line}: {line}" if self.line else line
        # Names come from files and forms: keep it one line, without characters that a terminal would act on.
        line = "".join(character if character.isprintable() else "?" for character in line)
        return line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}…"


class PolicyInvalid(ValueError):
    """All faults of a policy, not only the first."""

    def __init__(self, errors: Iterable[PolicyError]) -> None:
        self.errors: Sequence[PolicyError] = list(errors)
        super().__init__("\n".join(map(str, self.errors)))


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The end of a message about an unknown name. Empty if no name is near, or there are too many to compare."""
    if len(known) > _MOST_COMPARED or len(name) > _LONGEST_COMPARED:
        return ""
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
