"""How a WebSocket ends when one side leaves, resets, says nothing, takes nothing, or when the gateway goes."""

from __future__ import annotations

import signal
import struct
import threading
import time

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.policies import demo_policy
from tests.support.sessions import make_session
from tests.support.streams import Memory, sockets, wait_until
from tests.support.websocket import ACCEPT, WebSocketService, handshake, websocket

SWITCH = (
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    f"Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
).encode()
DRAIN = 2
HALF_A_FRAME = b"\x82\x7e\x01\x00" + b"x" * 100  # of 256 bytes


@pytest.fixture(scope="module")
def site(gateway_template, session_upstream, tmp_path_factory):
    data_dir, policy = tmp_path_factory.mktemp("endings") / "data", demo_policy(session_upstream.target)
    env = {"AUTHGATE_DRAIN_SECONDS": str(DRAIN)}
    with Gateway(data_dir, template=gateway_template, policy=policy, env=env) as started:
        yield started.start()


def opening(site, path, *more):
    return raw.request("GET", path, [*handshake(), *more], host=f"localhost:{site.port}")


class Service:
    """What it says after its 101, and how its side then ends."""

    def __init__(self, words=b"", end=None):
        self.words, self.end = words, end
        self.got = b""
        self.ended = threading.Event()

    def __call__(self, connection, request):
        connection.send(SWITCH + self.words)
        if self.end is not None:
            self.end(connection)
        try:
            while data := connection.socket.recv(65536):
                self.got += data
        except OSError:
            self.got += b"RESET"
        self.ended.set()


@pytest.mark.parametrize("words", [b"", b"\x81\x02hi", HALF_A_FRAME], ids=["nothing", "a frame", "half a frame"])
def test_a_service_that_closes_closes_the_clients_side(site, upstream, words):
    upstream.reply(Service(words, lambda connection: connection.close()))
    with site.connect() as client:
        assert client.send(opening(site, "/api/public/closes")).read_head().status == 101
        assert client.read_all() == words


def test_a_service_that_resets_is_told_and_the_client_is_reset(site, upstream):
    def end(connection):
        time.sleep(0.3)
        connection.reset()

    upstream.reply(Service(b"", end))
    with site.connect() as client:
        assert client.send(opening(site, "/api/public/resets")).read_head().status == 101
        with pytest.raises(ConnectionResetError):
            client.socket.recv(1)
    [line] = site.log_lines(wait_for=1, path="/api/public/resets")
    assert (line["status"], line["cut"]) == (101, "upstream_broken")


@pytest.mark.parametrize("how", ["close", "half_close", "reset"])
def test_a_client_that_leaves_ends_the_services_side_and_its_last_words_arrive(site, upstream, how):
    upstream.reply(service := Service())
    with site.connect() as client:
        assert client.send(opening(site, f"/api/public/{how}")).read_head().status == 101
        client.send(b"\x88\x82\x00\x00\x00\x00\x03\xe8")
        time.sleep(0.1)
        getattr(client, how)()
        assert service.ended.wait(5)
    assert service.got.startswith(b"\x88\x82")
    [line] = site.log_lines(wait_for=1, path=f"/api/public/{how}")
    assert (line["status"], line["cut"]) == (101, None)
    assert wait_until(lambda: sockets(site) == 0 or sockets(site) <= 1)


def test_a_client_that_takes_nothing_stops_the_service_and_no_memory_is_lost(site, upstream):
    sent = 0
    frame = b"\x82\x7f" + struct.pack("!Q", 1 << 20) + b"x" * (1 << 20)

    def flood(connection):
        nonlocal sent
        connection.socket.settimeout(2)
        try:
            for _ in range(200):
                connection.socket.sendall(frame)
                sent += 1
        except OSError:
            pass

    upstream.reply(Service(b"", flood))
    memory = Memory(site)
    with site.connect(receive_buffer=65536) as client:
        assert client.send(opening(site, "/api/public/flood")).read_head().status == 101
        assert wait_until(lambda: _still(lambda: sent), 10)
        assert sent < 100
        assert memory.grown() < 8


