"""Names with several addresses, and names that lead elsewhere while the gateway runs."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
import uvloop

from authgate.policy.schema import UpstreamTls
from proxy.upstream import endpoint as endpoints
from proxy.upstream.dial import STAGGER_SECONDS, allowed_addresses
from proxy.upstream.endpoint import Endpoint
from proxy.upstream.resolve import FRESH_SECONDS, USABLE_SECONDS, Resolver
from proxy.upstream.targets import UpstreamUnreachable, parse_target
from tests.support.dead_targets import Blackhole
from tests.support.upstream import RecordingUpstream


class Names:
    """A name service that says what a test wants, and its clock."""

    def __init__(self, *addresses: str) -> None:
        self.addresses, self.asked, self.now = list(addresses), 0, 0.0

    async def look_up(self, host):
        self.asked += 1
        if not self.addresses:
            raise socket.gaierror(-2, "Name or service not known")
        return self.addresses

    @property
    def resolver(self) -> Resolver:
        return Resolver(self.look_up, lambda: self.now)


def run(test):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(test)


def named(names: Names, port: int) -> Endpoint:
    return Endpoint("api", parse_target(f"http://service.test:{port}"), UpstreamTls(), names.resolver)


async def connect(endpoint: Endpoint) -> str:
    connection = await endpoint.connect(3)
    connection.abort()
    return connection.address


@pytest.fixture
def service():
    with RecordingUpstream() as upstream:
        yield upstream


def test_the_second_address_serves_at_once_where_the_first_refuses(service):
    async def test():
        began = time.monotonic()
        assert await connect(named(Names("127.0.0.9", "127.0.0.1"), service.port)) == "127.0.0.1"
        assert time.monotonic() - began < STAGGER_SECONDS

    run(test())


def test_the_second_address_serves_soon_where_the_first_swallows_and_is_first_from_then_on(service):
    hole = Blackhole("127.0.0.9", service.port)

    async def test():
        endpoint = named(Names("127.0.0.9", "127.0.0.1"), service.port)
        began = time.monotonic()
        assert await connect(endpoint) == "127.0.0.1"
        assert time.monotonic() - began < STAGGER_SECONDS + 0.5
        began = time.monotonic()
        assert await connect(endpoint) == "127.0.0.1"
        assert time.monotonic() - began < STAGGER_SECONDS

    run(test())
    hole.close()


def test_ipv6_is_tried_first_where_the_name_says_so_and_ipv4_serves(service):
    run(connect(named(Names("::1", "127.0.0.1"), service.port)))
    with RecordingUpstreamV6() as v6:

        async def test():
            assert await connect(named(Names("::1", "127.0.0.1"), v6.port)) == "::1"
            target = parse_target(f"http://[::1]:{v6.port}")
            assert await connect(Endpoint("api", target, UpstreamTls(), Resolver())) == "::1"

        run(test())


class RecordingUpstreamV6:
    def __enter__(self):
        self._listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
        self.port = self._listener.getsockname()[1]
        return self

    def __exit__(self, *exc):
        self._listener.close()


def test_where_no_address_answers_it_is_told_why(service):
    async def test():
        with pytest.raises(ConnectionRefusedError):
            await connect(named(Names("127.0.0.8", "127.0.0.9"), service.port))
        with pytest.raises(socket.gaierror):
            await connect(named(Names(), service.port))

    run(test())


def test_an_address_that_must_not_be_connected_to_never_is(service):
    async def test():
        assert await connect(named(Names("169.254.169.254", "127.0.0.1"), service.port)) == "127.0.0.1"
        with pytest.raises(UpstreamUnreachable, match="cloud metadata"):
            await connect(named(Names("::ffff:169.254.169.254", "fe80::1%eth0"), service.port))

    run(test())


def test_families_take_turns():
    assert allowed_addresses(["::1", "::2", "::3", "10.0.0.1"]) == ["::1", "10.0.0.1", "::2", "::3"]


def test_a_name_is_asked_again_without_anybody_waiting_for_it():
    names = Names("127.0.0.1")

    async def test():
        resolver = names.resolver
        assert await resolver.addresses("a") == ("127.0.0.1",)
        names.addresses = ["127.0.0.2"]
        assert await resolver.addresses("a") == ("127.0.0.1",)
        assert names.asked == 1
        names.now += FRESH_SECONDS
        assert await resolver.addresses("a") == ("127.0.0.1",)
        await asyncio.sleep(0.01)
        assert await resolver.addresses("a") == ("127.0.0.2",)
        assert names.asked == 2

    run(test())


def test_a_name_service_that_is_away_is_survived_for_a_while():
    names = Names("127.0.0.1")

    async def test():
        resolver = names.resolver
        await resolver.addresses("a")
        names.addresses = []
        names.now += USABLE_SECONDS - 1
        for _ in range(2):
            assert await resolver.addresses("a") == ("127.0.0.1",)
            await asyncio.sleep(0.01)
        names.now += 1
        with pytest.raises(socket.gaierror):
            await resolver.addresses("a")

    run(test())


def test_connections_to_an_address_that_the_name_has_no_more_are_not_used_again(service):
    names = Names("127.0.0.1")

    async def test():
        endpoint = named(names, service.port)
        idle, busy = [await endpoint.connect(3) for _ in range(2)]
        endpoint.release(idle)
        endpoint.sweep(0)
        assert endpoint.idle == [idle]
        names.addresses, names.now = ["127.0.0.2"], FRESH_SECONDS
        endpoint.sweep(0)
        await asyncio.sleep(0.01)
        endpoint.sweep(0)
        assert endpoint.idle == []
        assert idle.transport.is_closing()
        assert not busy.transport.is_closing()
        endpoint.release(busy)
        assert busy.transport.is_closing()
        await asyncio.sleep(0.01)
        assert endpoint.open == 0

    run(test())


def test_what_is_idle_for_long_is_closed(service):
    async def test():
        endpoint = named(Names("127.0.0.1"), service.port)
        old, new = [await endpoint.connect(3) for _ in range(2)]
        endpoint.release(old)
        endpoint.release(new)
        old.idle_since -= endpoints.MAX_IDLE_SECONDS
        endpoint.sweep(time.monotonic())
        assert endpoint.idle == [new]
        endpoint.close()
        assert new.transport.is_closing()

    run(test())
