"""Upstreams that cannot be reached, break off or keep silent."""

from __future__ import annotations

import re
import select
import socket
import threading
import time
from contextlib import suppress

import pytest

from tests.support import raw
from tests.support.dead_targets import Blackhole, refused_target
from tests.support.gateway import Gateway
from tests.support.scripted import Script, ThenClose, answer, assert_refusal, keep_connection, send_at_once
from tests.support.upstream import RecordingUpstream

CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(params=["new", "kept"])
def way(request, impatient, upstream):
    """Each test with a new connection and with a kept one."""
    if request.param == "kept":
        keep_connection(impatient, upstream, "/live/warm")


@pytest.fixture(scope="module")
def blackhole():
    hole = Blackhole()
    yield hole
    hole.close()


@pytest.fixture(scope="module")
def impatient(gateway_template, session_upstream, blackhole, tmp_path_factory):
    """A gateway whose routes wait only briefly."""
    dead = refused_target()
    policy = f"""\
version: 1
upstreams:
  live: {{targets: ["{session_upstream.target}"]}}
  refused: {{targets: ["{dead}"]}}
  unknown: {{targets: ["http://no-such-host.invalid:80"]}}
  blackhole: {{targets: ["{blackhole.target}"]}}
  missing: {{targets: ["unix:{tmp_path_factory.mktemp("none")}/socket"]}}
  half: {{targets: ["{dead}", "{session_upstream.target}"]}}
  slowhalf: {{targets: ["{blackhole.target}", "{session_upstream.target}"], timeouts: {{connect: 0.3}}}}
routes:
  - {{name: live, path: /live, access: public, upstream: live, timeouts: {{response: 0.6, idle: 0.6}}}}
  - {{name: patient, path: /patient, access: public, upstream: live, timeouts: {{response: 5, idle: 0.6}}}}
  - {{name: refused, path: /refused, access: public, upstream: refused}}
  - {{name: unknown, path: /unknown, access: public, upstream: unknown}}
  - {{name: blackhole, path: /blackhole, access: public, upstream: blackhole, timeouts: {{connect: 0.3}}}}
  - {{name: missing, path: /missing, access: public, upstream: missing}}
  - {{name: half, path: /half, access: public, upstream: half}}
  - {{name: slowhalf, path: /slowhalf, access: public, upstream: slowhalf}}
"""
    data_dir = tmp_path_factory.mktemp("impatient") / "data"
    with Gateway(data_dir, template=gateway_template, policy=policy) as gateway:
        yield gateway.start()
        assert not re.search("Traceback|never retrieved|was destroyed|never awaited", gateway.output), gateway.output


@pytest.mark.parametrize(
    ("path", "status"), [("/refused", 502), ("/unknown", 502), ("/missing", 502), ("/blackhole", 504)]
)
@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", b"body")])
def test_an_upstream_that_cannot_be_reached_is_told_in_time(impatient, path, status, method, body):
    began = time.monotonic()
    assert_refusal(impatient.request(path, method=method, body=body), status)
    assert time.monotonic() - began < 4


def test_a_refusal_to_head_has_no_body(impatient):
    response = impatient.request("/refused", method="HEAD")
    assert (response.status, response.body) == (502, b"")


def test_a_browser_gets_a_page_with_the_same_request_id(impatient):
    response = impatient.get("/refused", headers=[("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate")])
    assert (response.status, response.header("content-type")) == (502, "text/html; charset=utf-8")
    assert (response.header("x-request-id") or "?") in response.text


def test_refusals_tell_nothing_about_the_upstream(impatient):
    body = impatient.get("/unknown").text
    assert "no-such-host" not in body
    assert "127.0.0.1" not in body


@pytest.mark.parametrize("path", ["/half", "/slowhalf"])
def test_another_target_serves_when_one_cannot_be_reached(impatient, upstream, path):
    for number in range(6):
        method, body = ("POST", b"body") if number % 2 else ("GET", None)
        assert impatient.request(f"{path}/{number}", method=method, body=body).status == 200
    assert len(upstream.requests) == 6