def test_a_service_that_takes_nothing_stops_the_client(site, upstream):
    upstream.reply(lambda connection, request: (connection.send(SWITCH), time.sleep(3)))
    sent = 0
    memory = Memory(site)
    with site.connect() as client:
        assert client.send(opening(site, "/api/public/stuck")).read_head().status == 101
        client.socket.settimeout(1)
        with pytest.raises(TimeoutError):
            for _ in range(200):
                client.socket.sendall(b"x" * (1 << 20))
                sent += 1
    assert sent < 100
    assert memory.grown() < 8


def test_an_idle_one_outlives_the_timeouts_of_its_route(gateway_template, tmp_path_factory):
    with WebSocketService() as service:
        policy = demo_policy(service.target).replace(
            "access: public,", "access: public, timeouts: {response: 0.5, idle: 0.5},"
        )
        with Gateway(tmp_path_factory.mktemp("idle") / "data", template=gateway_template, policy=policy) as site:
            site.start()
            with websocket(site, "/api/public/echo") as client:
                time.sleep(2)
                client.send("still here")
                assert client.recv(timeout=5) == "still here"


def test_a_service_that_takes_nothing_is_given_up_also_where_the_client_has_left(site, upstream):
    """Nothing is read from a client meanwhile, so nobody would hear of its leaving."""
    upstream.reply(lambda connection, request: (connection.send(SWITCH), time.sleep(20)))
    site.import_policy(demo_policy(upstream.target).replace("access: public,", "access: public, timeouts: {idle: 1},"))
    try:
        before = sockets(site)
        with site.connect() as client:
            assert client.send(opening(site, "/api/public/deaf")).read_head().status == 101
            client.socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                for _ in range(200):
                    client.socket.sendall(b"x" * (1 << 20))
            client.reset()
        [line] = site.log_lines(wait_for=1, path="/api/public/deaf")
        assert (line["status"], line["cut"]) == (101, "upstream_timeout")
        assert wait_until(lambda: sockets(site) <= before)
    finally:
        site.import_policy(demo_policy(upstream.target))


def test_when_the_gateway_restarts_they_have_the_drain_time_and_are_told(site, upstream):
    with WebSocketService() as service:
        site.import_policy(demo_policy(service.target))
        try:
            with websocket(site, "/api/public/drained/echo") as client:
                site.process.send_signal(signal.SIGHUP)
                time.sleep(DRAIN * 0.5)
                client.send("still here")
                assert client.recv(timeout=5) == "still here"
                with pytest.raises(ConnectionClosed) as closed:
                    client.recv(timeout=10)
            assert closed.value.rcvd.code == 1001
        finally:
            site.import_policy(demo_policy(upstream.target))
    [line] = site.log_lines(wait_for=1, path="/api/public/drained/echo")
    assert line["cut"] == "shutdown"


def test_in_the_midst_of_a_frame_no_word_of_ours_is_put_in(site, upstream):
    upstream.reply(Service(HALF_A_FRAME))
    token = site.mint("cut", fresh=True)
    with site.connect() as client:
        client.send(opening(site, "/api/protected/cut", ("Authorization", f"Bearer {token}")))
        assert client.read_head().status == 101
        assert client.read(len(HALF_A_FRAME)) == HALF_A_FRAME
        site.shell.command("revoke", "--subject", "cut")
        with pytest.raises(ConnectionResetError):
            client.socket.recv(1)
    assert site.log_lines(wait_for=1, path="/api/protected/cut")[0]["cut"] == "revoked"


@pytest.mark.parametrize("unseen", [0, 10**6], ids=["lives", "is over"])
def test_an_expired_cookie_opens_one_if_its_session_lives(site, upstream, unseen):
    upstream.reply(Service(b"\x81\x02hi"))
    made = make_session(site, f"late-{unseen}", slug="main", cookie_age=400, unseen_for=unseen)
    with site.connect() as client:
        client.send(opening(site, "/api/protected/late", ("Origin", site.url), *made.headers))
        head = client.read_head()
        assert head.status == (401 if unseen else 101)
        assert unseen or client.read(4) == b"\x81\x02hi"
    if not unseen:
        assert upstream.only.header("X-Auth-User-ID") == "main|late-0"
        assert "auth_token" not in (upstream.only.header("Cookie") or "")


def _still(read):
    before = read()
    time.sleep(0.5)
    return before == read()
