"""Streams while the gateway drains: they get all the time there is, and what is cut then looks cut and is logged."""

from __future__ import annotations

import signal
import threading
import time
import uuid

import pytest

from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.policies import demo_policy
from tests.support.scripted import answer, keep_connection
from tests.support.streams import Events, wait_until

DRAIN = 1
DRAINS_SOON = {"AUTHGATE_DRAIN_SECONDS": str(DRAIN)}


@pytest.fixture(scope="module")
def shared(gateway_template, session_upstream, tmp_path_factory):
    data_dir, policy = tmp_path_factory.mktemp("gateway") / "data", demo_policy(session_upstream.target)
    with Gateway(data_dir, template=gateway_template, policy=policy, env=DRAINS_SOON) as gateway:
        yield gateway.start()


@pytest.fixture(params=["new", "kept"])
def gateway(request, shared, upstream):
    """The stream opens a connection to the upstream or finds one that was kept."""
    if request.param == "kept":
        keep_connection(shared, upstream)
    return shared


@pytest.fixture
def path():
    """Of this test's stream: its access-log line is told from those of the others."""
    return f"/api/public/{uuid.uuid4()}"


def get(gateway, path: str, version: str = "HTTP/1.0") -> bytes:
    return raw.request("GET", path, host=f"localhost:{gateway.port}").replace(b"HTTP/1.1", version.encode())


def ends_with_reset(client: raw.RawClient) -> bool:
    """Whether the connection ends with RST rather than with FIN."""
    try:
        while client.socket.recv(65536):
            pass
    except ConnectionResetError:
        return True
    return False


def test_a_stream_has_the_whole_drain_time_and_then_is_visibly_cut(gateway, upstream, path):
    upstream.reply(events := Events())
    with gateway.connect() as client:
        client.send(get(gateway, path, "HTTP/1.1")).read_head()
        gateway.process.send_signal(signal.SIGHUP)
        time.sleep(DRAIN * 0.8)
        events.send(b"still here")
        assert client.read_chunk() == b"still here"
        with pytest.raises(raw.Truncated):
            client.read_chunk()
    assert [(line["status"], line["bytes"]) for line in gateway.log_lines(wait_for=1, path=path)] == [(200, 10)]
    assert wait_until(lambda: events.closed == 1)


def test_half_a_response_that_ends_with_its_connection_never_looks_whole(gateway, upstream, path):
    upstream.reply(events := Events())
    with gateway.connect() as client:
        client.send(get(gateway, path)).read_head()
        events.send(b"half")
        assert client.read(4) == b"half"
        gateway.process.send_signal(signal.SIGHUP)
        assert ends_with_reset(client)
    assert [line["bytes"] for line in gateway.log_lines(wait_for=1, path=path)] == [4]


def test_term_cuts_streams_as_visibly(start_gateway, upstream, path):
    gateway = start_gateway(env=DRAINS_SOON)
    keep_connection(gateway, upstream)
    upstream.reply(Events())
    with gateway.connect() as client:
        client.send(get(gateway, path)).read_head()
        gateway.process.send_signal(signal.SIGTERM)
        assert ends_with_reset(client)
    assert gateway.process.wait(5) == 0
    assert len(gateway.log_lines(path=path)) == 1


def test_a_whole_response_that_the_client_has_not_taken_does_not_look_whole_either(gateway, upstream, path):
    """What neither the client nor the kernel has taken waits in the gateway's memory and ends with it."""

    def reply(connection, request):
        def in_kernel() -> bool:
            return untaken(gateway, client) > sent - 20_000

        connection.send(Events.HEAD)
        sent = 0
        while wait_until(in_kernel, 2):
            connection.send(b"8000\r\n%b\r\n" % (b"x" * 0x8000))
            sent += 0x8000
        connection.send(b"0\r\n\r\n")
        complete.set()

    complete = threading.Event()
    upstream.reply(reply)
    with gateway.connect(receive_buffer=4096) as client:
        client.send(get(gateway, path))
        assert complete.wait(30)
        gateway.process.send_signal(signal.SIGHUP)
        time.sleep(DRAIN + 1)
        assert ends_with_reset(client)
    assert len(gateway.log_lines(wait_for=1, path=path)) == 1


def untaken(gateway, client: raw.RawClient) -> int:
    """Bytes that the kernel holds for this client."""
    ends = f":{gateway.port:04X}", f":{client.socket.getsockname()[1]:04X}"
    with open("/proc/net/tcp") as table:
        rows = [row.split() for row in table]
    return next(int(row[4].split(":")[0], 16) for row in rows if (row[1][-5:], row[2][-5:]) == ends)


def test_a_request_without_an_answer_yet_is_told_so(gateway, upstream, path):
    upstream.reply(lambda connection, request: connection.wait_closed(10))
    with gateway.connect() as client:
        client.send(get(gateway, path, "HTTP/1.1"))
        upstream.wait(1)
        gateway.process.send_signal(signal.SIGHUP)
        assert client.response().status == 500
    assert len(gateway.log_lines(wait_for=1, path=path)) == 1


@pytest.mark.parametrize("field", [("Content-Length", "100"), ("Transfer-Encoding", "chunked")])
def test_an_upload_that_does_not_end_is_told_so(gateway, upstream, path, field):
    upstream.reply(lambda connection, request: connection.wait_closed(10))
    with gateway.connect() as client:
        client.send(raw.request("POST", path, [field], host=f"localhost:{gateway.port}") + b"5\r\nhello\r\n")
        upstream.wait(1)
        gateway.process.send_signal(signal.SIGHUP)
        assert client.response().status == 500
    [line] = gateway.log_lines(wait_for=1, path=path)
    assert (line["cut"], line["status"], line["decision"]) == ("shutdown", 0, "allow")


def test_an_answer_that_comes_while_draining_is_whole(gateway, upstream, path):
    def late(connection, request):
        time.sleep(DRAIN / 2)
        connection.send(answer(body=b"late", length=False))
        connection.close()

    upstream.reply(late)
    with gateway.connect() as client:
        client.send(get(gateway, path))
        upstream.wait(1)
        gateway.process.send_signal(signal.SIGHUP)
        assert client.response().body == b"late"
        assert client.socket.recv(1) == b""
