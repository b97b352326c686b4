"""Many WebSockets: of one client, while the gateway restarts, and when a service says nothing true about its frames."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack

import pytest

from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.policies import demo_policy
from tests.support.streams import Memory, sockets, wait_until
from tests.support.websocket import ACCEPT, handshake

SWITCH = (
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    f"Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
).encode()
FILES, PLACES = 400, 72  # connections that a worker takes with so many files


def waiting(connection, request):
    connection.send(SWITCH)
    connection.wait_closed(60)


def open_one(stack, site, **options):
    client = stack.enter_context(site.connect(**options))
    return client.send(raw.request("GET", "/api/public/ws", handshake(), host=f"localhost:{site.port}"))


def test_who_has_every_place_by_websockets_keeps_nobody_else_out(start_gateway, upstream):
    upstream.reply(waiting, path="/api/public/ws")
    site = start_gateway(files=FILES)
    with ExitStack() as stack:
        greedy = [open_one(stack, site) for _ in range(PLACES)]
        assert {client.read_head().status for client in greedy} == {101}
        assert open_one(stack, site).response().status == 503
        others = [open_one(stack, site, source=f"127.0.0.{number}") for number in range(2, 12)]
        assert {client.read_head().status for client in others} == {101}
        ask = raw.request("GET", "/api/public/x", host=f"localhost:{site.port}")
        assert stack.enter_context(site.connect(source="127.0.0.20")).send(ask).response().status == 200
        lines = site.log_lines(wait_for=10, path="/api/public/ws", status=101)
        assert {(line["client"], line["cut"]) for line in lines} == {("127.0.0.1", "server_full")}
    assert wait_until(lambda: sockets(site) <= 1)  # a kept one


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP], ids=["TERM", "HUP"])
def test_hundreds_are_told_of_a_restart_within_its_time(start_gateway, upstream, how):
    upstream.reply(waiting)
    site = start_gateway(env={"AUTHGATE_DRAIN_SECONDS": "1"}, policy=demo_policy(upstream.target))
    with ExitStack() as stack:
        clients = [open_one(stack, site) for _ in range(300)]
        assert {client.read_head().status for client in clients} == {101}
        began = time.monotonic()
        site.process.send_signal(how)
        words = {client.read_all() for client in clients}
        assert time.monotonic() - began < 5
    assert words == {b"\x88\x16\x03\xe9the gateway restarts"}
    lines = site.log_lines(wait_for=300, path="/api/public/ws")
    assert {(line["status"], line["cut"]) for line in lines} == {(101, "shutdown")}
    assert "Traceback" not in site.output


def test_those_that_have_ended_leave_nothing_behind(gateway, upstream):
    """The collector finds what has lived for long only after millions of requests."""
    upstream.reply(waiting)
    grown = []
    memory = Memory(gateway)
    for _ in range(5):
        with ExitStack() as stack:
            clients = [open_one(stack, gateway) for _ in range(300)]
            assert {client.read_head().status for client in clients} == {101}
            time.sleep(0.6)
        grown.append(memory.grown())
    assert grown[-1] - grown[0] < 4


LIES = {
    "of more bytes than there are": b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
    "half a head": b"\x82\x7f\x00",
    "one byte": b"\x82",
}


@pytest.mark.parametrize("frame", LIES.values(), ids=LIES)
def test_a_service_that_is_never_between_two_frames_keeps_nothing_open(gateway: Gateway, upstream, frame):
    def lying(connection, request):
        connection.send(SWITCH + frame)
        connection.wait_closed()

    upstream.reply(lying)
    believer = f"believer of {frame.hex()}"
    token = gateway.mint(believer)
    with gateway.connect() as client:
        client.send(raw.request("GET", "/api/protected/ws", handshake(), host=f"localhost:{gateway.port}", token=token))
        assert client.read_head().status == 101
        assert client.read(len(frame)) == frame
        gateway.shell.command("revoke", "--subject", believer)
        with pytest.raises(ConnectionResetError):
            client.socket.recv(1)
