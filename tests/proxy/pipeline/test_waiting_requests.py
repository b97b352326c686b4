"""Requests that wait for a connection to their service, or for the gate, with their bodies on the way meanwhile."""

from __future__ import annotations

import hashlib
import itertools
import signal
import socket
import threading
import time
from contextlib import suppress

import psycopg
import pytest

from tests.support import raw
from tests.support.gateway import Gateway, free_port
from tests.support.policies import demo_policy
from tests.support.scripted import answer, keep_connection
from tests.support.sessions import run
from tests.support.streams import BLOCK, MIB, Memory, wait_until
from tests.support.upstream import RecordingUpstream

CHUNKED = ("Transfer-Encoding", "chunked")


class Reluctant(RecordingUpstream):
    """Lets nobody in at first: its queue is full, so that connections to it are still being made."""

    def __init__(self):
        self._willing = threading.Event()
        super().__init__()
        self._listener.listen(0)
        self._queue = [socket.socket() for _ in range(4)]
        for waiting in self._queue:
            waiting.setblocking(False)
            waiting.connect_ex(self._listener.getsockname())
        self._queued = self._attempts()

    def _attempts(self):
        port, syn_sent = f":{self.port:04X}", "02"
        with open("/proc/net/tcp") as table:
            rows = [row.split() for row in table]
        return {row[1] for row in rows if row[2].endswith(port) and row[3] == syn_sent}

    @property
    def is_being_connected_to(self):
        return bool(self._attempts() - self._queued)

    def _accept(self):
        self._willing.wait()
        super()._accept()

    def let_in(self):
        for waiting in self._queue:
            waiting.close()
        self._listener.listen(100)
        self._willing.set()

    def stop(self):
        self.let_in()
        super().stop()


@pytest.fixture
def reluctant():
    with Reluctant() as upstream:
        yield upstream


@pytest.fixture
def gateway_to_it(start_gateway, reluctant):
    return start_gateway(
        policy=f"""\
version: 1
upstreams: {{api: {{targets: ["{reluctant.target}"], timeouts: {{connect: 20}}}}}}
routes:
  - {{name: api, path: /, access: public, upstream: api}}
""",
        env={"AUTHGATE_DRAIN_SECONDS": "1"},
    )


def post(gateway, path, *fields) -> bytes:
    return raw.request("POST", path, fields, host=f"localhost:{gateway.port}")


def digest(connection, request):
    sha = hashlib.sha256()
    request._keep = lambda decoded, raw: sha.update(decoded)
    connection.read_body(request)
    connection.send(answer(body=sha.hexdigest().encode()))
    connection.keep_alive = True


# -- a connection to the service ----------------------------------------------------------------------------


@pytest.mark.parametrize("body", [None, ("Content-Length", "1000"), CHUNKED], ids=["none", "length", "chunked"])
def test_a_client_that_leaves_ends_the_attempt_to_connect(gateway_to_it, reluctant, body):
    gateway = gateway_to_it
    with gateway.connect() as client:
        if body is None:
            client.send(raw.request("GET", "/x", host=gateway.host))
        else:
            client.send(post(gateway, "/x", body) + b"5\r\nhello\r\n")
        assert wait_until(lambda: reluctant.is_being_connected_to)
        client.close()
        [line] = gateway.log_lines(wait_for=1, path="/x", timeout=2)
    assert (line["cut"], line["status"], line["decision"]) == ("client", 0, "allow")
    assert wait_until(lambda: not reluctant.is_being_connected_to, 2)
    reluctant.let_in()
    assert gateway.get("/next").status == 200
    assert [request.path for request in reluctant.requests] == [b"/next"]


def test_a_worker_that_ends_gives_up_the_attempt_to_connect(gateway_to_it, reluctant):
    with gateway_to_it.connect() as client:
        client.send(raw.request("GET", "/x", host=gateway_to_it.host))
        assert wait_until(lambda: reluctant.is_being_connected_to)
        gateway_to_it.process.send_signal(signal.SIGTERM)
        assert client.response().status == 500
    assert gateway_to_it.process.wait(5) == 0
    [line] = gateway_to_it.log_lines(path="/x")
    assert (line["cut"], line["status"], line["decision"]) == ("shutdown", 0, "allow")


