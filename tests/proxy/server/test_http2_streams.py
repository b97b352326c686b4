"""What a client of the gateway's own pages has over HTTP/2: a hundred streams on each connection."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.authgate.ratelimit.test_password_guesses import (
    PASSWORD,
    Operator,
    start,  # noqa: F401  (a fixture)
    with_root,  # noqa: F401  (another)
)
from tests.proxy.pipeline.test_page_answers import PAGES
from tests.support.hasty import HASTY
from tests.support.http2 import Http2Client, head
from tests.support.streams import Memory

STREAMS = 100
FORMS = ("/admin/login/", "/auth/logout", "/auth/sessions/end", "/auth/backchannel-logout/x")

# Ten attempts of all strangers together: no more forms of that page are even read.
PASSWORDS_LIMITED = {"rate_limited"}


def client_of(gateway, **options):
    return Http2Client(gateway.address, **options)


def open_forms(gateway, client, paths, *fields, addresses=1):
    """As a trusted proxy's connection brings them: of clients at so many addresses."""
    streams = []
    for number in range(STREAMS):
        of = ("x-forwarded-for", f"2001:db8:ffff:{number % addresses:x}::1")
        block = head(paths[number % len(paths)], "POST", of, *fields, authority=f"localhost:{gateway.port}")
        streams.append(client.open(block, end=False))
    return streams


def sign_in(gateway, address):
    return Operator(gateway, address).try_password(PASSWORD).status


@pytest.mark.parametrize("paths", [FORMS, ("/auth/me", "/auth/login", "/admin/", "/dashboard")], ids=["forms", "pages"])
def test_endless_bodies_on_one_connection_are_refused_and_cost_no_memory(start, paths):  # noqa: F811
    gateway = start(args=("--http2",))
    operator = Operator(gateway)
    assert operator.try_password(PASSWORD).status == 302
    memory = Memory(gateway)
    with client_of(gateway) as client:
        streams = open_forms(gateway, client, paths, addresses=25)
        for _ in range(40):
            for stream in streams:
                client.send_body(stream, b"a" * 65536)
        assert memory.grown() < 24
        operator.come_back()
        assert operator.try_password(PASSWORD).status == 302
        assert client.wait_for(lambda: len(client.ended) == STREAMS)
        assert {*client.reasons()} - PASSWORDS_LIMITED == {"body_too_large"}
        assert client.reasons()[1::4] == ["body_too_large"] * (STREAMS // 4)


@pytest.mark.parametrize("path", ["/admin/logout/", "/auth/backchannel-logout/x"])
def test_unfinished_forms_of_one_client_take_its_part_and_keep_nobody_from_signing_in(start, path):  # noqa: F811
    """Not even somebody at the same address."""
    gateway = start(args=("--http2",))
    sign_in(gateway, "")
    memory = Memory(gateway)
    with client_of(gateway) as first, client_of(gateway) as second:
        for client in (first, second):
            for stream in open_forms(gateway, client, [path], ("content-length", "65536")):
                client.send_body(stream, b"a" * 65000)
        assert second.wait_for(lambda: len(second.ended) > 50)
        assert set(second.reasons()) == {"busy"}
        assert not first.ended
        assert memory.grown() < 24
        assert [sign_in(gateway, address) for address in ("2001:db8:ffff::1", "")] == [302] * 2


def test_forms_that_are_not_finished_in_time_are_answered_and_given_up(start_gateway):
    trusted = {"AUTHGATE_TRUSTED_PROXIES": "127.0.0.1"}
    gateway = start_gateway(args=("--http2",), program=HASTY, env=trusted)
    with client_of(gateway) as client:
        streams = open_forms(gateway, client, FORMS, ("content-length", "65536"), addresses=25)
        began = time.monotonic()
        while len(client.ended) < STREAMS and time.monotonic() - began < 5:
            for stream in streams:
                client.send_body(stream, b"a")
            time.sleep(0.1)
        assert {*client.reasons()} - PASSWORDS_LIMITED == {"body_timeout"}
        assert client.reasons()[1::4] == ["body_timeout"] * (STREAMS // 4)


@pytest.mark.parametrize("path", PAGES, ids=["admin", "auth"])
def test_answers_that_one_connection_does_not_take_keep_nobody_from_the_page(start_gateway, path):
    gateway = start_gateway(args=("--http2",))
    memory = Memory(gateway)
    block = head(path, authority=f"localhost:{gateway.port}")
    with client_of(gateway, window=0) as client, ThreadPoolExecutor(9) as others:
        for number in range(4, STREAMS + 1, 4):  # as many at once as there are turns for strangers
            for _ in range(4):
                client.open(block, end=True)
            assert client.wait_for(lambda number=number: len(client.answers) == number)
        began = time.monotonic()
        statuses = [answer.status for answer in others.map(gateway.get, ["/admin/login/"] * 9)]
        assert (statuses, time.monotonic() - began < 5) == ([200] * 9, True)
        assert (len(client.answers), client.ended) == (STREAMS, set())
        assert memory.grown() < 24


@pytest.mark.parametrize("path", PAGES, ids=["admin", "auth"])
def test_a_page_that_is_not_taken_counts_until_its_time_is_over(start_gateway, path):
    """Small enough for the server library to keep all of it. A page is logged when it has been taken, or given up."""
    gateway = start_gateway(args=("--http2",), program=HASTY)
    gateway.settle()
    with client_of(gateway, window=0) as client:
        began = time.monotonic()
        client.open(head(path, authority=f"localhost:{gateway.port}"), end=True)
        gateway.log_lines(wait_for=1, path=path.split("?")[0])
        assert time.monotonic() - began > 1
