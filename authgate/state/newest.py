"""Whether this process decides by all that has been committed on this machine, and the wait until it does."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from authgate import generation
from authgate.authn.cache import IdentityCache
from authgate.state.snapshot import Snapshot, current

logger = logging.getLogger(__name__)

# How long requests wait for a database that does not answer. Then the policy stays as it was, and credentials are
# refused until the database says which are revoked.
PATIENCE_SECONDS = 2.0

_descriptor = -1
_known = b""  # content of the file before the installed state was read
_behind_since: dict[str, float] = {}  # by kind, of the first request that waited for it
_waiting: list[_Waiting] = []
_being_served: list[_Waiting] = []
_hurry: Callable[[], None] | None = None
_told: float | None = None
_problem = ""


class _Waiting(NamedTuple):
    """A request, for a state that contains all that was committed when it came."""

    loaded: asyncio.Future[None]
    only_trust: bool  # the policy is that already, or cannot be had in time


def is_behind() -> bool:
    """Something was committed that this process has not loaded. Asked for every request: one system call."""
    try:
        return _descriptor >= 0 and os.pread(_descriptor, generation.LENGTH, 0) != _known
    except OSError:
        return True


async def newest() -> Snapshot | None:
    """The state with everything committed before this call, as soon as it is loaded; else the state of `known`."""
    behind = _kinds_behind()
    if not behind:
        return current()
    for kind in behind:
        _behind_since.setdefault(kind, time.monotonic())
    patience = {kind: left for kind in behind if (left := _patience(kind)) > 0}
    if patience:
        waiting = _Waiting(asyncio.get_running_loop().create_future(), only_trust="policy" not in patience)
        _waiting.append(waiting)
        if _hurry is not None:
            _hurry()
        with suppress(TimeoutError):
            await asyncio.wait_for(waiting.loaded, max(patience.values()))
            # More may have been committed since; this request is older than that.
            return current()
        _tell()
    return known()


def known() -> Snapshot | None:
    """The installed state, without a wait. While a revocation may be missing from it, it accepts no credential."""
    knows_credentials = "trust" not in _kinds_behind()
    snapshot = current()  # afterwards: what was loaded meanwhile is newer than the answer, never older
    if snapshot is None or knows_credentials:
        return snapshot
    return replace(snapshot, knows_credentials=False, identities=IdentityCache())


# -- for the watcher, in its thread ---------------------------------------------------------------------------


def open_file(hurry: Callable[[], None]) -> None:
    """`hurry`: called when a request waits. Without the file, changes are seen when the watcher looks."""
    global _hurry, _known
    close_file()
    _hurry, _known = hurry, b""
    _behind_since.clear()
    _follow()


def begin_with(policy: int, trust: int) -> None:
    """What other workers had read is installed. A file that says nothing has only just been made."""
    caught_up(generation.content(policy, trust) if read() else b"")


def close_file() -> None:
    global _descriptor
    descriptor, _descriptor = _descriptor, -1
    if descriptor >= 0:
        os.close(descriptor)


def read() -> bytes:
    """What the file says. All that is committed is to be loaded after this, and then told to `caught_up`."""
    if _descriptor < 0 or generation.is_replaced(_descriptor):
        _follow()
    # Whoever waits since before the file is read gets what it says.
    served = len(_waiting)
    _being_served.extend(_waiting[:served])
    del _waiting[:served]
    try:
        return os.pread(_descriptor, generation.LENGTH, 0) if _descriptor >= 0 else b""
    except OSError as error:
        _report(error)
        close_file()
        return b""


def trust_caught_up(said: bytes) -> None:
    """The trust is installed that was committed when the file said this; the policy is not yet."""
    global _known
    policy, _ = generation.numbers(_known)
    _, trust = generation.numbers(said)
    _known = generation.content(policy, trust)
    _behind_since.pop("trust", None)
    _wake([waiting for waiting in _being_served if waiting.only_trust])
    _being_served[:] = [waiting for waiting in _being_served if not waiting.only_trust]


def caught_up(said: bytes) -> None:
    """Everything is installed that was committed when the file said this."""
    global _known
    _known = said
    _behind_since.clear()
    _wake(_being_served)
    _being_served.clear()


def _follow() -> None:
    """To the file that is there now, in one step: requests read it meanwhile. Of a directory that is away, none is."""
    global _descriptor, _problem
    try:
        opened = generation.open_file()
    except FileNotFoundError:
        return
    except OSError as error:
        _report(error)
        return
    _problem = ""
    if _descriptor < 0:
        _descriptor = opened
    else:
        os.dup2(opened, _descriptor, inheritable=False)
        os.close(opened)


def _report(error: OSError) -> None:
    """Once for each cause."""
    global _problem
    problem = error.strerror or str(error)
    if problem != _problem:
        _problem = problem
        logger.error("%s: %s: changes are seen half a second late", generation.FILE, problem)


def _wake(served: list[_Waiting]) -> None:
    for waiting in served:
        with suppress(RuntimeError):  # its loop is closed
            waiting.loaded.get_loop().call_soon_threadsafe(_resolve, waiting.loaded)


def _resolve(loaded: asyncio.Future[None]) -> None:
    if not loaded.done():
        loaded.set_result(None)


def _patience(kind: str) -> float:
    """Seconds left. Counted from the first request that waited, so that an outage makes only the first ones wait."""
    return _behind_since.get(kind, time.monotonic()) + PATIENCE_SECONDS - time.monotonic()


def _kinds_behind() -> list[str]:
    if _descriptor < 0:
        return []
    try:
        said = os.pread(_descriptor, generation.LENGTH, 0)
    except OSError:
        return [*generation.KINDS]
    known = _known  # once: the watcher may catch up meanwhile
    if said == known:
        return []
    pairs = zip(generation.numbers(known), generation.numbers(said), strict=True)
    behind = [kind for kind, (before, now) in zip(generation.KINDS, pairs, strict=True) if before != now]
    return behind or [*generation.KINDS]


def _tell() -> None:
    """Once, however many wait; again when the other kind falls behind too, for that changes what is refused."""
    global _told
    since = max(_behind_since.values(), default=None)
    if _told != since:
        _told = since
        until = "credentials are refused" if "trust" in _kinds_behind() else "the policy stays as it was"
        logger.error("policy: a change could not be loaded within %g s: until it is, %s", PATIENCE_SECONDS, until)
