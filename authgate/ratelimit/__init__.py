"""Rate limits. A refused request does not count, and in doubt the answer is a refusal."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.signals import setting_changed

from authgate.policy.table import Limit
from authgate.ratelimit.clients import client_key
from authgate.ratelimit.local import LocalLimits
from authgate.ratelimit.once import ONCE_BYTES, NoRoom, UsedOnce
from authgate.ratelimit.storage import StorageError, create_storage

if TYPE_CHECKING:
    from authgate.ratelimit.shared import SharedLimits

__all__ = ["NoRoom", "StorageError", "client_key", "close", "prepare", "take", "take_here", "take_once"]

_local: LocalLimits | None = None
_limits: LocalLimits | SharedLimits | None = None
_used: UsedOnce | None = None
_LONGEST_USE = 130.0  # seconds that a use is remembered in Redis
_ONCE = Limit("used/once", interval=_LONGEST_USE, burst=1, per="client")  # no name in a policy has a slash


def take(limit: Limit, key: str) -> float | Awaitable[float]:
    """0.0 if allowed, otherwise seconds until the next request would be. Awaitable only if Redis has to be asked."""
    return (_limits or prepare()).take(limit, key)


def take_here(limit: Limit, key: str) -> float:
    """Like take(), but counted on this machine alone: in memory, so that the answer never waits."""
    return (_local or _prepare_local()).take(limit, key)


def take_once(use: str, expires_at: float, now: float) -> bool | Awaitable[bool]:
    """False if it was used before: on this machine, or on any of those that share a Redis. Then alone it is awaitable.

    Raises NoRoom. Nothing may be accepted after `expires_at`, which is no more than two minutes from now.
    """
    if not (_used or _prepare_used()).take(use, expires_at, now):
        return False
    limits = _limits or prepare()
    # While Redis is away, a use counts on each machine alone.
    return True if isinstance(limits, LocalLimits) else limits.is_first(_ONCE, use) or True


def prepare() -> LocalLimits | SharedLimits:
    """Creates the storage of limits. Called before workers are forked, so that they inherit it and count together.

    Raises StorageError.
    """
    global _limits
    local = _local or _prepare_local()
    if _used is None:
        _prepare_used()
    if _limits is None:
        _limits = _share(local, settings.AUTHGATE_REDIS_URL) if settings.AUTHGATE_REDIS_URL else local
    return _limits


def _share(local: LocalLimits, url: str) -> SharedLimits:
    # Not at the top: loading the Redis client takes a fifth of a second, and most gateways and commands have no use for
    # it.
    from authgate.ratelimit.shared import SharedLimits

    return SharedLimits(url, local, gateway=settings.AUTHGATE_PUBLIC_URL, secret=settings.SECRET_KEY)


def _prepare_local() -> LocalLimits:
    global _local
    _local = LocalLimits(create_storage())
    return _local


def _prepare_used() -> UsedOnce:
    global _used
    _used = UsedOnce(create_storage(ONCE_BYTES, "DPoP proofs"))
    return _used


async def close() -> None:
    """Closes the running loop's connections to Redis, before the loop ends."""
    if _limits is not None and not isinstance(_limits, LocalLimits):
        await _limits.close()


def _forget(*, setting: str, **_: object) -> None:
    global _limits
    if setting == "AUTHGATE_REDIS_URL":
        _limits = None


setting_changed.connect(_forget)
