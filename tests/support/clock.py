"""The clocks of a gateway's processes and commands, which a test sets while they run.

As on a real machine, one is the time of day, which may also be set back, and the other only ever runs forwards. The
event loop has its own, which no test sets. Nothing of the machine is changed: Python loads `sitecustomize` before
anything else, and there every reading of a clock gets an offset.
"""

from __future__ import annotations

from pathlib import Path

_SITECUSTOMIZE = """\
import time
from datetime import UTC, datetime

now, now_ns, monotonic = time.time, time.time_ns, time.monotonic


def ahead():
    with open({file!r}) as file:
        return [int(seconds) for seconds in file.read().split()]


time.time = lambda: now() + ahead()[0]
time.time_ns = lambda: now_ns() + ahead()[0] * 1_000_000_000
time.monotonic = lambda: monotonic() + ahead()[1]

from django.utils import timezone

timezone.now = lambda: datetime.fromtimestamp(time.time(), UTC)
"""


class Clock:
    def __init__(self, directory: Path) -> None:
        self._file = directory / "ahead"
        self._set(0, 0)
        (directory / "sitecustomize.py").write_text(_SITECUSTOMIZE.format(file=str(self._file)))
        self.env = {"PYTHONPATH": str(directory)}

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
