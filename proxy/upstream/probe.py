"""One request of the gateway's own to a target, on a connection of its own."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime

from authgate.policy.schema import Timeouts, UpstreamTls
from proxy.exchange import Exchange
from proxy.failures import Failure
from proxy.response_headers import Layout, Values
from proxy.upstream import dial
from proxy.upstream.bad_answers import connect_words
from proxy.upstream.connection import UpstreamConnection
from proxy.upstream.resolve import Resolver
from proxy.upstream.targets import Target

_HEAD = b"GET %b HTTP/1.1\r\nhost: %b\r\nuser-agent: authgate-health\r\naccept: */*\r\nconnection: close\r\n\r\n"


class NoAnswer(OSError):
    """The target gave no response. Its text says why; `__cause__` is what kept it from being connected to."""


async def probe(target: Target, tls: UpstreamTls, resolver: Resolver, path: str, seconds: float) -> int:
    """The status of the response, of which no more than the head is read. Raises NoAnswer."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    try:
        async with asyncio.timeout_at(end):
            connection = await dial.connect(
                target, tls, resolver, lambda address: UpstreamConnection(_Nobody(), target, address)
            )
    except OSError as error:
        raise NoAnswer(connect_words(error, seconds)) from error
    answer = _Answer(loop.create_future())
    exchange = Exchange(answer, Timeouts(), None)
    head = _HEAD % (path.encode("ascii"), target.host_header.encode("ascii"))
    exchange.begin(connection, head, head_only=False, chunked=False, body=False)
    try:
        async with asyncio.timeout_at(end):
            return await answer.status
    except TimeoutError as error:
        raise NoAnswer(f"no response within {seconds:g} s") from error
    finally:
        exchange.cancel()


async def certificate_end(target: Target, tls: UpstreamTls, resolver: Resolver, seconds: float) -> datetime:
    """Of the certificate that a target with https shows. Raises OSError."""
    async with asyncio.timeout(seconds):
        connection = await dial.connect(
            target, tls, resolver, lambda address: UpstreamConnection(_Nobody(), target, address)
        )
    shown = connection.transport.get_extra_info("peercert")
    connection.transport.abort()
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC)


class _Answer:
    """Downstream: the status is all that counts."""

    def __init__(self, status: asyncio.Future[int]) -> None:
        self.status = status

    def response_head(self, status: int, layout: Layout, values: Values) -> None:
        if not self.status.done():
            self.status.set_result(status)

    def response_failed(self, failure: Failure) -> None:
        if not self.status.done():
            self.status.set_exception(NoAnswer(failure.what))

    def response_data(self, data: bytes) -> None: ...
    def response_so_far(self) -> None: ...
    def response_end(self) -> None: ...
    def response_strayed(self, target: str, what: str) -> None: ...
    def request_writable(self) -> None: ...
    def still_waiting(self) -> None: ...
    def trust_changed(self) -> None: ...


class _Nobody:
    """Owner of a connection that is not kept."""

    is_doubted = False

    def opened(self, connection: UpstreamConnection) -> None: ...
    def closed(self, connection: UpstreamConnection) -> None: ...
    def answered(self, connection: UpstreamConnection) -> None: ...
    def blame(self, what: str) -> None: ...

    def release(self, connection: UpstreamConnection) -> None:
        connection.transport.abort()

    discard = release
