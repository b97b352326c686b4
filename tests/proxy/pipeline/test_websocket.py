"""WebSockets through the gateway, by a client and a service that nobody here wrote."""

from __future__ import annotations

import json
import threading

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.policies import demo_policy
from tests.support.streams import wait_until
from tests.support.websocket import WebSocketService, handshake, websocket


@pytest.fixture(scope="module")
def service():
    with WebSocketService() as started:
        yield started


@pytest.fixture(scope="module")
def site(gateway_template, service, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("websocket") / "data"
    with Gateway(data_dir, template=gateway_template, policy=demo_policy(service.target)) as started:
        yield started.start()


@pytest.mark.parametrize("message", ["ab", "", "ü" * 40_000, b"\x00\xff", b"b" * 3_000_000], ids=len)
def test_messages_come_back_as_they_went(site, message):
    with websocket(site, "/api/public/echo") as client:
        for _ in range(3):
            client.send(message)
            assert client.recv(timeout=10) == message


def test_compression_is_agreed_between_client_and_service(site, service):
    with websocket(site, "/api/public/echo", compression="deflate") as client:
        assert client.response.headers["Sec-WebSocket-Extensions"].startswith("permessage-deflate")
        client.send("compressed " * 1000)
        assert client.recv(timeout=10) == "compressed " * 1000


def test_the_service_chooses_the_sub_protocol(site):
    with websocket(site, "/api/public/echo", subprotocols=["superchat", "chat"]) as client:
        assert client.subprotocol == "superchat"


def test_pings_reach_the_service_and_pongs_the_client(site):
    with websocket(site, "/api/public/echo") as client:
        assert client.ping(b"are you there").wait(10)


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "tab closed"), (4123, "own code")])
def test_the_clients_close_reaches_the_service(site, service, code, reason):
    service.closed.clear()
    with websocket(site, "/api/public/echo") as client:
        client.close(code, reason)
    assert wait_until(lambda: service.closed == [(code, reason)])


def test_the_services_close_reaches_the_client(site):
    with websocket(site, "/api/public/close") as client, pytest.raises(ConnectionClosed) as closed:
        client.recv(timeout=10)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4000, "enough")


def test_a_service_may_speak_first(site):
    with websocket(site, "/api/public/push") as client:
        assert client.recv(timeout=10) == "first"


def test_both_sides_speak_at_once(site):
    messages = [str(number) * 50_000 for number in range(100)]
    with websocket(site, "/api/public/echo") as client:
        threading.Thread(target=lambda: [client.send(message) for message in messages]).start()
        assert [client.recv(timeout=20) for _ in messages] == messages


def test_the_service_learns_who_is_connected(site, service):
    with websocket(site, "/api/protected/echo", token=site.mint("alice", email="alice@example.com")):
        headers = service.requests[-1].headers
    assert (headers["X-Auth-User-ID"], headers["X-Auth-User-Email"]) == ("alice", "alice@example.com")
    assert "Authorization" not in headers
    assert headers["X-Auth-Assertion"].count(".") == 2


def test_whoever_sends_no_credential_is_refused_before_the_service_hears_of_it(site, service):
    before = len(service.requests)
    with pytest.raises(InvalidStatus) as refused, websocket(site, "/api/protected/echo"):
        pass
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body)["reason"] == "no_credential"
    assert len(service.requests) == before


def test_the_services_refusal_is_an_ordinary_answer(site):
    with pytest.raises(InvalidStatus) as refused, websocket(site, "/api/public/deny"):
        pass
    assert (refused.value.response.status_code, refused.value.response.body) == (418, b"no tea\n")


def test_a_line_of_the_log_for_each(site):
    token = site.mint("logged")
    with websocket(site, "/api/protected/logged/echo", token=token) as client:
        client.send("12345")
        client.recv(timeout=10)
    [line] = site.log_lines(wait_for=1, path="/api/protected/logged/echo")
    assert (line["status"], line["sub"], line["decision"], line["cut"]) == (101, "logged", "allow", None)
    assert line["bytes"] >= 7  # the head of a frame, and what was in it


def test_what_is_sent_before_the_answer_is_not_lost(site, service):
    ping = b"\x89\x80\x00\x00\x00\x00"
    with site.connect() as client:
        client.send(raw.request("GET", "/api/public/echo", handshake(), host=f"localhost:{site.port}") + ping)
        assert client.read_head().status == 101
        assert client.read(2) == b"\x8a\x00"  # the pong
