"""What a client that takes a large answer slowly costs in memory: a piece or two, whichever way its request went."""

from __future__ import annotations

import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.support import raw
from tests.support.http2 import END_HEADERS, END_STREAM, HEADERS, SETTINGS, frame, head
from tests.support.scripted import Kept, answer
from tests.support.streams import Memory, Torrent, wait_until

CLIENTS = 40
FIRST = 8  # clients beside which the others are measured
BLOCKS = 64  # MiB of an answer: more than both kernels take


def slowly(connection, request):
    time.sleep(0.5)
    Kept(answer(body=b"x"))(connection, request)


def keep_upstream_connections(gateway, upstream, clients):
    upstream.reply(slowly)
    with ThreadPoolExecutor(clients) as others:
        assert {one.status for one in others.map(gateway.get, ["/api/public/x"] * clients)} == {200}


def stand_still(torrents):
    before = [torrent.sent for torrent in torrents]
    time.sleep(1)
    return before == [torrent.sent for torrent in torrents]


SLOW_NETWORK = {"receive_buffer": 4096, "segment": 1460}


def kib_each(gateway, upstream, tls=None, *, network=SLOW_NETWORK, taken=0):
    """When nothing moves any more. `taken`: MiB that each client takes as fast as it can, before it stands still.

    Beside some that stand still already: what the first of them leave in the allocator, the others use again.
    """
    torrents = []

    def send_much(connection, request):
        torrents.append(torrent := Torrent(BLOCKS))
        torrent(connection, request)

    upstream.reply(send_much)

    def stand(clients):
        before = len(torrents)
        for _ in range(clients):
            client = stack.enter_context(gateway.connect(**network, tls=tls))
            client.send(raw.request(target="/api/public/x", host=f"localhost:{gateway.port}"))
            client.read(taken << 20)
        assert wait_until(lambda: len(torrents) == before + clients, 10)
        assert wait_until(lambda: stand_still(torrents), 30)

    with ExitStack() as stack:
        stand(FIRST)
        memory = Memory(gateway)
        stand(CLIENTS)
        assert all(torrent.sent < BLOCKS for torrent in torrents)
        return memory.grown() * 1024 / CLIENTS


@pytest.mark.parametrize(("way", "most"), [("kept", 96), ("new", 112), ("http2", 320)])
def test_a_slow_reader_costs_little_memory(start_gateway, upstream, way, most):
    """64 KiB of the answer, and all that a request in flight needs; Granian keeps 72 KiB more, and four messages."""
    gateway = start_gateway(args=("--http2",) if way == "http2" else ())
    keep_upstream_connections(gateway, upstream, clients=CLIENTS if way == "kept" else 1)
    each = kib_each(gateway, upstream)
    assert 0 < each < most


@pytest.mark.parametrize("way", ["kept", "new"])
def test_a_client_that_was_fast_and_stands_still_costs_no_more(start_gateway, upstream, way):
    """Large pieces are read for it only while its kernel has room for all of one."""
    gateway = start_gateway()
    keep_upstream_connections(gateway, upstream, clients=CLIENTS if way == "kept" else 1)
    each = kib_each(gateway, upstream, network={}, taken=4)
    assert 0 < each < 112


def test_a_slow_reader_by_tls_costs_little_memory(start_gateway, upstream, certificates):
    """Encrypted, it lies in a buffer more; and a handshake alone leaves some 60 KiB."""
    files = ("--tls-cert", str(certificates.cert_file), "--tls-key", str(certificates.key_file))
    gateway = start_gateway(args=files, tls=True)
    context = certificates.client_context()
    with gateway.connect(tls=context) as client:
        client.send(raw.request(target="/api/public/x", host=f"localhost:{gateway.port}")).response()
    each = kib_each(gateway, upstream, context)
    assert 0 < each < 384


def test_a_hundred_answers_that_one_connection_does_not_take_are_bounded(start_gateway, upstream):
    gateway = start_gateway(args=("--http2",))
    keep_upstream_connections(gateway, upstream, clients=1)
    upstream.clear()
    upstream.reply(Torrent(32))
    memory = Memory(gateway)
    with socket.create_connection(gateway.address, 5) as client:
        no_window = struct.pack(">HI", 4, 0)
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, no_window))
        block = head("/api/public/x", authority=f"localhost:{gateway.port}")
        for stream in range(1, 201, 2):
            client.sendall(frame(HEADERS, END_HEADERS | END_STREAM, stream, block))
        assert wait_until(lambda: len(upstream.requests) >= 100, 10)
        time.sleep(1)
        assert 0 < memory.grown() < 25
