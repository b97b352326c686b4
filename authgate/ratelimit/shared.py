"""Rate limits shared by machines: exact, by one Redis and its clock. While Redis is down each machine counts alone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from hashlib import blake2b
from typing import NamedTuple
from weakref import WeakKeyDictionary

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from authgate.observe.strangers import NOBODY
from authgate.policy.table import Limit
from authgate.ratelimit.local import LocalLimits

logger = logging.getLogger(__name__)

CONNECTIONS = 16
TIMEOUT = 0.25  # seconds that one request waits; then Redis is not asked for a while
PAUSE = 1.0

# GCRA as in local.py, in microseconds. Counting time from 2020 keeps fractions of a microsecond in a double. A refusal
# writes nothing, unless the limit was raised: then the old debt is cut. The answer is text because Redis truncates
# numbers to integers.
SCRIPT = """
local time = redis.call('TIME')
local now = (time[1] - 1577836800) * 1000000 + time[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local latest = now + interval * burst
local function keep(time)
  redis.call('SET', KEYS[1], string.format('%.17g', time), 'PX', math.ceil((time - now) / 1000) + 1)
end
local full_again = tonumber(redis.call('GET', KEYS[1]) or 0)
if full_again > latest then
  full_again = latest
  keep(latest)
end
full_again = math.max(full_again, now) + interval
if full_again > latest then return string.format('%.17g', full_again - latest) end
keep(full_again)
return '0'
"""


class Client(NamedTuple):
    redis: Redis
    script: AsyncScript


class SharedLimits:
    def __init__(self, url: str, local: LocalLimits, *, gateway: str, secret: str) -> None:
        """`gateway`: its public URL. Machines of one gateway count together, apart from other gateways."""
        self._url = url
        self._local = local
        self._prefix = f"authgate:{gateway.partition('://')[2]}:limit:"
        self._hash_key = blake2b(f"{gateway} {secret}".encode(), digest_size=32, person=b"authgate limits").digest()
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Client] = WeakKeyDictionary()
        self._failed = False
        self._paused_until = 0.0

    def take(self, limit: Limit, key: str) -> float | Awaitable[float]:
        return self._take(limit, key) if self._may_ask() else self._local.take(limit, key)

    def is_first(self, limit: Limit, key: str) -> Awaitable[bool] | None:
        """Whether no other machine has counted it; None: nobody can be asked. True when Redis gives no answer."""
        return self._is_first(limit, key) if self._may_ask() else None

    def _may_ask(self) -> bool:
        if not self._failed:
            return True
        now = time.monotonic()
        if now < self._paused_until:
            return False
        # This request tries Redis again; the others do not wait for its result.
        self._paused_until = now + PAUSE
        return True

    async def _take(self, limit: Limit, key: str) -> float:
        wait = await self._ask(limit, key)
        return self._local.take(limit, key) if wait is None else wait

    async def _is_first(self, limit: Limit, key: str) -> bool:
        return not await self._ask(limit, key)

    async def _ask(self, limit: Limit, key: str) -> float | None:
        """None: no answer."""
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await self._client().script(
                    keys=[self._key(limit.name, key)], args=[limit.interval * 1e6, max(limit.burst, 1)]
                )
            wait = float(answer) / 1e6
        except (RedisError, OSError, TimeoutError, ValueError) as error:
            self._note_failure(error)
            return None
        self._note_success()
        return wait

    async def close(self) -> None:
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.redis.aclose()

    def _client(self) -> Client:
        """The client of the running loop: connections cannot be used from another loop."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = connect(self._url)
        return client

    def _key(self, name: str, key: str) -> str:
        """A digest of fixed length. It is keyed, so that addresses cannot be found by trying them all."""
        digest = blake2b(f"{name}\0{key}".encode(), digest_size=16, key=self._hash_key)
        return f"{self._prefix}{digest.hexdigest()}"

    def _note_failure(self, error: Exception) -> None:
        self._paused_until = time.monotonic() + PAUSE
        if not self._failed:
            self._failed = True
            logger.warning("Redis does not answer (%s): each machine counts alone", type(error).__name__, extra=NOBODY)

    def _note_success(self) -> None:
        if self._failed:
            self._failed = False
            logger.info("Redis answers again: limits count across machines", extra=NOBODY)


def connect(url: str) -> Client:
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=TIMEOUT,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        retry=Retry(NoBackoff(), 1),  # an idle connection may have been closed
    )
    redis = Redis.from_pool(pool)
    return Client(redis, redis.register_script(SCRIPT))
