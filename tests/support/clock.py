"""The clock of a gateway's processes and commands, which a test sets while they run.

The monotonic clock stays what it is, as on a real machine. Nothing of the machine is changed: Python loads
`sitecustomize` before anything else, and there every reading of the clock gets an offset.
"""

from __future__ import annotations

from pathlib import Path

_SITECUSTOMIZE = """\
import time
from datetime import UTC, datetime

now, now_ns = time.time, time.time_ns


def ahead():
    with open({file!r}) as file:
        return int(file.read())


time.time = lambda: now() + ahead()
time.time_ns = lambda: now_ns() + ahead() * 1_000_000_000

from django.utils import timezone

timezone.now = lambda: datetime.fromtimestamp(time.time(), UTC)
"""


class Clock:
    def __init__(self, directory: Path) -> None:
        self._file = directory / "ahead"
        self.set_ahead(0)
        (directory / "sitecustomize.py").write_text(_SITECUSTOMIZE.format(file=str(self._file)))
        self.env = {"PYTHONPATH": str(directory)}

    def set_ahead(self, seconds: int) -> None:
        draft = self._file.with_suffix(".draft")
        draft.write_text(str(seconds))
        draft.rename(self._file)
