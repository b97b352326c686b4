"""New connections: which addresses are tried, in which order, and which never are."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import zip_longest

from authgate.policy.schema import UpstreamTls
from authgate.policy.targets import address_problem
from proxy.upstream.connection import UpstreamConnection
from proxy.upstream.resolve import Resolver
from proxy.upstream.targets import Target, UpstreamUnreachable
from proxy.upstream.tls import context_of

STAGGER_SECONDS = 0.25  # RFC 8305 5
_MOST_ADDRESSES = 8  # of one name

Make = Callable[[str], UpstreamConnection]  # of an address


async def connect(target: Target, tls: UpstreamTls, resolver: Resolver, make: Make) -> UpstreamConnection:
    """Raises OSError (ssl.SSLError included)."""
    loop = asyncio.get_running_loop()
    if target.scheme == "unix":
        _, connection = await loop.create_unix_connection(lambda: make(""), target.path)
        return _checked(connection)
    context = context_of(tls) if target.scheme == "https" else None
    name = (tls.server_name.strip("[]") or target.host) if context is not None else None

    async def attempt(address: str) -> UpstreamConnection:
        # The address, not the name: what was looked at is what is connected to.
        _, connection = await loop.create_connection(
            lambda: make(address), address, target.port, ssl=context, server_hostname=name
        )
        return _checked(connection)

    if is_address(target.host):
        return await attempt(allowed_addresses([target.host])[0])
    addresses = allowed_addresses(await resolver.addresses(target.host))
    connection = await first_of([partial(attempt, address) for address in addresses])
    resolver.prefer(target.host, connection.address)
    return connection


def is_address(host: str) -> bool:
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return True
    return False


def allowed_addresses(addresses: Sequence[str]) -> list[str]:
    """Those that may be connected to, the families in turn, beginning with that of the first (RFC 8305 4).

    A name that the validator could not judge may lead to the cloud's metadata service. Raises UpstreamUnreachable.
    """
    problems = {each: address_problem(ipaddress.ip_address(each.partition("%")[0])) for each in addresses}
    allowed = [each for each in addresses if problems[each] is None]
    if not allowed:
        raise UpstreamUnreachable(next(filter(None, problems.values()), "the name has no address"))
    families = (
        [each for each in allowed if (":" in each) == (":" in allowed[0])],
        [each for each in allowed if (":" in each) != (":" in allowed[0])],
    )
    return [each for pair in zip_longest(*families) for each in pair if each is not None][:_MOST_ADDRESSES]


async def first_of(attempts: Iterable[Callable[[], Awaitable[UpstreamConnection]]]) -> UpstreamConnection:
    """The first that succeeds. Each begins STAGGER_SECONDS after the one before, or as soon as one has failed."""
    rest = iter(attempts)
    running: set[asyncio.Task[UpstreamConnection]] = set()
    errors: list[BaseException] = []
    begin, more = True, True
    try:
        while True:
            if begin and more:
                more = _begin_next(rest, running)
            if not running:
                raise errors[0]
            done, _ = await asyncio.wait(
                running, timeout=STAGGER_SECONDS if more else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                error = task.exception()
                if error is None:
                    running.discard(task)
                    return task.result()
                running.discard(task)
                errors.append(error)
            begin = True
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_drop)


def _begin_next(
    rest: Iterator[Callable[[], Awaitable[UpstreamConnection]]], running: set[asyncio.Task[UpstreamConnection]]
) -> bool:
    attempt = next(rest, None)
    if attempt is not None:
        running.add(asyncio.ensure_future(attempt()))
    return attempt is not None


def _drop(task: asyncio.Task[UpstreamConnection]) -> None:
    """It was too late."""
    if not task.cancelled() and task.exception() is None:
        task.result().abort()


def _checked(connection: UpstreamConnection) -> UpstreamConnection:
    if connection.transport.is_closing():
        # Nobody would tell the exchange about the end of a connection that ended before it.
        raise UpstreamUnreachable("the connection was closed at once")
    return connection
