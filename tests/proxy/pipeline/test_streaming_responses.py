from __future__ import annotations

import hashlib
import os
import threading
import time

import pytest

from tests.support import raw
from tests.support.scripted import Kept, Script, answer, keep_connection
from tests.support.streams import BLOCK, MIB, Events, Memory, Torrent, sockets, wait_until


def get(gateway, path="/api/public/x", version="HTTP/1.1") -> bytes:
    return raw.request("GET", path, host=f"localhost:{gateway.port}").replace(b"HTTP/1.1", version.encode())


@pytest.fixture(autouse=True, params=["new", "kept"])
def way(request, gateway, upstream):
    """Each test with a new connection and with a kept one."""
    if request.param == "kept":
        keep_connection(gateway, upstream)


def test_each_event_of_a_stream_arrives_at_once(gateway, upstream):
    upstream.reply(events := Events())
    with gateway.connect() as client:
        client.send(get(gateway))
        assert client.read_head().header("content-type") == "text/event-stream"  # before any event
        for number in range(5):
            event = b"data: %d\n\n" % number
            events.send(event)
            assert client.read_chunk() == event


def test_a_client_of_http_1_0_gets_events_as_they_come(gateway, upstream):
    upstream.reply(events := Events())
    with gateway.connect() as client:
        client.send(get(gateway, version="HTTP/1.0"))
        client.read_head()
        for number in range(3):
            event = b"data: %d\n\n" % number
            events.send(event)
            assert client.read(len(event)) == event


def test_each_of_many_streams_gets_its_own_events(gateway, upstream):
    upstream.reply(events := Events())
    clients = [gateway.connect() for _ in range(200)]
    for number, client in enumerate(clients):
        client.send(get(gateway, f"/api/public/{number}"))
    assert [client.read_head().status for client in clients] == [200] * 200
    assert wait_until(lambda: len(events.streams) == 200)
    for stream, request in events.streams:
        stream.send(b"%x\r\n%b\r\n" % (len(request.path), request.path))
    for number, client in enumerate(clients):
        assert client.read_chunk() == b"/api/public/%d" % number
        client.close()
    assert wait_until(lambda: events.closed == 200)


def test_a_client_that_stops_reading_pauses_the_upstream(gateway, upstream):
    gateway.get("/api/public/warm")
    upstream.reply(torrent := Torrent(1024))
    memory = Memory(gateway)
    with gateway.connect(receive_buffer=65536) as client:
        client.send(get(gateway))
        assert client.read_head().header("content-length") == str(1024 * MIB)
        assert wait_until(torrent.stands_still, 10)
        assert torrent.sent < 48  # kernel buffers on the way
        assert memory.grown() < 16
        assert client.read(MIB) == BLOCK
    assert torrent.ended.wait(2)


def test_small_chunks_nobody_reads_are_bounded_too(gateway, upstream):
    """A megabyte in chunks of two bytes would be half a million objects."""
    chunks = b"2\r\nxx\r\n" * 20_000

    def flood(connection, request):
        connection.send(Events.HEAD)
        try:
            while True:
                connection.send(chunks)
        except OSError:
            ended.set()

    ended = threading.Event()
    upstream.reply(flood)
    memory = Memory(gateway)
    with gateway.connect(receive_buffer=4096) as client:
        client.send(get(gateway))
        client.read_head()
        time.sleep(1.5)
        assert memory.grown() < 16
    assert ended.wait(5)


def test_pipelined_requests_whose_answers_nobody_reads_are_bounded(gateway, upstream):
    upstream.reply(Kept(answer(body=BLOCK)))
    memory = Memory(gateway)
    with gateway.connect(receive_buffer=65536) as client:
        client.send(get(gateway) * 300)
        assert wait_until(lambda: _stands_still(lambda: len(upstream.requests)), 10)
        assert len(upstream.requests) < 48
        assert memory.grown() < 16
        assert [response.body == BLOCK for response in client.responses(100)] == [True] * 100


def _stands_still(value) -> bool:
    before = value()
    time.sleep(0.3)
    return before == value()


def test_a_long_download_arrives_whole_in_constant_memory(gateway, upstream):
    upstream.reply(Torrent(256))
    memory, digest, most = Memory(gateway), hashlib.sha256(), 0.0
    with gateway.connect() as client:
        client.send(get(gateway))
        left = int(client.read_head().header("content-length") or 0)
        while left:
            data = client.read_some()
            digest.update(data)
            if left // (16 * MIB) != (left - len(data)) // (16 * MIB):
                most = max(most, memory.grown())
            left -= len(data)
    wanted = hashlib.sha256()
    for _ in range(256):
        wanted.update(BLOCK)
    assert digest.digest() == wanted.digest()
    assert most < 16


def test_a_hundred_thousand_tiny_chunks_arrive_whole(gateway, upstream):
    body = os.urandom(100_000)
    chunks = b"".join(b"1\r\n%b\r\n" % body[i : i + 1] for i in range(len(body)))
    upstream.reply(lambda connection, request: connection.send(Events.HEAD + chunks + b"0\r\n\r\n"))
    memory, began = Memory(gateway), time.monotonic()
    assert gateway.get("/api/public/x").body == body
    assert time.monotonic() - began < 10
    assert memory.grown() < 16


# --- the client leaves -------------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", [raw.RawClient.close, raw.RawClient.reset], ids=["FIN", "RST"])
@pytest.mark.parametrize(
    "words", [b"", b"HTTP/1.1 200 OK\r\nX: ", Events.HEAD + b"5\r\nhello\r\n"], ids=["waiting", "head", "body"]
)
def test_the_upstream_learns_at_once_that_the_client_has_left(gateway, upstream, words, leave):
    upstream.reply(script := Script(words))
    with gateway.connect() as client:
        client.send(get(gateway))
        upstream.wait(1)
        time.sleep(0.05)
        leave(client)
        assert script.closed.wait(1)


def test_nothing_is_left_behind_by_clients_that_left(gateway, upstream):
    gateway.get("/api/public/warm")
    before = sockets(gateway)
    upstream.reply(Script(Events.HEAD + b"5\r\nhello\r\n"))
    for _ in range(5):
        clients = [gateway.connect() for _ in range(40)]
        for number, client in enumerate(clients):
            client.send(get(gateway))
            if number % 2:
                client.read_head()
            (client.close if number % 4 < 2 else client.reset)()
    assert wait_until(lambda: sockets(gateway) <= before)
    upstream.clear()
    assert gateway.get("/api/public/x").status == 200
