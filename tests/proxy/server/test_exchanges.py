"""One request, one response: bodies, back-pressure, disconnects, and responses that must look broken."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from tests.support import raw
from tests.support.echo_app import EchoServer

NEXT = raw.request(target="/smuggled")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoServer]:
    with EchoServer(tmp_path_factory.mktemp("echo")) as server:
        yield server


def memory_of(pid: int) -> int:
    """Resident bytes."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def test_a_connection_is_kept_for_more_requests(server: EchoServer) -> None:
    with server.connect() as client:
        for number in range(3):
            response = client.send(raw.request(target=f"/{number}")).response()
            assert (response.json()["raw_path"], response.header("connection")) == (f"/{number}", None)


@pytest.mark.parametrize("value", ["close", "Close", "keep-alive, close", "x,close,y"])
def test_a_connection_is_closed_when_the_client_says_so(server: EchoServer, value: str) -> None:
    with server.connect() as client:
        client.send(raw.request(headers=[("Connection", value)]) + NEXT)
        assert client.response().header("connection") == "close"
        assert client.is_closed()


def test_pipelined_requests_are_answered_in_order(server: EchoServer) -> None:
    with server.connect() as client:
        client.send(raw.request(target="/slow?0.1") + b"".join(raw.request(target=f"/{i}") for i in range(500)))
        answers = client.responses(501)
    assert [answer.json()["raw_path"] for answer in answers[1:]] == [f"/{i}" for i in range(500)]


def test_our_responses_say_the_date_and_not_the_server(server: EchoServer) -> None:
    response = server.send(raw.request())
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", response.header("date") or "")
    assert response.header("server") is None


def test_framing_headers_of_the_application_are_replaced(server: EchoServer) -> None:
    response = server.send(raw.request(target="/chunks"))
    assert (response.framing, response.body) == ("chunked", b"a" + b"b" * 3000)
    assert response.all("connection") == []


def test_http_1_0_gets_no_chunks(server: EchoServer) -> None:
    response = server.send(b"GET /chunks HTTP/1.0\r\n\r\n")
    assert (response.framing, response.header("connection")) == ("close", "close")
    assert response.body == b"a" + b"b" * 3000


def test_head_has_the_headers_but_no_body(server: EchoServer) -> None:
    with server.connect() as client:
        client.send(raw.request("HEAD", "/x") + raw.request())
        assert int(client.response("HEAD").header("content-length") or 0) > 100
        assert client.response().status == 200


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_body_has_none(server: EchoServer, status: int) -> None:
    with server.connect() as client:
        client.send(raw.request(target=f"/status?{status}") + raw.request())
        assert [response.status for response in client.responses(2)] == [status, 200]


@pytest.mark.parametrize(
    "header",
    [
        b"x=a\r\nSet-Cookie: b", b"x=a\nb", b"x=a\rb", b"x=a\0b", b"x=a\x7fb", b"x=a\x0bb", b"x\r\ny=a", b"x\0=a",
        b"x=\r\n", b"content-length=5", b"content-length=-1", b"content-length=5, 5",
    ],
    ids=repr,
)  # fmt: skip
def test_a_header_that_would_split_the_response_never_gets_out(server: EchoServer, header: bytes) -> None:
    response = server.send(raw.request(target=f"/header?{header.hex()}"))
    assert (response.status, response.json()["reason"]) == (500, "server_error")


def test_a_header_with_a_tab_and_latin_1_gets_out(server: EchoServer) -> None:
    assert server.send(raw.request(target=f"/header?{b'x=a	b'.hex()}c3a9")).header("x") == "a\tb\xc3\xa9"


@pytest.mark.parametrize("target", ["/raise", "/silent", "/short", "/long", "/status?99", "/status?101", "/status?700"])
def test_an_application_that_fails_gives_a_clear_500(server: EchoServer, target: str) -> None:
    with server.connect() as client:
        client.send(raw.request(target=target) + NEXT)
        response = client.response()
        assert (response.status, response.header("connection")) == (500, "close")
        assert "planted" not in response.text
        assert client.is_closed()


