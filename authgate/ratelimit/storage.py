"""The file every worker of one machine counts in: its layout, and how it comes into being."""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# A header page, then buckets, in words of 64 bits. A bucket is SLOTS fingerprints followed by SLOTS times.
BUCKETS = 1 << 15
SLOTS = 8
BUCKET_WORDS = SLOTS * 2
TABLE_WORD = 512
FILE_BYTES = (TABLE_WORD + BUCKETS * BUCKET_WORDS) * 8

_HEADER = struct.Struct("<16s16s40s")  # magic with version, key of the hash, boot id
_MAGIC = b"authgate limits1"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class StorageError(OSError):
    """The file cannot be had. The text is one line that names it."""


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    descriptor: int
    memory: mmap.mmap
    hash_key: bytes


def open_storage(path: Path) -> Storage:
    """The table at `path`, made anew when absent, damaged, of another version or from before a reboot."""
    try:
        with _one_process_at_a_time(path.with_suffix(".lock")):
            if not _is_usable(path):
                _create(path)
            return _map(path)
    except OSError as error:
        raise StorageError(f"rate limits: cannot use {str(path)!r}: {error.strerror or error}") from error


@contextmanager
def _one_process_at_a_time(lock_path: Path) -> Iterator[None]:
    # Two processes that each made the file would each count in their own.
    descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_usable(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        # The times in the file are of the monotonic clock, which begins anew at every boot.
        return (
            stat.S_ISREG(status.st_mode)
            and stat.S_IMODE(status.st_mode) == 0o600
            and status.st_uid == os.geteuid()
            and status.st_size == FILE_BYTES
            and _header_of(file.read(_HEADER.size)) == (_MAGIC, _boot_id())
        )


def _header_of(content: bytes) -> tuple[bytes, bytes]:
    magic, _, boot = _HEADER.unpack(content)
    return magic, boot.rstrip(b"\0")


def _boot_id() -> bytes:
    """Empty where the system does not tell: then a time from before a reboot delays one burst at most."""
    try:
        return _BOOT_ID.read_bytes().strip()
    except OSError:
        return b""


def _create(path: Path) -> None:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, FILE_BYTES)
            os.pwrite(descriptor, _HEADER.pack(_MAGIC, secrets.token_bytes(16), _boot_id()), 0)
        finally:
            os.close(descriptor)
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)


def _map(path: Path) -> Storage:
    """Closes nothing on purpose: closing any descriptor of a file drops all its record locks (POSIX)."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    # A hole that the disk has no room for would be a SIGBUS at the first write; here it is an error.
    os.posix_fallocate(descriptor, 0, FILE_BYTES)
    memory = mmap.mmap(descriptor, FILE_BYTES)
    _, hash_key, _ = _HEADER.unpack_from(memory)
    return Storage(descriptor, memory, hash_key)
