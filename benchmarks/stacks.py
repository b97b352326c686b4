"""Stacks that py-spy sampled, as text: `outermost (file);…;innermost (file) COUNT` in each line. And whose they are."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("proxy", "authgate", "gateway_site")
COLUMNS = ("Python", "C", "kernel")
EVENT_LOOP = "event loop"
_LEAST_SHARE = 0.01

# Below these is only how the process or the thread was started.
_BEGINNINGS = ("asyncio/runners.py", "/threading.py")
_WAITING = {
    "epoll_wait", "epoll_pwait", "poll", "select", "sem_wait", "sem_clockwait", "sem_timedwait", "take_gil",
    "pthread_cond_wait", "pthread_cond_timedwait", "pthread_cond_clockwait", "PyThread_acquire_lock_timed",
}  # fmt: skip
_SYSTEM_CALLS = {
    "read", "readv", "pread64", "recv", "recvfrom", "recvmsg", "write", "writev", "pwrite64", "send", "sendto",
    "sendmsg", "accept4", "connect", "socket", "close", "shutdown", "getsockopt", "setsockopt", "epoll_ctl",
    "fcntl64", "__fcntl64_nocancel_adjusted", "openat64", "fstat64",
}  # fmt: skip


class Frame(NamedTuple):
    name: str
    file: str  # relative to the project, if it is the project's

    @property
    def room(self) -> str:
        """`proxy/server`, `authgate/gate`; empty when it is not the project's."""
        parts = self.file.removesuffix(".py").split("/")
        return "/".join(parts[:2]) if parts[0] in PACKAGES else ""

    @property
    def is_python(self) -> bool:
        return self.file.endswith(".py") or self.file.startswith("<")


@dataclass(frozen=True)
class Stack:
    frames: tuple[Frame, ...]
    count: int

    @property
    def room(self) -> str:
        """The room of the innermost frame that is the project's: it called the rest."""
        return next((frame.room for frame in reversed(self.frames) if frame.room), EVENT_LOOP)

    @property
    def column(self) -> str:
        innermost = self.frames[-1]
        if innermost.is_python:
            return "Python"
        return "kernel" if innermost.name in _SYSTEM_CALLS else "C"


def read_stacks(text: str) -> list[Stack]:
    """Those at work. What waits, for sockets or for another thread, is left out."""
    found = []
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = _at_work([_frame(part) for part in stack.split(";")])
        if frames:
            found.append(Stack(frames, int(count)))
    return found


def _frame(text: str) -> Frame:
    name, _, file = text.removesuffix(")").rpartition(" (")
    file = file.removeprefix(f"{ROOT}/")
    # A library without symbols: the address is another one in each run.
    return Frame(f"[{Path(file).name}]" if name.startswith("0x") else name, file)


def _at_work(frames: list[Frame]) -> tuple[Frame, ...]:
    # The C library's own frames below a function that waits may have no names.
    if any(frame.name in _WAITING for frame in frames[-3:]):
        return ()
    begin = max((n + 1 for n, frame in enumerate(frames) if frame.file.endswith(_BEGINNINGS)), default=0)
    # Functions of C headers are inlined everywhere.
    kept = [frame for frame in frames[begin:] if not frame.file.endswith(".h")]
    return tuple(frame for n, frame in enumerate(kept) if not n or frame != kept[n - 1])


def as_table(stacks: list[Stack]) -> str:
    """Shares of the samples: by the room that was at work or had called what was, and what that was."""
    rooms: dict[str, Counter[str]] = defaultdict(Counter)
    for stack in stacks:
        rooms[stack.room][stack.column] += stack.count
    total = sum((counts for counts in rooms.values()), Counter())
    least = total.total() * _LEAST_SHARE
    large = {room: counts for room, counts in rooms.items() if counts.total() >= least}
    rows = sorted(large.items(), key=lambda row: -row[1].total())
    rows.append(("other rooms", total - sum(large.values(), Counter())))
    lines = [f"{'room':<24}" + "".join(f"{column:>10}" for column in (*COLUMNS, "all"))]
    return "\n".join(lines + [_line(room, counts, total.total()) for room, counts in [*rows, ("all", total)]])


def _line(room: str, counts: Counter[str], total: int) -> str:
    numbers = [*(counts[column] for column in COLUMNS), counts.total()]
    return f"{room:<24}" + "".join(f"{number / max(1, total):>10.1%}" for number in numbers)
