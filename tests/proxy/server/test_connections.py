"""Connections that say nothing: during their TLS handshake, and when there are too many of them."""

from __future__ import annotations

import random
import select
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.server.http1.crowd import Crowd
from tests.support import raw
from tests.support.certificates import Certificates
from tests.support.echo_app import EchoServer


@pytest.fixture
def tls_server(tmp_path: Path, certificates: Certificates) -> Iterator[EchoServer]:
    files = (str(certificates.cert_file), str(certificates.key_file))
    with EchoServer(tmp_path / "echo", tls=files, head_seconds=1.0) as server:
        yield server


@pytest.mark.parametrize(
    "said", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], ids=["nothing", "half a hello"]
)
def test_a_handshake_has_as_long_as_a_head(tls_server: EchoServer, said: bytes) -> None:
    with tls_server.connect() as client:
        client.send(said)
        assert not client.is_closed(timeout=0.5)
        assert client.is_closed(timeout=3)


def test_a_finished_handshake_is_answered(tls_server: EchoServer, certificates: Certificates) -> None:
    with tls_server.connect(tls=certificates.client_context()) as client:
        answer = client.send(raw.request()).response()
    assert (answer.status, answer.json()["scheme"]) == (200, "https")


def test_a_client_that_shuts_its_side_has_left_although_it_has_not_taken_all(tmp_path: Path) -> None:
    """So little is left to send that nothing waits for it, and none of it is ever taken."""
    with EchoServer(tmp_path / "echo", write_seconds=4.0) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        client.connect(server.address)
        client.sendall(raw.request(target="/much?60000"))
        time.sleep(0.5)
        assert "disconnect" not in server.events
        client.shutdown(socket.SHUT_WR)
        server.wait_for(lambda: "disconnect" in server.events, timeout=2)
        reset = select.poll()
        reset.register(client, 0)
        assert reset.poll(20_000)


def test_one_connection_too_many_is_closed_before_it_says_a_word(tmp_path: Path) -> None:
    with EchoServer(tmp_path / "echo", connections=4) as server:
        kept = [server.connect().send(raw.request(target="/slow?2")) for _ in range(4)]
        time.sleep(0.1)
        with server.connect() as late:
            assert late.response().status == 503
            assert late.is_closed(timeout=1)
        answers = [client.response().status for client in kept]
        for client in kept:
            client.close()
        assert answers == [200] * 4
        server.wait_for(lambda: server.send(raw.request()).status == 200)


@pytest.mark.parametrize("newcomer", ["127.0.0.1", "127.0.0.3"])
def test_a_new_connection_takes_the_place_of_an_idle_one_of_the_client_with_most(tmp_path: Path, newcomer: str) -> None:
    with EchoServer(tmp_path / "echo", connections=6) as server:
        modest = [server.connect(source="127.0.0.2") for _ in range(2)]
        greedy = [server.connect(source="127.0.0.1") for _ in range(4)]
        for client in (*modest, *greedy):
            assert client.send(raw.request()).response().status == 200
        with server.connect(source=newcomer) as late:
            assert late.send(raw.request()).response().status == 200
            assert greedy[0].is_closed(timeout=1)
            statuses = [client.send(raw.request()).response().status for client in (*modest, *greedy[1:])]
        for client in (*modest, *greedy):
            client.close()
    assert statuses == [200] * 5


def test_a_trusted_proxy_gives_no_connection_for_another_client(tmp_path: Path) -> None:
    """It brings many, however few it looks like."""
    with EchoServer(tmp_path / "echo", connections=6, trusted_proxies="127.0.0.2") as server:
        proxy = [server.connect(source="127.0.0.2") for _ in range(4)]
        greedy = [server.connect(source="127.0.0.1") for _ in range(2)]
        for client in (*proxy, *greedy):
            assert client.send(raw.request()).response().status == 200
        with server.connect(source="127.0.0.3") as late:
            assert late.send(raw.request()).response().status == 200
            assert greedy[0].is_closed(timeout=1)
            # Nobody else has more than one.
            with server.connect(source="127.0.0.4") as later:
                assert later.response().status == 503
            statuses = [client.send(raw.request()).response().status for client in (*proxy, greedy[1])]
        for client in (*proxy, *greedy):
            client.close()
    assert statuses == [200] * 5


def test_a_trusted_proxy_gets_a_place_in_a_full_worker(tmp_path: Path) -> None:
    with EchoServer(tmp_path / "echo", connections=4, trusted_proxies="127.0.0.2") as server:
        greedy = [server.connect(source="127.0.0.1").send(b"GET / HTTP/1.1\r\n") for _ in range(4)]
        time.sleep(0.3)
        proxy = [server.connect(source="127.0.0.2") for _ in range(3)]
        statuses = [client.send(raw.request()).response().status for client in proxy]
        for client in (*proxy, *greedy):
            client.close()
    assert statuses == [200] * 3


@pytest.mark.parametrize("unfinished", ["head", "body", "answer"])
def test_connections_that_keep_the_server_waiting_do_not_keep_another_client_out(
    tmp_path: Path, unfinished: str
) -> None:
    said = {
        "head": b"GET / HTTP/1.1\r\n",
        "body": raw.request("POST", headers=[("Content-Length", "9")]),
        "answer": raw.request(target="/flood"),
    }
    with EchoServer(tmp_path / "echo", connections=4) as server:
        greedy = [server.connect(receive_buffer=4096).send(said[unfinished]) for _ in range(4)]
        time.sleep(1)
        with server.connect(source="127.0.0.2") as late:
            assert late.send(raw.request()).response().status == 200
        for client in greedy:
            client.close()


def test_no_request_at_work_is_given_up_for_another(tmp_path: Path) -> None:
    with EchoServer(tmp_path / "echo", connections=2) as server:
        working = [server.connect().send(raw.request(target="/slow?1")) for _ in range(2)]
        time.sleep(0.2)
        with server.connect(source="127.0.0.2") as late:
            assert late.response().status == 503
        assert [client.response().status for client in working] == [200] * 2
        for client in working:
            client.close()


def test_whoever_has_most_is_known_after_any_coming_and_going() -> None:
    crowd, there, chance = Crowd(), [], random.Random(7)
    for _ in range(3000):
        if there and chance.random() < 0.5:
            crowd.remove(*there.pop(chance.randrange(len(there))))
        else:
            there.append((f"client{chance.randrange(9)}", Idle()))
            crowd.add(*there[-1])
        counts = Counter(client for client, _ in there)
        spared = crowd.dispensable("newcomer")
        most = max(counts.values(), default=0)
        assert (spared is None) is (most < 2)
        assert spared is None or counts[next(client for client, one in there if one is spared)] == most


class Idle:
    is_idle = True
