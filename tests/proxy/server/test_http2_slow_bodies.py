"""Granian waits for ever for the next piece of an upload; the gateway must not."""

from __future__ import annotations

import asyncio

import pytest

from proxy.server.http1.limits import Limits
from proxy.server.http2.server import guard

SCOPE = {
    "type": "http", "http_version": "2", "method": "POST", "raw_path": b"/x", "query_string": b"",
    "headers": [(b"host", b"localhost")], "client": ("192.0.2.1", 1),
}  # fmt: skip


def received(*messages):
    """What an application gets from a client that sends these and then nothing more."""
    seen = []

    async def application(scope, receive, send):
        while not seen or seen[-1]["type"] != "http.disconnect":
            seen.append(await receive())

    async def run():
        left = iter(messages)

        async def receive():
            for message in left:
                return message
            return await asyncio.Event().wait()

        async with asyncio.timeout(2):
            await guard(application, Limits(body_seconds=0.05))(dict(SCOPE), receive, None)

    asyncio.run(run())
    return [message["type"] for message in seen]


def test_a_client_that_stops_in_the_middle_of_a_body_has_left():
    piece = {"type": "http.request", "body": b"a", "more_body": True}
    assert received() == ["http.disconnect"]
    assert received(piece) == ["http.request", "http.disconnect"]


def test_a_client_that_waits_for_its_answer_may_wait():
    whole = {"type": "http.request", "body": b"a", "more_body": False}
    with pytest.raises(TimeoutError):
        received(whole)
