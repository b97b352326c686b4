"""Wakes a thread that waits."""

from __future__ import annotations

import os
import select
from contextlib import suppress


class Bell:
    def __init__(self) -> None:
        self._heard, self._rung = os.pipe()
        for descriptor in (self._heard, self._rung):
            os.set_blocking(descriptor, False)

    def ring(self) -> None:
        """From any thread. A bell that has rung already rings once."""
        with suppress(BlockingIOError):
            os.write(self._rung, b"\0")

    def wait(self, seconds: float, also: int | None = None) -> None:
        """Until it rings, or until the descriptor `also` becomes readable, which is the caller's to read."""
        poll = select.poll()
        poll.register(self._heard, select.POLLIN)
        if also is not None:
            poll.register(also, select.POLLIN)
        poll.poll(seconds * 1000)
        with suppress(BlockingIOError):
            os.read(self._heard, 4096)

    def close(self) -> None:
        os.close(self._heard)
        os.close(self._rung)
