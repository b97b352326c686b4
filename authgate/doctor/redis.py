from __future__ import annotations

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

from django.conf import settings

from authgate.doctor.finding import Finding, error, ok, warning
from authgate.doctor.registry import Subject, register
from authgate.ratelimit.diagnose import RedisTrouble, diagnose
from authgate.ratelimit.shared import TIMEOUT

SLOW_SECONDS = TIMEOUT / 5


@register(Subject.REDIS)
def examine_redis() -> Iterator[Finding]:
    if not settings.AUTHGATE_REDIS_URL:
        yield ok("connection", "not used: limits are counted on this machine alone")
        return
    try:
        answered = asyncio.run(diagnose(settings.AUTHGATE_REDIS_URL))
    except RedisTrouble as problem:
        yield error(
            "connection",
            f"{_place()}: {problem}; meanwhile each machine counts limits for itself",
            "See that it runs, correct AUTHGATE_REDIS_URL, and give its user EVALSHA, SCRIPT, TIME, GET and SET.",
        )
        return
    yield ok("connection", f"{_place()}: {answered.version}, and it runs the gateway's script")
    text = f"{answered.seconds * 1000:.1f} ms for a limit"
    if answered.seconds > SLOW_SECONDS:
        yield warning("latency", text, "Every request with a limit waits for it: bring Redis nearer, or see its load.")
    else:
        yield ok("latency", text)


def _place() -> str:
    """The rest of the URL may hold a password."""
    parts = urlsplit(settings.AUTHGATE_REDIS_URL)
    return f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else parts.path