@pytest.mark.parametrize("fields", [[("Content-Length", "9")], [CHUNKED]], ids=["length", "chunked"])
def test_an_upload_goes_to_the_next_target_where_the_first_is_away(start_gateway, upstream, fields):
    """And what was missed is told once, when the request is over."""
    upstream.reply(digest)
    gateway = start_gateway(
        policy=f"""\
version: 1
upstreams: {{api: {{targets: ["http://127.0.0.1:{free_port()}", "{upstream.target}"]}}}}
routes:
  - {{name: api, path: /, access: public, upstream: api}}
"""
    )
    pieces = [b"in ", b"pieces"] if CHUNKED not in fields else [b"3\r\nin \r\n", b"6\r\npieces\r\n0\r\n\r\n"]
    with gateway.connect() as client:
        client.send(post(gateway, "/x", *fields) + pieces[0])
        upstream.wait(1)
        assert client.send(pieces[1]).response().text == hashlib.sha256(b"in pieces").hexdigest()
    assert wait_until(lambda: gateway.output.count("another target was asked") == 1)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_is_held_back_until_the_service_lets_the_request_in(gateway_to_it, reluctant, framing):
    gateway, count = gateway_to_it, 32
    reluctant.reply(digest)
    field = ("Content-Length", str(count * MIB)) if framing == "length" else CHUNKED
    block = BLOCK if framing == "length" else b"%x\r\n%b\r\n" % (MIB, BLOCK)
    memory, sent = Memory(gateway), 0
    with gateway.connect(timeout=20) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        client.send(post(gateway, "/x", field))

        def upload() -> None:
            nonlocal sent
            for _ in range(count):
                client.send(block)
                sent += 1
            client.send(b"" if framing == "length" else b"0\r\n\r\n")

        thread = threading.Thread(target=upload)
        thread.start()
        assert wait_until(lambda: reluctant.is_being_connected_to)
        time.sleep(0.5)
        assert sent < count / 2
        assert memory.grown() < 4
        reluctant.let_in()
        assert client.response().text == hashlib.sha256(BLOCK * count).hexdigest()
        thread.join(10)


# -- a body that is on its way ------------------------------------------------------------------------------