@pytest.mark.parametrize("target", ["/raise-midway", "/return-midway"])
def test_a_response_that_breaks_off_never_looks_complete(server: EchoServer, target: str) -> None:
    with server.connect() as client:
        client.send(raw.request(target=target) + NEXT)
        with pytest.raises(raw.Truncated):
            client.response()


def test_a_response_that_ends_with_the_connection_is_cut_by_reset(server: EchoServer) -> None:
    with server.connect() as client:
        client.send(b"GET /raise-midway HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            while client.socket.recv(100):
                pass


# --- bodies -----------------------------------------------------------------------------------------------


def expecting(target: str) -> bytes:
    return raw.request("POST", target, [("Expect", "100-continue"), ("Content-Length", "5")])


def test_continue_is_said_when_the_application_asks_for_the_body(server: EchoServer) -> None:
    with server.connect() as client:
        client.send(expecting("/x"))
        assert client.read_head().status == 100
        assert client.send(b"hello").response().json()["body"] == "hello"


def test_continue_is_not_said_to_a_request_that_is_refused(server: EchoServer) -> None:
    with server.connect() as client:
        client.send(expecting("/refuse"))
        response = client.response()
        assert (response.status, response.interim) == (401, [])
        assert response.header("connection") == "close"
        assert client.is_closed()


@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
def test_a_refused_upload_reads_its_answer_and_is_never_a_request(server: EchoServer, chunked: bool) -> None:
    framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", "1000000")
    with server.connect() as client:
        client.send(raw.request("POST", "/refuse", [framing]) + b"5\r\n")
        response = client.response()
        assert (response.status, response.header("connection")) == (401, "close")
        client.send(b"hello\r\n0\r\n\r\n" + NEXT)
        assert client.is_closed(timeout=0.5)
    assert "GET /smuggled" not in server.events


def test_an_upload_still_being_sent_can_read_why_it_was_refused(server: EchoServer) -> None:
    with server.connect() as client:
        client.send(raw.request("POST", "/refuse", [("Content-Length", "1000000")]) + b"x" * 500_000)
        assert client.response().status == 401


def test_a_body_nobody_reads_is_not_kept_in_memory(server: EchoServer) -> None:
    pid = server.worker_pids()[0]
    before = memory_of(pid)
    with server.connect(timeout=0.5) as client:
        client.send(raw.request("POST", "/ignore?5", [("Content-Length", "200000000")]))
        with pytest.raises(TimeoutError):
            client.send(b"x" * 200_000_000)
    assert memory_of(pid) - before < 8 << 20


def test_a_body_taken_late_arrives_whole(server: EchoServer) -> None:
    body = b"0123456789" * 300_000
    assert server.send(raw.request("POST", "/ignore?0.2", body=body)).json()["body"] == len(body)


def test_a_client_that_does_not_read_stops_the_application(server: EchoServer) -> None:
    def flooded() -> int:
        return next(int(event.split()[1]) for event in server.events if event.startswith("flooded"))

    pid = server.worker_pids()[0]
    before = memory_of(pid)
    with server.connect(receive_buffer=65536) as client:
        client.send(raw.request(target="/flood"))
        client.read(1000)
        time.sleep(0.3)
        stopped_at = flooded()
        time.sleep(0.1)
        assert flooded() == stopped_at < 200
        assert memory_of(pid) - before < 8 << 20
        client.read(20_000_000)
        assert flooded() > stopped_at


# --- clients that leave -----------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", [raw.RawClient.close, raw.RawClient.reset, raw.RawClient.half_close])
def test_the_application_hears_at_once_that_the_client_left(server: EchoServer, leave) -> None:
    before = server.events.count("disconnect")
    with server.connect() as client:
        client.send(raw.request(target="/wait"))
        client.read_head()
        leave(client)
        server.wait_for(lambda: server.events.count("disconnect") == before + 1, timeout=1)


def test_pipelined_bytes_do_not_hide_that_the_client_left(server: EchoServer) -> None:
    before = server.events.count("disconnect")
    with server.connect() as client:
        client.send(raw.request(target="/wait") + NEXT)
        client.read_head()
    server.wait_for(lambda: server.events.count("disconnect") == before + 1, timeout=1)
    assert "GET /smuggled" not in server.events
