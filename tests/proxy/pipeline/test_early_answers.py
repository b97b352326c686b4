"""An answer that is there before the request's body was read arrives, also at clients that first send all of it."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import repeat

import pytest

from proxy.server.http1.limits import Limits
from proxy.server.http2.body import RequestBody
from proxy.server.http2.server import guard
from tests.support import raw
from tests.support.echo_app import EchoServer
from tests.support.gateway import Gateway
from tests.support.http2 import Http2Client, head

BODY = 5 * 1024 * 1024
TIMES = 8
SERVERS = {"http1": (), "http2": ("--http2",)}
CLIENTS = (("http1", "--http1.1"), ("http2", "--http1.1"), ("http2", "--http2-prior-knowledge"))
STATUSES = {"/secret/x": 401, "/nowhere": 404, "/auth/me": 413, "/early/x": 507, "/a/../x": 400}


def policy(target):
    return f"""\
version: 1
upstreams: {{api: {{targets: ["{target}"]}}}}
rate_limits: {{rare: {{rate: 1/h, burst: 1, per: client}}}}
routes:
  - {{name: secret, path: /secret, access: authenticated, upstream: api}}
  - {{name: early,  path: /early,  access: public, upstream: api}}
  - {{name: rare,   path: /rare,   access: public, upstream: api, rate_limit: rare}}
"""


def answer_at_once(connection, request):
    """Without reading the body, as services do that refuse an upload."""
    connection.send(b"HTTP/1.1 507 Full\r\nContent-Length: 5\r\nConnection: close\r\n\r\nfull\n")
    connection.wait_closed()  # a reset from here would overtake the answer


@pytest.fixture(scope="module")
def gateways(gateway_template, session_upstream, tmp_path_factory):
    started = {}
    for name, args in SERVERS.items():
        data_dir = tmp_path_factory.mktemp(name) / "data"
        started[name] = Gateway(data_dir, template=gateway_template, policy=policy(session_upstream.target), args=args)
        started[name].start().settle()
    yield started
    for gateway in started.values():
        gateway.stop()


@pytest.fixture(scope="module")
def upload(tmp_path_factory):
    path = tmp_path_factory.mktemp("upload") / "body"
    path.write_bytes(b"a" * BODY)
    return path


def post(url, upload, *options):
    """Status, and curl's own."""
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Expect:", "-m", "20", *options]
    done = subprocess.run([*command, "--data-binary", f"@{upload}", url], capture_output=True, text=True, check=False)
    return int(done.stdout), done.returncode


@pytest.mark.parametrize(("server", "version"), CLIENTS, ids=[f"{server}{version}" for server, version in CLIENTS])
@pytest.mark.parametrize("path", STATUSES)
def test_a_refusal_of_an_upload_arrives(gateways, upstream, upload, server, version, path):
    upstream.reply(answer_at_once, path=path)
    url = f"{gateways[server].url}{path}"
    with ThreadPoolExecutor(4) as clients:
        answers = clients.map(post, repeat(url, TIMES), repeat(upload), repeat(version), repeat("--path-as-is"))
    assert Counter(answers) == {(STATUSES[path], 0): TIMES}


@pytest.mark.parametrize(("server", "version"), CLIENTS, ids=[f"{server}{version}" for server, version in CLIENTS])
def test_a_client_over_its_limit_hears_so_in_the_middle_of_an_upload(gateways, upstream, upload, server, version):
    upstream.reply(answer_at_once, path="/rare/x")
    url = f"{gateways[server].url}/rare/x"
    post(url, upload, version)
    assert [post(url, upload, version) for _ in range(TIMES)] == [(429, 0)] * TIMES


@pytest.mark.parametrize("server", SERVERS)
def test_a_client_that_reads_only_when_all_is_sent_gets_its_refusal(gateways, server):
    with gateways[server].connect() as client:
        client.send(raw.request("POST", "/secret/x", headers=[("Content-Length", str(BODY))]) + b"a" * BODY)
        time.sleep(0.2)
        assert client.response("POST").status == 401


def test_an_http2_stream_whose_body_is_sent_to_its_end_is_never_reset(gateways):
    """And the connection has all of its window back for the next one."""
    gateway = gateways["http2"]
    with Http2Client(gateway.address) as client:
        for _ in range(4):
            block = head("/secret/x", "POST", authority=f"localhost:{gateway.port}")
            stream = client.open(block, end=False)
            assert client.wait_for(lambda stream=stream: stream in client.ended)
            client.ended.discard(stream)  # of the answer's end, not of a reset
            client.send_body(stream, b"a" * 1024 * 1024)
            client.finish(stream)
            assert stream not in client.ended