@pytest.fixture(params=["new", "kept"])
def way(request, gateway, upstream):
    """Of the connection to the service."""
    if request.param == "kept":
        keep_connection(gateway, upstream)
    return request.param


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_request_behind_a_body_that_came_in_pieces_has_its_turn(gateway, upstream, framing):
    upstream.reply(digest)
    parts = [b"first ", b"second ", b"third"]
    whole = b"".join(parts)
    field = ("Content-Length", str(len(whole))) if framing == "length" else CHUNKED
    pieces = parts if framing == "length" else [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
    end = b"" if framing == "length" else b"0\r\n\r\n"
    with gateway.connect() as client:
        client.send(post(gateway, "/api/public/streamed", field))
        for piece in pieces[:-1]:
            time.sleep(0.02)
            client.send(piece)
        time.sleep(0.02)
        client.send(pieces[-1] + end + raw.request("GET", "/api/public/behind", host=gateway.host))
        answers = client.responses(2)
    assert [response.text for response in answers] == [hashlib.sha256(body).hexdigest() for body in (whole, b"")]
    assert [request.path for request in upstream.requests] == [b"/api/public/streamed", b"/api/public/behind"]


@pytest.mark.usefixtures("way")
def test_the_log_does_not_take_the_time_of_a_client_for_that_of_its_service(gateway):
    path = f"/api/public/{time.monotonic_ns()}"
    with gateway.connect() as client:
        client.send(post(gateway, path, ("Content-Length", "4")))
        time.sleep(0.5)
        assert client.send(b"body").response().status == 200
    [line] = gateway.log_lines(wait_for=1, path=path)
    assert line["duration_ms"] > 450 > 400 > line["upstream_ms"]


@pytest.mark.usefixtures("way")
def test_a_chunk_that_turns_out_bad_ends_the_request_on_both_sides(gateway, upstream):
    broken = threading.Event()

    def read_on(connection, request):
        try:
            connection.read_body(request)
        except OSError:
            broken.set()

    upstream.reply(read_on)
    path = f"/api/public/{time.monotonic_ns()}"
    with gateway.connect() as client:
        client.send(post(gateway, path, CHUNKED) + b"5\r\nhello\r\n")
        upstream.wait(1)
        assert client.send(b"nonsense\r\n").response().status == 400
        assert client.is_closed()
    assert broken.wait(2)
    [line] = gateway.log_lines(wait_for=1, path=path)
    assert (line["cut"], line["status"], line["decision"]) == ("client", 0, "allow")


@pytest.mark.usefixtures("way")
def test_an_answer_before_the_end_of_a_body_is_followed_by_no_other_request(gateway, upstream):
    def early(connection, request):
        connection.send(b"HTTP/1.1 507 Full\r\nContent-Length: 5\r\nConnection: close\r\n\r\nfull\n")
        connection.wait_closed()

    upstream.reply(early)
    with gateway.connect() as client:
        client.send(post(gateway, "/api/public/x", ("Content-Length", "10")) + b"12345")
        response = client.response()
        assert (response.status, response.header("connection")) == (507, "close")
        with suppress(OSError):
            client.send(b"67890" + raw.request("GET", "/api/public/smuggled", host=gateway.host))
        assert client.is_closed()
    assert [request.path for request in upstream.requests] == [b"/api/public/x"]


# -- the gate -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def limited(gateway_template, session_upstream, valkey, tmp_path_factory):
    """A gateway whose limits are in Redis."""
    policy = f"""\
version: 1
upstreams: {{api: {{targets: ["{session_upstream.target}"]}}}}
rate_limits: {{rare: {{rate: 2/h, burst: 2, per: client}}}}
routes:
  - {{name: rare, path: /rare, access: public, upstream: api, rate_limit: rare}}
  - {{name: free, path: /free, access: public, upstream: api}}
"""
    data_dir, env = tmp_path_factory.mktemp("limited") / "data", {"AUTHGATE_REDIS_URL": valkey.url}
    with Gateway(data_dir, template=gateway_template, policy=policy, env=env) as gateway:
        yield gateway.start()


_newcomers = itertools.count(2)


@pytest.fixture
def newcomer():
    """The address of a client that has asked for nothing yet."""
    return f"127.1.0.{next(_newcomers)}"


def until_refused(answer_to_one):
    """Answers before the refusal. On a busy machine Redis is late, and then the gateway also counts by itself."""
    found = []
    while (found or [0])[-1] != 429:
        assert len(found) < 5
        found.append(answer_to_one())
    assert len(found) > 2
    return found[:-1]


@pytest.mark.parametrize("field", [("Content-Length", str(MIB)), CHUNKED], ids=["length", "chunked"])
def test_a_limit_in_redis_holds_for_uploads_and_their_bodies_arrive_whole(limited, upstream, newcomer, field):
    upstream.reply(digest)
    block = BLOCK if field != CHUNKED else b"%x\r\n%b\r\n0\r\n\r\n" % (MIB, BLOCK)

    def upload():
        with limited.connect(source=newcomer) as client:
            client.send(post(limited, "/rare/x", field) + block[:1000])
            time.sleep(0.05)
            with suppress(OSError):  # what is refused may be closed by now
                client.send(block[1000:])
            response = client.response()
            return response.text if response.status == 200 else response.status

    uploads = until_refused(upload)
    assert set(uploads) == {hashlib.sha256(BLOCK).hexdigest()}
    assert len(upstream.requests) == len(uploads)


def test_who_asks_whether_to_send_is_told_to_once_redis_has_let_the_request_in(limited, upstream, newcomer):
    upstream.reply(digest)
    request = post(limited, "/rare/x", ("Content-Length", "4"), ("Expect", "100-continue"))

    def ask():
        with limited.connect(source=newcomer) as client:
            first = client.send(request).read_head()
            return (100, client.send(b"body").response().status) if first.status == 100 else first.status

    assert set(until_refused(ask)) == {(100, 200)}


@pytest.mark.parametrize("path", ["/rare/x", "/free/x"])
@pytest.mark.parametrize("body", [b"", b"body"], ids=["none", "with its head"])
def test_requests_in_a_row_are_answered_in_their_order_while_redis_is_asked(limited, upstream, newcomer, path, body):
    requests = [raw.request("POST", f"{path}{number}", (), body, host=limited.host) for number in range(2)]
    with limited.connect(source=newcomer) as client:
        statuses = [response.status for response in client.send(b"".join(requests)).responses(2)]
    assert statuses == [200, 200]
    assert [request.path for request in upstream.requests] == [f"{path}{number}".encode() for number in range(2)]
    assert [bytes(request.body) for request in upstream.requests] == [body, body]


def test_a_client_that_leaves_while_redis_is_asked_never_reaches_the_service(limited, upstream, newcomer, valkey):
    valkey.client.flushall()
    assert wait_until(lambda: limited.get("/rare/x") and valkey.client.dbsize())  # it is asked, also after it was late
    upstream.requests.clear()
    valkey.client.client_pause(5000)
    try:
        with limited.connect(source=newcomer) as client:
            client.send(raw.request("GET", "/rare/left", host=limited.host))
            time.sleep(0.05)
            client.close()
        [line] = limited.log_lines(wait_for=1, path="/rare/left")
    finally:
        valkey.client.client_unpause()
    assert (line["cut"], line["status"], line["decision"]) == ("client", 0, "allow")
    assert not upstream.requests


@pytest.fixture
def behind(postgres, upstream, tmp_path):
    """A gateway that cannot load what was committed: the first requests wait two seconds, and all ask the gate late."""
    url = postgres.create_database()
    env = {"AUTHGATE_DATABASE_URL": url}
    with Gateway(tmp_path / "data", policy=demo_policy(upstream.target), env=env) as gateway:
        gateway.start()
        assert gateway.get("/api/public/first").status == 200
        upstream.requests.clear()
        with psycopg.connect(url) as connection:
            connection.execute("LOCK TABLE authgate_stateversion IN ACCESS EXCLUSIVE MODE")
            run(gateway, "from authgate import generation; generation.advance('policy')")
            yield gateway


def test_bodies_that_come_while_a_newer_state_is_awaited_go_where_they_belong(behind, upstream):
    upstream.reply(digest)

    def answer_to(path, *fields, pieces, pause=0.0):
        with behind.connect() as client:
            client.send(post(behind, path, *fields) + pieces[0])
            for piece in pieces[1:]:
                time.sleep(pause)
                client.send(piece)
            response = client.response()
            return response.text if response.status == 200 else response.status

    wanted, sized = hashlib.sha256(b"in pieces").hexdigest(), ("Content-Length", "9")
    began = time.monotonic()
    assert answer_to("/api/public/first", sized, pieces=[b"in ", b"pieces"], pause=0.1) == wanted
    assert time.monotonic() - began > 1
    assert answer_to("/api/public/whole", sized, pieces=[b"in pieces"]) == wanted
    assert answer_to("/api/public/later", sized, pieces=[b"", b"in pieces"], pause=0.1) == wanted
    chunks = [b"3\r\nin \r\n", b"6\r\npieces\r\n0\r\n\r\n"]
    assert answer_to("/api/public/chunks", CHUNKED, pieces=chunks, pause=0.1) == wanted
    assert answer_to("/api/public/chunks", CHUNKED, pieces=[b"".join(chunks)]) == wanted
    assert answer_to("/api/protected/x", sized, pieces=[b"in ", b"pieces"], pause=0.1) == 401
    assert answer_to("/auth/me", sized, pieces=[b"in ", b"pieces"], pause=0.1) == 413
    assert len(upstream.requests) == 5


def test_a_client_that_leaves_while_a_newer_state_is_awaited_never_reaches_the_service(behind, upstream):
    with behind.connect() as client:
        client.send(raw.request("GET", "/api/public/left", host=behind.host))
        time.sleep(0.2)
        client.close()
    [line] = behind.log_lines(wait_for=1, path="/api/public/left")
    assert (line["cut"], line["status"], line["decision"]) == ("client", 0, "allow")
    assert not upstream.requests
