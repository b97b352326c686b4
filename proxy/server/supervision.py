"""What the process above the workers knows of them, and tells systemd."""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Iterable

from proxy.server.systemd import Notifier

_TIME = struct.Struct("d")
_FRESH_SECONDS = 10.0
_LOOK_SECONDS = 0.5


class Heartbeat:
    """When a worker's event loop last turned: in memory that the worker shares with the process above it."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, _TIME.size)

    def beat(self) -> None:
        _TIME.pack_into(self._shared, 0, time.monotonic())

    def age(self) -> float:
        (at,) = _TIME.unpack_from(self._shared)
        return time.monotonic() - at if at else float("inf")


class Supervision:
    """Ready, and alive, is a gateway of which at least one worker serves.

    No request is sent to find that out: a crowd that keeps the workers busy must not get them restarted.
    """

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        # Half, so that the process above a worker that hangs can replace it before the watchdog ends them all.
        self._fresh = notifier.watchdog_seconds / 2 if notifier.watchdog_seconds else _FRESH_SECONDS
        self._next = 0.0
        self._is_ready = False
        self._is_changing = False
        self._status = ""

    def look(self, heartbeats: Iterable[Heartbeat], wanted: int) -> None:
        """To be called at least once a second."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _LOOK_SECONDS
        serving = sum(heartbeat.age() < self._fresh for heartbeat in heartbeats)
        if not self._is_changing:
            self._tell_status(f"{serving} of {wanted} workers serving")
        if serving:
            self._tell_serving()

    def reloading(self) -> None:
        self._is_changing, self._is_ready, self._status = True, False, ""
        self._notifier.tell_reloading()

    def reloaded(self) -> None:
        self._is_changing = False

    def stopping(self) -> None:
        self._is_changing = True
        self._notifier.tell(STOPPING=1, STATUS="requests in flight are finished")

    def _tell_serving(self) -> None:
        if not self._is_ready and not self._is_changing:
            self._is_ready = True
            self._notifier.tell(READY=1)
        if self._notifier.watchdog_seconds:
            self._notifier.tell(WATCHDOG=1)

    def _tell_status(self, status: str) -> None:
        if status != self._status:
            self._status = status
            self._notifier.tell(STATUS=status)
