"""Whether Redis does what limits need of it."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from redis.exceptions import NoPermissionError, RedisError

from authgate.ratelimit.shared import Client, connect

_SECONDS = 3.0  # for all questions


class RedisTrouble(OSError):
    pass


class Answered(NamedTuple):
    version: str
    seconds: float  # that one limit takes


async def diagnose(url: str) -> Answered:
    """Raises RedisTrouble."""
    client = connect(url)
    try:
        async with asyncio.timeout(_SECONDS):
            await _take(client)  # connects, and brings the script
            begun = time.perf_counter()
            await _take(client)
            took = time.perf_counter() - begun
            return Answered(await _version(client), took)
    except TimeoutError as error:
        raise RedisTrouble("no answer in time") from error
    except (RedisError, OSError, ValueError) as error:
        raise RedisTrouble(str(error).rstrip(".") or type(error).__name__) from error
    finally:
        await client.redis.aclose()


async def _take(client: Client) -> None:
    """From a limit of nobody, which is full again after a microsecond."""
    await client.script(keys=["authgate:doctor"], args=[1, 1])


async def _version(client: Client) -> str:
    try:
        info = await client.redis.info("server")
    except NoPermissionError:
        return "it does not tell its version"
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info.get('redis_version', '')}"
