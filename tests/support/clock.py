"""The clocks of a gateway's processes and commands, which a test sets while they run.

As on a real machine, one is the time of day, which may also be set back, and the other only ever runs forwards. The
event loop has its own, which no test sets. Nothing of the machine is changed: whatever name Python's readings of a
clock have in a process, each gets an offset before anything of manage.py runs.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from django.utils import timezone

_VARIABLE = "TESTS_CLOCK"


def hold() -> None:
    """In a process of manage.py: by its environment."""
    file = os.environ.get(_VARIABLE)
    if file is None:
        return
    now, now_ns, monotonic = time.time, time.time_ns, time.monotonic

    def ahead() -> list[int]:
        return [int(seconds) for seconds in Path(file).read_text().split()]

    held = {
        id(now): lambda: now() + ahead()[0],
        id(now_ns): lambda: now_ns() + ahead()[0] * 1_000_000_000,
        id(monotonic): lambda: monotonic() + ahead()[1],
        id(timezone.now): lambda: datetime.fromtimestamp(time.time(), UTC),
    }
    for module in [*sys.modules.values()]:
        for name, value in [*vars(module).items()]:
            if id(value) in held:
                setattr(module, name, held[id(value)])


class Clock:
    def __init__(self, directory: Path) -> None:
        self._file = directory / "ahead"
        self._set(0, 0)
        self.env = {_VARIABLE: str(self._file)}

    @property
    def ahead(self) -> int:
        return self._ahead

    def set_ahead(self, seconds: int) -> None:
        """Of the time of day."""
        self._set(seconds, self._passed)

    def let_pass(self, seconds: int) -> None:
        """On both clocks."""
        self._set(self._ahead + seconds, self._passed + seconds)

    def _set(self, ahead: int, passed: int) -> None:
        self._ahead, self._passed = ahead, passed
        draft = self._file.with_suffix(".draft")
        draft.write_text(f"{ahead} {passed}")
        draft.rename(self._file)
