"""Kept connections: used again when clean, never when not, and never trusted with what must not come twice."""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authgate.policy.schema import UpstreamTls
from proxy.upstream.endpoint import Endpoint
from proxy.upstream.resolve import Resolver
from proxy.upstream.targets import parse_target
from tests.support import raw
from tests.support.scripted import Kept, Script, ThenClose, answer, assert_refusal

CHUNKED = "Transfer-Encoding: chunked"


def connections(upstream) -> list[int]:
    return [request.connection for request in upstream.requests]


@pytest.mark.parametrize(
    ("method", "reply"),
    [
        pytest.param("GET", answer(body=b"hello"), id="length"),
        pytest.param("GET", answer(CHUNKED, body=raw.chunked(b"hello")), id="chunked"),
        pytest.param("GET", answer(CHUNKED, body=b"5\r\nhello\r\n0\r\nX: trailer\r\n\r\n"), id="trailers"),
        pytest.param("GET", answer(status="204 No Content", length=False), id="204"),
        pytest.param("GET", answer("Content-Length: 7", status="304 Not Modified"), id="304"),
        pytest.param("HEAD", answer("Content-Length: 7"), id="HEAD"),
        pytest.param("POST", answer(body=b"hello"), id="POST"),
        pytest.param("GET", answer("Connection: keep-alive", body=b"hello", version="HTTP/1.0"), id="1.0 keep-alive"),
    ],
)
def test_a_connection_whose_exchange_is_complete_is_used_again(gateway, upstream, method, reply):
    upstream.reply(Kept(reply))
    for _ in range(4):
        gateway.request("/api/public/x", method=method, body=b"body" if method == "POST" else None)
    assert len(set(connections(upstream))) == 1


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(answer("Connection: close", body=b"hello"), id="close"),
        pytest.param(answer("Connection: x, CLOSE", body=b"hello"), id="close in a list"),
        pytest.param(answer(body=b"hello", version="HTTP/1.0"), id="1.0"),
    ],
)
def test_a_connection_the_upstream_ends_is_not_used_again(gateway, upstream, reply):
    script = Script(reply)
    upstream.reply(script)
    for _ in range(2):
        assert gateway.get("/api/public/x").body == b"hello"
        assert script.closed.wait(5)
    assert len(set(connections(upstream))) == 2


