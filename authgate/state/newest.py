"""Whether this process decides by all that has been committed on this machine, and the wait until it does."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from authgate import generation
from authgate.authn.cache import IdentityCache
from authgate.state.snapshot import Snapshot, current

logger = logging.getLogger(__name__)

# How long requests wait in all for a database that does not answer; then policy goes on as it was, and credentials are
# refused until it is known which were taken away.
PATIENCE_SECONDS = 2.0

_descriptor = -1
_known = b""  # what the file said before that was read which is decided by
_behind_since: dict[str, float] = {}  # by kind
_waiting: list[asyncio.Future[bool]] = []
_being_served: list[asyncio.Future[bool]] = []
_hurry: Callable[[], None] | None = None
_told: float | None = None


def is_behind() -> bool:
    """Something was committed that this process has not loaded. Asked for every request: one system call."""
    try:
        return _descriptor >= 0 and os.pread(_descriptor, generation.LENGTH, 0) != _known
    except OSError:
        return True


async def newest() -> Snapshot | None:
    """All that was committed before now, as soon as it is loaded; what is known, when that takes too long."""
    while is_behind() and (patience := _patience()) > 0:
        loaded: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        _waiting.append(loaded)
        if _hurry is not None:
            _hurry()
        try:
            is_all = await asyncio.wait_for(loaded, patience)
        except TimeoutError:
            _tell()
        else:
            # More may have been committed since; this request is older than that.
            if is_all or _left("policy") <= 0:
                return current()
    return known()


def known() -> Snapshot | None:
    """What there is to decide by without a wait. While something may have been taken away, it knows no credential."""
    snapshot = current()
    if snapshot is None or not is_behind() or "trust" not in _kinds_behind():
        return snapshot
    return replace(snapshot, knows_credentials=False, identities=IdentityCache())


# -- for the watcher, in its thread ---------------------------------------------------------------------------


def open_file(hurry: Callable[[], None]) -> None:
    """`hurry`: called when a request waits. Without the file, changes are seen when the watcher looks."""
    global _descriptor, _hurry, _known
    close_file()
    _hurry, _known = hurry, b""
    _behind_since.clear()
    try:
        _descriptor = generation.open_file()
    except OSError as error:
        logger.error("%s: %s: changes are seen half a second late", generation.FILE, error.strerror or error)


def begin_with(policy: int, trust: int) -> None:
    """What other workers had read is installed. A file that says nothing has only just been made."""
    if _descriptor < 0 or os.pread(_descriptor, generation.LENGTH, 0):
        caught_up(generation.content(policy, trust))
    else:
        caught_up(b"")


def close_file() -> None:
    global _descriptor
    descriptor, _descriptor = _descriptor, -1
    if descriptor >= 0:
        os.close(descriptor)


def read() -> bytes:
    """What the file says. All that is committed is to be loaded after this, and then told to `caught_up`."""
    if _descriptor < 0:
        return b""
    if generation.is_replaced(_descriptor):
        _follow()
    # Whoever waits since before the file is read gets what it says.
    served = len(_waiting)
    _being_served.extend(_waiting[:served])
    del _waiting[:served]
    return os.pread(_descriptor, generation.LENGTH, 0)


def _follow() -> None:
    """To the file that took its place, in one step: requests read it meanwhile. There may be none for a while."""
    with suppress(OSError):
        replacing = generation.open_file()
        os.dup2(replacing, _descriptor, inheritable=False)
        os.close(replacing)


def trust_caught_up(said: bytes) -> None:
    """The trust is installed that was committed when the file said this; the policy is not yet."""
    global _known
    policy, _ = generation.numbers(_known)
    _, trust = generation.numbers(said)
    _known = generation.content(policy, trust)
    _behind_since.pop("trust", None)
    if _left("policy") <= 0:  # or they wait for that as well
        _wake_all(False)


def caught_up(said: bytes) -> None:
    """Everything is installed that was committed when the file said this."""
    global _known
    _known = said
    _behind_since.clear()
    _wake_all(True)


def _wake_all(is_all: bool) -> None:
    served = _being_served[:]
    _being_served.clear()
    for loaded in served:
        with suppress(RuntimeError):  # its loop is closed
            loaded.get_loop().call_soon_threadsafe(_wake, loaded, is_all)


def _wake(loaded: asyncio.Future[bool], is_all: bool) -> None:
    if not loaded.done():
        loaded.set_result(is_all)


def _patience() -> float:
    """Seconds left. Counted from the first request that waited, so that an outage makes only the first ones wait."""
    for kind in _kinds_behind():
        _behind_since.setdefault(kind, time.monotonic())
    return max(map(_left, generation.KINDS))


def _left(kind: str) -> float:
    since = _behind_since.get(kind)
    return 0.0 if since is None else since + PATIENCE_SECONDS - time.monotonic()


def _kinds_behind() -> list[str]:
    try:
        said = os.pread(_descriptor, generation.LENGTH, 0)
    except OSError:
        return [*generation.KINDS]
    pairs = zip(generation.numbers(_known), generation.numbers(said), strict=True)
    return [kind for kind, (known, changed) in zip(generation.KINDS, pairs, strict=True) if known != changed]


def _tell() -> None:
    """Once, however many wait."""
    global _told
    since = min(_behind_since.values(), default=None)
    if _told != since:
        _told = since
        until = "credentials are refused" if "trust" in _kinds_behind() else "the policy stays as it was"
        logger.error("policy: a change could not be loaded within %g s: until it is, %s", PATIENCE_SECONDS, until)