@pytest.mark.parametrize("server", SERVERS)
def test_a_client_that_asked_whether_to_send_gets_its_refusal_instead(gateways, server):
    fields = [("Content-Length", str(BODY)), ("Expect", "100-continue")]
    with gateways[server].connect() as client:
        client.send(raw.request("POST", "/secret/x", headers=fields))
        assert client.response("POST").status == 401
        assert client.is_closed(timeout=2)


# -- bounds -------------------------------------------------------------------------------------------------


def discarded(limits, pieces, pause=0.0):
    """Bytes that were taken of a body which goes on for so many pieces of a KiB, and the seconds it took."""
    left, taken = pieces, 0

    async def receive():
        nonlocal left, taken
        await asyncio.sleep(pause)
        left, taken = left - 1, taken + 1024
        return {"type": "http.request", "body": b"a" * 1024, "more_body": left > 0}

    scope = {"http_version": "2", "headers": []}
    began = time.monotonic()
    asyncio.run(RequestBody(scope, receive, limits).discard())
    return taken, time.monotonic() - began


def test_of_an_endless_body_so_many_bytes_are_thrown_away_and_no_more():
    assert discarded(Limits(linger_bytes=8 * 1024), 1000)[0] == 8 * 1024
    assert discarded(Limits(linger_bytes=8 * 1024), 3)[0] == 3 * 1024


def test_a_body_that_stops_or_dribbles_is_waited_for_no_longer():
    taken, seconds = discarded(Limits(linger_silence_seconds=0.2), 10, pause=60)
    assert (taken, seconds < 10) == (0, True)
    taken, seconds = discarded(Limits(linger_seconds=0.5), 10_000, pause=0.05)
    assert (0 < taken < 100 * 1024, seconds < 10) == (True, True)


@pytest.mark.parametrize(("others", "pieces"), [(0, 1), (1, 0)])
def test_with_http2_a_body_is_thrown_away_only_while_fewer_than_half_of_the_places_are_taken(others, pieces):
    """A refused stranger who has more to send must not keep one from somebody else."""
    received = 0

    async def application(scope, receive, send):
        if scope["raw_path"] == b"/held":
            await asyncio.sleep(60)
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive():
        nonlocal received
        received += 1
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    def scope(path):
        return {
            "type": "http", "http_version": "2", "method": "POST", "raw_path": path, "query_string": b"",
            "headers": [(b"host", b"localhost")], "client": ("192.0.2.1", 1),
        }  # fmt: skip

    async def run():
        guarded = guard(application, Limits(requests=4))
        held = [asyncio.create_task(guarded(scope(b"/held"), receive, send)) for _ in range(others)]
        await asyncio.sleep(0)
        await guarded(scope(b"/refused"), receive, send)
        for task in held:
            task.cancel()

    asyncio.run(run())
    assert received == pieces


def test_a_worker_that_ends_waits_no_longer_for_what_it_would_throw_away(start_gateway):
    gateway = start_gateway()
    with gateway.connect() as client:
        client.send(raw.request("POST", "/api/protected", [("Content-Length", "1000000")]))
        assert client.response("POST").status == 401
        with ThreadPoolExecutor(1) as other:
            dribbling = other.submit(dribble, client, seconds=25)
            began = time.monotonic()
            gateway.stop()
            assert time.monotonic() - began < 15
            dribbling.result()


def dribble(client, seconds):
    end = time.monotonic() + seconds
    with suppress(OSError):
        while time.monotonic() < end:
            client.send(b"x")
            time.sleep(0.5)


@pytest.mark.parametrize(
    "limits", [{"linger_silence_seconds": 0.5}, {"linger_seconds": 0.5}, {"linger_bytes": 65536, "linger_seconds": 1.0}]
)
def test_a_refused_upload_without_end_is_closed(tmp_path_factory, limits):
    """Silent, dribbling, or as fast as it can."""
    pause, piece = (0.1, b"a") if limits == {"linger_seconds": 0.5} else (0.0, b"a" * 65536)
    with EchoServer(tmp_path_factory.mktemp("echo"), **limits) as server, server.connect(timeout=10) as client:
        client.send(raw.request("POST", "/refuse", headers=[("Content-Length", str(10**12))]))
        assert client.response("POST").status == 401
        began = time.monotonic()
        if "linger_silence_seconds" not in limits:
            with pytest.raises(OSError):
                while time.monotonic() - began < 10:
                    client.send(piece)
                    time.sleep(pause)
        assert client.is_closed(timeout=10)
        assert time.monotonic() - began < 8