def test_targets_take_turns(start_gateway, upstream):
    with RecordingUpstream() as other:
        policy = f"""\
version: 1
upstreams: {{both: {{targets: ["{upstream.target}", "{other.target}"]}}}}
routes: [{{name: all, path: /, access: public, upstream: both}}]
"""
        gateway = start_gateway(policy=policy)
        for _ in range(8):
            gateway.get("/x")
        assert (len(upstream.requests), len(other.requests)) == (4, 4)


@pytest.mark.parametrize("leave", [raw.RawClient.close, raw.RawClient.reset], ids=["FIN", "RST"])
def test_a_client_that_leaves_while_the_gateway_connects_does_no_harm(impatient, upstream, leave):
    """What it left in the log, were it a traceback, fails the fixture."""
    for _ in range(5):
        with impatient.connect() as client:
            client.send(b"GET /slowhalf/left HTTP/1.1\r\nHost: localhost\r\n\r\n")
            time.sleep(0.05)
            leave(client)
    time.sleep(0.5)
    assert impatient.get("/half/x").status == 200


# --- breaking off ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("last_words", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"])
def test_a_connection_lost_before_the_end_of_the_head_is_a_bad_gateway(impatient, upstream, reset, last_words):
    upstream.reply(ThenClose(last_words, reset=reset))
    assert_refusal(impatient.get("/live"), 502)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("framing", ["Content-Length: 100", CHUNKED, "Connection: close"])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_a_connection_reset_within_the_body_is_visible(impatient, upstream, framing, version):
    body = raw.chunked(b"hello")[:-5] if framing == CHUNKED else b"hello"
    upstream.reply(ThenClose(answer(framing, length=False), body, reset=True))
    with impatient.connect() as client:
        client.send(f"GET /live {version}\r\nHost: localhost\r\n\r\n".encode())
        if version == "HTTP/1.0" and framing != "Content-Length: 100":
            with pytest.raises(ConnectionResetError):
                while client.socket.recv(65536):
                    pass
        else:
            with pytest.raises(raw.Truncated):
                client.response()


@pytest.mark.usefixtures("way")
def test_what_came_before_the_break_reaches_the_client(impatient, upstream):
    upstream.reply(ThenClose(answer("Content-Length: 100", body=b"hello"), reset=True))
    with pytest.raises(raw.Truncated) as cut:
        impatient.get("/live")
    assert cut.value.response.body == b"hello"


# --- silence -----------------------------------------------------------------------------------------------


def assert_closed_soon(script: Script) -> None:
    assert script.closed.wait(1)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "words",
    [
        pytest.param([b""], id="nothing"),
        pytest.param([b"HTTP/1.1 200 OK\r\nX: "], id="half a head"),
        pytest.param([b"HTTP/1.1 100 Continue\r\n\r\n"], id="only 100"),
    ],
)
@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", b"body")])
def test_an_upstream_that_does_not_answer_times_out(impatient, upstream, words, method, body):
    upstream.reply(script := Script(*words))
    began = time.monotonic()
    assert_refusal(impatient.request("/live", method=method, body=body), 504)
    assert 0.5 < time.monotonic() - began < 2.5
    assert_closed_soon(script)
    assert len(upstream.requests) == 1


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("drop", [b"x", b"HTTP/1.1 103 Early Hints\r\n\r\n"], ids=["byte", "interim"])
def test_a_dribbled_head_holds_nobody_longer_than_silence(impatient, upstream, drop):
    start = b"" if drop.startswith(b"H") else b"HTTP/1.1 200 OK\r\nX: "
    upstream.reply(script := Script(start, *[drop] * 60, delay=0.1))
    began = time.monotonic()
    assert_refusal(impatient.get("/live"), 504)
    assert 0.5 < time.monotonic() - began < 2.5
    assert script.closed.wait(8)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("framing", ["Content-Length: 100", CHUNKED, "Connection: close"])
def test_a_body_that_stalls_is_visibly_cut(impatient, upstream, framing):
    body = raw.chunked(b"hello")[:-5] if framing == CHUNKED else b"hello"
    upstream.reply(script := Script(answer(framing, length=False) + body))
    began = time.monotonic()
    with pytest.raises(raw.Truncated) as cut:
        impatient.get("/patient")
    assert cut.value.response.body == b"hello"
    assert 0.5 < time.monotonic() - began < 2.5
    assert_closed_soon(script)


