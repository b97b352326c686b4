"""Log lines on their way to a descriptor. A thread writes them, so that a stopped reader delays nothing else."""

from __future__ import annotations

import fcntl
import logging
import os
import select
import stat
import time
from contextlib import suppress
from queue import SimpleQueue
from threading import RLock, Thread
from weakref import WeakSet

from authgate.observe.strangers import NOBODY

logger = logging.getLogger(__name__)

# Bytes waiting for one descriptor in one process: seconds of busiest traffic. Further lines are dropped and counted.
HELD_BYTES = 4 * 1024 * 1024
# Up to this size a write stays whole even if several workers share a pipe (POSIX PIPE_BUF).
_WHOLE_ON_PIPES = 4096
# In a file opened for appending every write is whole; this bounds the time of one.
_WHOLE_IN_FILES = 65536
_REMIND_SECONDS = 60.0  # while lines are being lost
_TELL_SECONDS = 10.0  # between two reports of lost lines
_STUCK_SECONDS = 0.5
_FLUSH_SECONDS = 2.0

_writers: WeakSet[LineWriter] = WeakSet()


def flush_all() -> None:
    """Waits a moment for the last lines at the end of a process, but not for a reader that takes nothing."""
    deadline = time.monotonic() + _FLUSH_SECONDS
    for writer in tuple(_writers):
        writer.flush(deadline)


class LineWriter:
    """A writer whose `put` never waits. O_NONBLOCK is no option: it would affect all processes with the open file."""

    def __init__(self, descriptor: int, name: str, *, remind: bool = False) -> None:
        """`remind`: log that lines are being lost. Not for the log's own descriptor."""
        self._descriptor = descriptor
        self._name = name
        self._remind = remind
        self._whole = _whole_write(descriptor)
        self._begin()
        _writers.add(self)

    def _begin(self) -> None:
        """Fresh state for this process: a thread does not survive a fork, and the parent's lines stay the parent's."""
        self._process = os.getpid()
        self._lock = RLock()
        self._queue: SimpleQueue[bytes] = SimpleQueue()
        self._thread: Thread | None = None
        self._held = 0
        self._dropped = 0
        self._reason = ""
        self._is_cut = False
        self._remind_at = self._tell_at = 0.0

    def put(self, lines: bytes) -> None:
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            if not self._held or self._held + len(lines) <= HELD_BYTES:
                self._held += len(lines)
                self._queue.put(lines)
                if self._thread is None:
                    self._thread = Thread(target=self._run, name=f"writes {self._name}", daemon=True)
                    self._thread.start()
                return
        self._lose(lines, "its reader is too slow or has stopped")

    def flush(self, deadline: float) -> None:
        """Waits until all is written, nothing has moved for a moment, or `deadline` (monotonic clock) is reached."""
        if self._process != os.getpid():
            return
        held, stuck_at = self._held, time.monotonic() + _STUCK_SECONDS
        while self._held and time.monotonic() < min(deadline, stuck_at):
            time.sleep(0.005)
            if self._held != held:
                held, stuck_at = self._held, time.monotonic() + _STUCK_SECONDS

    # -- the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            lines = self._queue.get()
            was_written = self._write(lines)
            if was_written and self._dropped and self._queue.empty():
                self._tell()
            with self._lock:
                self._held -= len(lines)

    def _write(self, lines: bytes) -> bool:
        while lines:
            end = lines.rfind(b"\n", 0, self._whole) + 1 or lines.find(b"\n") + 1 or len(lines)
            try:
                self._write_whole(lines[:end])
            except OSError as error:  # a full disk, a closed pipe
                self._lose(lines, error.strerror or "cannot be written")
                return False
            lines = lines[end:]
        return True

    def _write_whole(self, lines: bytes) -> None:
        # A line that an error cut off must not run into the next one.
        left = b"\n" + lines if self._is_cut else lines
        self._is_cut = False
        size = len(left)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # another process that shares the open file made it non-blocking
                self._wait()
            except OSError:
                self._is_cut = len(left) < size
                raise

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        poll.poll()

    # -- lost lines -----------------------------------------------------------------------------------------

    def _lose(self, lines: bytes, reason: str) -> None:
        now = time.monotonic()
        with self._lock:
            self._dropped += lines.count(b"\n")
            self._reason = reason
            if not self._remind or now < self._remind_at:
                return
            self._remind_at = now + _REMIND_SECONDS
        text = "%s: %s; lines are dropped, %d so far"
        logger.warning(text, self._name, reason, self._dropped, extra=NOBODY)

    def _tell(self) -> None:
        now = time.monotonic()
        with self._lock:
            if now < self._tell_at:
                return
            self._tell_at, self._remind_at = now + _TELL_SECONDS, 0.0
            dropped, self._dropped = self._dropped, 0
        logger.warning(
            "%s is written again; %d lines were dropped: %s", self._name, dropped, self._reason, extra=NOBODY
        )


def _whole_write(descriptor: int) -> int:
    with suppress(OSError):  # closed: the first write will say so
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        if is_file and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND:
            return _WHOLE_IN_FILES
    return _WHOLE_ON_PIPES
