"""How often each kind of state has been changed: two numbers in a file of the data directory.

Whoever commits a change raises its number, and every worker of the machine compares them with each request: what was
taken away is gone as soon as the answer is out.

Read like a file, never mapped: a file that is cut short (a backup copied over it) kills every process that touches its
memory (SIGBUS). Reading costs half a microsecond.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
from pathlib import Path

from django.conf import settings

FILE = "generation"
KINDS = ("policy", "trust")
LENGTH = 16  # bytes

_NUMBERS = struct.Struct("=QQ")

logger = logging.getLogger(__name__)


def advance(kind: str) -> None:
    """Call it after the commit and before the answer. Never raises: the change is made."""
    try:
        descriptor = open_file()
        try:
            _advance(descriptor, KINDS.index(kind))
        finally:
            os.close(descriptor)
    except OSError as error:
        logger.error("%s: %s: workers see this change half a second late", _path(), error.strerror or error)


def open_file() -> int:
    """Its descriptor. Raises OSError."""
    path = _path()
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    if os.geteuid() == 0:
        # A command of root's may make the file that a gateway of another user writes to.
        owner = path.parent.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def is_replaced(descriptor: int) -> bool:
    """Whether the path leads to another file by now, or to none."""
    try:
        return not os.path.samestat(os.fstat(descriptor), os.stat(_path()))
    except OSError:
        return True


def numbers(content: bytes) -> tuple[int, int]:
    """Of policy and trust. Of a file that is too short, those that are missing are 0."""
    policy, trust = _NUMBERS.unpack(content.ljust(LENGTH, b"\0"))
    return policy, trust


def content(policy: int, trust: int) -> bytes:
    return _NUMBERS.pack(policy, trust)


def _advance(descriptor: int, place: int) -> None:
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # given back when the descriptor is closed
    both = list(numbers(os.pread(descriptor, LENGTH, 0)))
    both[place] = (both[place] + 1) % (1 << 64)
    os.pwrite(descriptor, _NUMBERS.pack(*both), 0)


def _path() -> Path:
    path: Path = settings.AUTHGATE_DATA_DIR / FILE
    return path