def test_a_body_that_goes_on_slowly_is_whole(impatient, upstream):
    pieces = [b"x"] * 10
    upstream.reply(Script(answer("Content-Length: 10"), *pieces, delay=0.15))
    assert impatient.get("/patient").body == b"x" * 10


def test_a_slow_answer_within_its_time_is_served(impatient, upstream):
    upstream.reply(Script(b"", answer(body=b"late but fine"), delay=1.0))
    assert impatient.get("/patient").body == b"late but fine"


def test_a_client_slow_with_its_body_is_not_blamed_on_the_upstream(impatient, upstream):
    upstream.reply(answer(body=b"ok"))
    with impatient.connect() as client:
        client.send(b"POST /live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n1")
        upstream.wait(1)
        time.sleep(1.3)
        client.send(b"234")
        assert client.response().body == b"ok"


def test_the_answer_is_awaited_from_the_end_of_the_body(impatient, upstream):
    def answer_late(connection, request):
        connection.read_body(request)
        time.sleep(0.4)
        connection.send(answer(body=b"ok"))

    upstream.reply(answer_late)
    with impatient.connect() as client:
        client.send(b"POST /live HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        time.sleep(0.5)
        client.send(b"0\r\n\r\n")
        assert client.response().body == b"ok"


@pytest.mark.usefixtures("way")
def test_a_client_slow_to_read_is_not_blamed_on_the_upstream(impatient, upstream):
    size = 8 << 20
    upstream.reply(lambda connection, request: connection.send(answer(body=b"x" * size)))
    with impatient.connect(receive_buffer=4096) as client:
        client.send(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(1.5)
        assert len(client.response().body) == size


class Stubborn:
    """Takes the head and nothing of the body."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def __call__(self, connection, request) -> None:
        poller = select.poll()
        poller.register(connection.socket, 0)  # only errors and hang-ups
        if poller.poll(8000):
            self.closed.set()


@pytest.mark.parametrize("stays", [True, False], ids=["client stays", "client leaves"])
def test_an_upload_the_upstream_does_not_take_times_out(impatient, upstream, stays):
    upstream.reply(stubborn := Stubborn())
    size = 64 << 20
    with impatient.connect() as client:
        client.send(b"POST /live HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size)
        client.socket.settimeout(0.2)
        with pytest.raises((TimeoutError, ConnectionError)):
            client.send(b"x" * size)
        if stays:
            client.socket.settimeout(5)
            assert_refusal(client.response(), 504)
        else:
            client.reset()
        assert stubborn.closed.wait(3)


@pytest.mark.usefixtures("way")
def test_a_late_answer_is_not_the_answer_to_the_next_request(impatient, upstream):
    upstream.reply(Script(b"", answer(body=b"late"), delay=1.0), path="/live/slow")
    upstream.reply(answer(body=b"own"), path="/live/next")
    assert_refusal(impatient.get("/live/slow"), 504)
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        assert impatient.get("/live/next").body == b"own"


# --- other peers -------------------------------------------------------------------------------------------


def test_an_upstream_that_speaks_first_is_none(start_gateway):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet():
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                greeted.append(peer)
                with suppress(OSError):  # it has left already
                    peer.sendall(b"220 mail.example.com ESMTP\r\n")

        greeted: list[socket.socket] = []
        greeter = threading.Thread(target=greet, daemon=True)
        greeter.start()
        port = listener.getsockname()[1]
        gateway = start_gateway(
            policy=f"""\
version: 1
upstreams: {{mail: {{targets: ["http://127.0.0.1:{port}"]}}}}
routes: [{{name: all, path: /, access: public, upstream: mail}}]
"""
        )
        for _ in range(3):
            assert_refusal(gateway.get("/x"), 502)
        listener.shutdown(socket.SHUT_RDWR)
        greeter.join(5)
        for peer in greeted:
            peer.close()


def test_a_connection_closed_as_soon_as_it_is_made_is_a_bad_gateway_at_once(impatient, upstream):
    def slam(connection, request):
        send_at_once(connection)
        connection.reset()

    upstream.reply(slam)
    began = time.monotonic()
    for _ in range(5):
        assert_refusal(impatient.get("/patient"), 502)
    assert time.monotonic() - began < 2
