from __future__ import annotations

import hashlib
import socket
import threading
import time

import pytest

from tests.support import raw
from tests.support.scripted import answer
from tests.support.streams import BLOCK, MIB, Memory, wait_until

SIZE = 200


def start(gateway, *fields) -> bytes:
    return raw.request("POST", "/api/public/x", fields, host=f"localhost:{gateway.port}")


class Digest:
    """Hashes a body as it comes and answers with the result."""

    def __call__(self, connection, request) -> None:
        sha = hashlib.sha256()
        request._keep = lambda decoded, raw: sha.update(decoded)
        connection.read_body(request)
        connection.send(answer(body=sha.hexdigest().encode()))
        connection.keep_alive = True  # closing now could meet the next upload half-way


def pieces(framing: str) -> list[bytes]:
    """One MiB, in several chunks if chunked."""
    if framing == "length":
        return [BLOCK]
    sizes = [1, 2, 100, 65_535, 65_536, 300_000]
    sizes.append(MIB - sum(sizes))
    result, at = [], 0
    for size in sizes:
        result.append(b"%x\r\n%b\r\n" % (size, BLOCK[at : at + size]))
        at += size
    return result


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_long_upload_arrives_whole_in_constant_memory(gateway, upstream, framing):
    upstream.reply(Digest())
    gateway.request("/api/public/warm", method="POST", body=b"x")
    field = ("Content-Length", str(SIZE * MIB)) if framing == "length" else ("Transfer-Encoding", "chunked")
    block, wanted, memory, most = b"".join(pieces(framing)), hashlib.sha256(), Memory(gateway), 0.0
    with gateway.connect() as client:
        client.send(start(gateway, field))
        for number in range(SIZE):
            client.send(block)
            wanted.update(BLOCK)
            if number % 16 == 0:
                most = max(most, memory.grown())
        if framing == "chunked":
            client.send(b"0\r\n\r\n")
        assert client.response().text == wanted.hexdigest()
    assert most < 16


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_upstream_that_stops_reading_pauses_the_client(gateway, upstream, framing):
    go = threading.Event()

    def stand_still(connection, request):
        go.wait(20)
        Digest()(connection, request)

    upstream.reply(stand_still)
    count = 64
    field = ("Content-Length", str(count * MIB)) if framing == "length" else ("Transfer-Encoding", "chunked")
    data = BLOCK if framing == "length" else b"%x\r\n%b\r\n" % (MIB, BLOCK)
    memory, sent = Memory(gateway), 0
    with gateway.connect() as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        client.send(start(gateway, field))

        def upload() -> None:
            nonlocal sent
            for _ in range(count):
                client.socket.sendall(data)
                sent += 1
            if framing == "chunked":
                client.socket.sendall(b"0\r\n\r\n")

        thread = threading.Thread(target=upload)
        thread.start()
        assert wait_until(lambda: _stands_still(lambda: sent), 10)
        assert sent < 32
        assert memory.grown() < 16
        go.set()
        thread.join(10)
        wanted = hashlib.sha256(BLOCK * count).hexdigest()
        assert client.response().text == wanted


def _stands_still(value) -> bool:
    before = value()
    time.sleep(0.3)
    return before == value()


def test_both_directions_stream_at_once(gateway, upstream):
    count = 64

    def echo(connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (count * MIB))
        left = count * MIB
        while left:
            data = connection._take(left)
            left -= len(data)
            connection.send(data)

    upstream.reply(echo)
    memory, digest = Memory(gateway), hashlib.sha256()
    with gateway.connect() as client:
        client.send(start(gateway, ("Content-Length", str(count * MIB))))
        thread = threading.Thread(target=lambda: [client.socket.sendall(BLOCK) for _ in range(count)])
        thread.start()
        client.read_head()
        left = count * MIB
        while left:
            data = client.read_some()
            digest.update(data)
            left -= len(data)
        thread.join(5)
    assert digest.hexdigest() == hashlib.sha256(BLOCK * count).hexdigest()
    assert memory.grown() < 16


def test_a_hundred_thousand_tiny_chunks_arrive_whole(gateway, upstream):
    upstream.reply(Digest())
    memory, began = Memory(gateway), time.monotonic()
    body = BLOCK[:100_000]
    chunks = b"".join(b"1\r\n%b\r\n" % body[i : i + 1] for i in range(len(body)))
    response = gateway.send(start(gateway, ("Transfer-Encoding", "chunked")) + chunks + b"0\r\n\r\n")
    assert response.text == hashlib.sha256(body).hexdigest()
    assert time.monotonic() - began < 10
    assert memory.grown() < 16


@pytest.mark.parametrize("leave", [raw.RawClient.close, raw.RawClient.reset], ids=["FIN", "RST"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_client_that_leaves_its_upload_ends_the_request(gateway, upstream, framing, leave):
    closed = threading.Event()

    def read_on(connection, request):
        try:
            connection.read_body(request)
        except OSError:
            closed.set()

    upstream.reply(read_on)
    field = ("Content-Length", "1000000") if framing == "length" else ("Transfer-Encoding", "chunked")
    with gateway.connect() as client:
        client.send(start(gateway, field)).send(b"5\r\nhello\r\n")
        upstream.wait(1)
        leave(client)
        assert closed.wait(1)
    assert not upstream.only.complete