@pytest.mark.parametrize("late", [b"x", answer(body=b"poison"), b"\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_bytes_on_an_idle_connection_end_it(gateway, upstream, late):
    idle = threading.Event()
    script = Script(answer(body=b"first"), late, delay=0.15)
    upstream.reply(script)
    assert gateway.get("/api/public/x").body == b"first"
    assert not idle.wait(0.05)
    assert script.closed.wait(5)
    upstream.reply(answer(body=b"second"))
    assert gateway.get("/api/public/x").body == b"second"
    assert len(set(connections(upstream))) == 2


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("act", [lambda peer: peer.sendall(answer(body=b"poison")), lambda peer: peer.close()])
def test_a_kept_connection_with_something_unread_is_not_taken(run, act):
    """Bytes the event loop has yet to read would become the answer to the request that takes the connection."""

    async def take_before_the_loop_reads() -> None:
        pool = Endpoint("api", target, UpstreamTls(), Resolver())
        first, second = [await pool.connect(5) for _ in range(2)]
        peers = [listener.accept()[0] for _ in range(2)]
        pool.release(second)
        pool.release(first)
        act(peers[0])
        time.sleep(0.05)
        assert pool.take() is second
        assert first.transport.is_closing()
        second.abort()
        await asyncio.sleep(0)
        for peer in peers:
            peer.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = parse_target(f"http://127.0.0.1:{listener.getsockname()[1]}")
        run(take_before_the_loop_reads())


def test_each_request_at_work_has_its_own_connection(gateway, upstream):
    together = threading.Barrier(8)

    def wait_for_all(connection, request):
        together.wait(5)
        connection.send(answer(body=request.path))
        connection.keep_alive = True

    upstream.reply(wait_for_all)
    paths = [f"/api/public/{n}" for n in range(8)]
    with ThreadPoolExecutor(8) as threads:
        bodies = [response.body for response in threads.map(gateway.get, paths)]
    assert bodies == [path.encode() for path in paths]
    assert len(set(connections(upstream))) == 8


class DiesOn:
    """Answers on every connection until its `number`th request, which it reads and then drops."""

    def __init__(self, number: int, *, reset: bool = False, last_words: bytes = b"") -> None:
        self._number, self._reset, self._last_words = number, reset, last_words
        self._seen: Counter[int] = Counter()

    def __call__(self, connection, request) -> None:
        self._seen[connection.number] += 1
        connection.read_body(request)
        if self._seen[connection.number] < self._number:
            connection.send(answer(body=request.path))
            connection.keep_alive = True
            return
        if self._last_words:
            connection.send(self._last_words)
            time.sleep(0.02)
        if self._reset:
            connection.reset()
        else:
            connection.close()


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_a_request_lost_with_a_kept_connection_is_sent_once_more(gateway, upstream, method, reset):
    upstream.reply(DiesOn(2, reset=reset))
    assert gateway.get("/api/public/first").body == b"/api/public/first"
    response = gateway.request("/api/public/again", method=method)
    assert (response.status, response.body) == (200, b"" if method == "HEAD" else b"/api/public/again")
    assert [request.path for request in upstream.requests] == [b"/api/public/first"] + [b"/api/public/again"] * 2
    assert len(set(connections(upstream))) == 2


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize(
    ("method", "body"),
    [
        pytest.param("POST", None, id="POST without a body"),
        pytest.param("POST", b"body", id="POST"),
        pytest.param("PATCH", None, id="PATCH"),
        pytest.param("PUT", b"body", id="PUT with a body"),
        pytest.param("GET", b"body", id="GET with a body"),
        pytest.param("DELETE", b"body", id="DELETE with a body"),
    ],
)
def test_what_must_not_come_twice_is_not_sent_again(gateway, upstream, method, body, reset):
    upstream.reply(DiesOn(2, reset=reset))
    gateway.get("/api/public/first")
    assert_refusal(gateway.request("/api/public/once", method=method, body=body), 502)
    assert [request.path for request in upstream.requests] == [b"/api/public/first", b"/api/public/once"]


@pytest.mark.parametrize("last_words", [b"H", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_request_whose_answer_has_begun_is_not_sent_again(gateway, upstream, last_words):
    upstream.reply(DiesOn(2, last_words=last_words))
    gateway.get("/api/public/first")
    assert_refusal(gateway.get("/api/public/once"), 502)
    assert len(upstream.requests) == 2


def test_a_request_lost_with_a_new_connection_is_not_sent_again(gateway, upstream):
    upstream.reply(DiesOn(1))
    assert_refusal(gateway.get("/api/public/once"), 502)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("kept", [1, 4])
def test_a_request_is_never_sent_a_third_time(gateway, upstream, kept):
    together = threading.Barrier(kept)

    def keep(connection, request):
        together.wait(5)
        Kept(answer(body=b"first"))(connection, request)

    upstream.reply(keep)
    with ThreadPoolExecutor(kept) as threads:
        assert {response.status for response in threads.map(gateway.get, ["/api/public/first"] * kept)} == {200}
    upstream.requests.clear()
    upstream.reply(DiesOn(1))
    assert_refusal(gateway.get("/api/public/lost"), 502)
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("body", [None, b"body"])
def test_connections_the_upstream_closed_while_idle_cost_no_request(gateway, upstream, body):
    """Not even one that may not be sent twice."""
    for _ in range(10):
        upstream.reply(script := ThenClose(answer(body=b"one")))
        assert gateway.request("/api/public/x", method="POST", body=body).status == 200
        assert script.sent.wait(5)
    assert len(upstream.requests) == 10


def _misbehave(kind: str, token: bytes) -> Script:
    full = answer("Content-Type: text/plain", body=b"own " + token)
    poison = answer(body=b"poison")
    return {
        "extra answer": Script(full + poison),
        "late answer": Script(full, poison, delay=0.001),
        "late byte": Script(full, b"H", delay=0.001),
        "interim": Kept(b"HTTP/1.1 103 Hints\r\n\r\n" + full),
        "chunked and more": Script(answer(CHUNKED, body=raw.chunked(b"own ", token) + poison)),
        "short": ThenClose(answer("Content-Length: 1000", body=poison)),
        "cut chunk": ThenClose(answer(CHUNKED, body=b"ffff\r\n" + poison)),
        "bad framing": Script(answer("Content-Length: 3, 4", body=poison)),
        "bad chunk": Script(answer(CHUNKED, body=b"zz\r\n" + poison)),
        "204 with a body": Script(answer(status="204 No Content", length=False) + poison),
        "early": Script(poison + full, read_body=False),
        "silent close": ThenClose(),
        "reset": ThenClose(reset=True),
        "reset after all": ThenClose(full, reset=True),
        "until close": ThenClose(answer(body=poison, length=False)),
        "upgrade": Script(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + poison),
        "keeps": Kept(full),
    }[kind]


KINDS = [
    "extra answer", "late answer", "late byte", "interim", "chunked and more", "short", "cut chunk", "bad framing",
    "bad chunk", "204 with a body", "early", "silent close", "reset", "reset after all", "until close", "upgrade",
    "keeps",
]  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(["GET", "HEAD", "POST"])), min_size=1, max_size=6)
)
def test_no_misbehaviour_spoils_the_next_exchange(gateway, upstream, steps):
    """Between any odd exchanges, every ordinary request gets exactly its own answer."""
    upstream.clear()
    upstream.reply(lambda connection, request: Kept(answer(body=b"for " + request.path))(connection, request))
    for kind, method in steps:
        token = secrets.token_hex(8)
        script = _misbehave(kind, token.encode())
        upstream.reply(script, path=f"/api/public/odd/{token}")
        with suppress(raw.Truncated, ConnectionError):
            gateway.request(f"/api/public/odd/{token}", method=method, body=b"x" if method == "POST" else None)
        if kind.startswith("late"):
            # What comes behind the next request cannot be told from its answer, in HTTP/1.1.
            assert script.sent.wait(5)
        own = secrets.token_hex(8)
        with ThreadPoolExecutor(2) as threads:
            for response in threads.map(gateway.get, [f"/api/public/{own}"] * 2):
                assert (response.status, response.body) == (200, f"for /api/public/{own}".encode())
