"""The last good state in files of the data directory, sealed: what `serve` begins with while the database is away.

A file says when the database was last seen to hold nothing newer, sealed too: a file's own time is that of its copying
where it is copied, and an old state would seem to be a new one.
"""

from __future__ import annotations

import logging
import os
import secrets
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Generic, NamedTuple

import msgspec
from django.conf import settings
from django.db import connection

from authgate.sealing import SealBroken, seal_bytes, unseal_bytes
from authgate.state import kept
from authgate.state.kept import PolicyState, State, TrustState

# Writing costs tens of milliseconds where thousands of routes or revocations are in force.
EVERY_SECONDS = 5.0
_MARK = struct.Struct("=qQ")  # version and generation, in clear: by it a worker sees that another one has written
_PURPOSE = "last state"
_TIME = struct.Struct("=d")
_STAMP_BYTES = 12 + _TIME.size + 16  # with nonce and tag

logger = logging.getLogger(__name__)


class Begun(NamedTuple):
    revision: int
    seconds: float  # since the database was last seen to agree
    knows_credentials: bool


class OnDisk(Generic[State]):
    def __init__(self, name: str, kind: type[State]) -> None:
        self._name = name
        self._decoder: msgspec.msgpack.Decoder[State] = msgspec.msgpack.Decoder(kind)

    def save(self, state: State) -> None:
        """The database agrees with this state now. Raises OSError."""
        mark = _MARK.pack(state.version, state.generation)
        stamp = seal_bytes(_TIME.pack(time.time()), purpose=_PURPOSE, place=self._place(mark, "agreed at"))
        if self._stamp(mark, stamp):
            return
        sealed = seal_bytes(zlib.compress(msgspec.msgpack.encode(state), 1), purpose=_PURPOSE, place=self._place(mark))
        draft = self._path.with_name(f"{self._name}.{secrets.token_hex(8)}")
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(mark + stamp + sealed)
            os.replace(draft, self._path)
        finally:
            draft.unlink(missing_ok=True)

    def load(self) -> tuple[State, float] | None:
        """And when the database last agreed. None: there is none, or it is of other settings."""
        try:
            content = self._path.read_bytes()
            mark, rest = content[: _MARK.size], content[_MARK.size :]
            stamp, sealed = rest[:_STAMP_BYTES], rest[_STAMP_BYTES:]
            time_seen = unseal_bytes(stamp, purpose=_PURPOSE, place=self._place(mark, "agreed at"))
            packed = unseal_bytes(sealed, purpose=_PURPOSE, place=self._place(mark))
            return self._decoder.decode(zlib.decompress(packed)), _TIME.unpack(time_seen)[0]
        except FileNotFoundError:
            return None
        except (OSError, SealBroken, zlib.error, msgspec.MsgspecError) as error:
            logger.warning("%s cannot be used: %s", self._path, getattr(error, "strerror", None) or error)
            return None

    def _stamp(self, mark: bytes, stamp: bytes) -> bool:
        """In place, if the file is there and has this state. A worker may be replacing it: then nobody reads this."""
        with suppress(OSError), self._path.open("r+b", buffering=0) as file:
            if file.read(_MARK.size) == mark:
                file.write(stamp)
                return True
        return False

    @property
    def _path(self) -> Path:
        path: Path = settings.AUTHGATE_DATA_DIR / self._name
        return path

    def _place(self, mark: bytes, part: str = "state") -> str:
        """What one gateway has kept of one database is nothing to another one."""
        database = connection.settings_dict
        where = " ".join(str(database[key]) for key in ("HOST", "PORT", "NAME"))
        return f"{self._name} {part} {mark.hex()} {settings.AUTHGATE_PUBLIC_URL} {connection.vendor} {where}"


policy = OnDisk("last_policy", PolicyState)
trust = OnDisk("last_trust", TrustState)


def begin(longest: int) -> Begun | None:
    """Workers that are forked from now on begin with what is on disk; None: it cannot be used.

    When the database has not agreed for more than `longest` seconds, another machine may have revoked any credential
    meanwhile: then none is accepted until the database says which.
    """
    found_policy, found_trust = policy.load(), trust.load()
    if found_policy is None or found_trust is None or found_policy[0].file != found_trust[0].file:
        return None
    seconds = time.time() - min(found_policy[1], found_trust[1])
    is_sure = 0 <= seconds <= longest
    # No counter of the database is this one, so that all is read once it answers.
    unread = {"version": -1}
    kept.policy.save(msgspec.structs.replace(found_policy[0], **unread), 1)
    kept.trust.save(msgspec.structs.replace(found_trust[0], **unread, knows_credentials=is_sure), 1)
    return Begun(found_policy[0].revision, seconds, is_sure)
