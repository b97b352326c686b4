"""The generation of each kind of state: a number in a file of the data directory.

Every change writes a new number after its commit, and every worker of the machine compares the numbers with each
request: a revocation holds as soon as it is answered. The numbers are random, so that none comes again when an old file
is put back.

Read like a file, never mapped: a file that is cut short (a backup copied over it) kills every process that touches its
memory (SIGBUS). Reading costs half a microsecond.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import stat
import struct
from pathlib import Path

from django.conf import settings

FILE = "generation"
KINDS = ("policy", "trust")
_NUMBERS = struct.Struct("=QQ")
_NUMBER = 8  # bytes
LENGTH = _NUMBERS.size

logger = logging.getLogger(__name__)


def advance(kind: str) -> None:
    """Call it after the commit and before the answer. Never raises: the change is made."""
    try:
        descriptor = _open(os.O_RDWR)
        try:
            os.pwrite(descriptor, secrets.token_bytes(_NUMBER), KINDS.index(kind) * _NUMBER)
        finally:
            os.close(descriptor)
    except OSError as error:
        logger.error("%s: %s: workers see this change half a second late", _path(), error.strerror or error)


def open_file() -> int:
    """A descriptor to read it by. Raises OSError."""
    try:
        return _open(os.O_RDONLY)
    except FileNotFoundError:
        return _open(os.O_RDWR)  # makes it


def _open(access: int) -> int:
    path = _path()
    creating = os.O_CREAT if access == os.O_RDWR else 0
    descriptor = os.open(path, access | creating | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    try:
        found = os.fstat(descriptor)
        # Root would write through a link that another user has made.
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise OSError(errno.EINVAL, "is not a file of its own: remove it")
        if found.st_uid == os.geteuid() == 0:
            # Made by a command of root's, perhaps, for a gateway of another user.
            owner = path.parent.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
    except BaseException:
        os.close(descriptor)
        raise
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


def _path() -> Path:
    path: Path = settings.AUTHGATE_DATA_DIR / FILE
    return path
